"""Rules for grid worlds of side 4 to 6, on lives of 5 to 50 updates.

  python scripts/meta_train.py --config=configs/meta_grid_worlds.py:lpg \\
      --workdir=runs/lpg

Two minutes on two CPU cores (126 seconds for LPG). The return at the end of
life rises from 0.27 to 0.64 over 400 generations and has not stopped rising.
"""

from ml_collections import config_dict


def get_config(variant: str = 'ta_lpg') -> config_dict.ConfigDict:
  """Returns the configuration.

  Args:
    variant: 'ta_lpg' or 'lpg'.
  """
  if variant not in ('ta_lpg', 'lpg'):
    raise ValueError(f'{variant!r} is no variant; there are ta_lpg and lpg')
  config = config_dict.ConfigDict()
  config.rule = variant
  config.rule_width = 16
  config.num_predictions = 8

  config.environment = "grid_world(level='small', observations='index')"
  config.levels = "grid_world_levels(kind='small')"
  config.low = 5
  config.high = 50
  config.seed = 0

  config.agent = 'table'
  config.table_rows = 288  # 6 x 6 cells times 2^3 sets of objects
  config.num_envs = 8
  config.num_steps = 20
  config.learning_rate = 40.0
  config.max_grad_norm = 0.5
  config.eval_episodes = 16
  config.max_episode_steps = 100

  config.num_updates = 400
  config.checkpoint_every = 20
  config.meta_optimizer = 'evolution'
  config.meta_rate = 0.01
  config.meta_decay = 0.999
  config.num_pairs = 32
  config.sigma = 0.1
  config.shaping = 'z_scores'
  return config
