"""Every method on five worlds at equal generated tokens.

  python scripts/compare.py --config=configs/compare.py --workdir=runs/compare

An hour and a half on two CPU cores; killed, it goes on where it was. With
--config.worlds="('table',)" it takes a minute and trains nothing.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Returns the configuration."""
  config = config_dict.ConfigDict()
  # Of testbeds.TESTBEDS. calibrated: the S3 base, a step verifier that errs in
  # one of ten; reasoner: with that verifier, a model that thinks on, revises
  # and checks its own answers; learned_verifier: words of two elements of S3, a
  # process reward model trained from rollouts; expressions: twice as large as
  # the policy has learned, for those who take questions apart; smollm2: a real
  # model, SmolLM2-135M, on sums of two digits, its own confidence for verifier;
  # table: a table model, to try things out.
  config.worlds = (
    'calibrated',
    'reasoner',
    'learned_verifier',
    'expressions',
    'smollm2',
  )
  config.methods = ('all',)  # or names of the table in README
  config.budgets = (1, 2, 4, 8, 16)  # in responses of average length
  config.pool_size = 32  # samples shared by the methods that choose among them
  config.num_seeds = 3
  config.num_problems = 96  # of each seed
  config.num_items = 32  # of smollm2, the same for every seed
  config.baseline = 'self_consistency'  # what others are compared with
  config.num_permutations = 100
  # Methods in the picture, which has seven colours; the tables have all.
  config.drawn = (
    'self_consistency',
    'best_of_n',
    'weighted_best_of_n',
    'beam_search',
    'mcts',
    'qalign',
    'rpc',
  )
  return config
