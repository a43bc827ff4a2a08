"""A verifier for SmolLM2's sums, learned from the records of an evaluation.

  python scripts/evaluate.py --config=configs/smollm2_arithmetic.py \\
      --config.tasks="('addition_2digit',)" --config.num_items=400 \\
      --config.num_samples=16 --config.budgets="(1,2,4,8,16)" \\
      --workdir=runs/sums
  python scripts/train_verifier.py --config.run=runs/sums \\
      --workdir=runs/verifier

Minutes on two CPU cores, most of them spent reading the responses once. Expect
the head to lose: best-of-8 by it is 10 points below best-of-8 by the model's
own log-probability (docs/claims/verifiers.md, trained_verifier).
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Returns the configuration."""
  config = config_dict.ConfigDict()
  config.run = 'runs/sums'  # the workdir of evaluate.py
  config.head = 'outcome'  # or 'process', from continuations of each step
  config.two_layers = False  # with as many hidden units as features
  config.num_layers = 0  # of the policy, from the first on; 0: all
  config.split = ''  # what separates the steps of a process
  config.end = '\n'  # written behind a response; an outcome is read there
  config.num_rollouts = 8  # continuations of each step but a last one
  config.num_held_out = 100  # items
  config.seed = 0  # of what is held out, continuations, and training
  config.num_steps = 2000
  config.batch_size = 256
  config.learning_rate = 1e-3
  config.decay = 0.1
  return config
