"""Drifts for CartPole, on lives of 5 to 40 updates.

  python scripts/meta_train.py --config=configs/meta_cart_pole.py \\
      --workdir=runs/ta_lpo

A minute on two CPU cores (60 and 97 seconds). The mean return at the end of
lives rises from 77 to 94; what agents of other lives reach is in the claim
`ta_lpo`.
"""

from ml_collections import config_dict


def get_config(variant: str = 'ta_lpo') -> config_dict.ConfigDict:
  """Returns the configuration.

  Args:
    variant: 'ta_lpo' or 'lpo'.
  """
  if variant not in ('ta_lpo', 'lpo'):
    raise ValueError(f'{variant!r} is no variant; there are ta_lpo and lpo')
  config = config_dict.ConfigDict()
  config.rule = variant
  config.rule_width = 32

  config.environment = 'cart_pole()'
  config.low = 5
  config.high = 40
  config.seed = 0

  config.agent = 'network'
  config.width = 32
  config.num_layers = 1
  config.num_envs = 8
  config.num_steps = 32
  config.num_epochs = 4
  config.num_minibatches = 4
  config.learning_rate = 0.0025
  config.eval_episodes = 8
  config.max_episode_steps = 500

  config.num_updates = 100
  config.checkpoint_every = 10
  config.meta_optimizer = 'evolution'
  config.meta_rate = 0.01
  config.meta_decay = 0.999
  config.num_pairs = 16
  config.sigma = 0.1
  config.shaping = 'z_scores'
  return config
