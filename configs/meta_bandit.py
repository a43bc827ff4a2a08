"""Rules for bandits of twenty arms, on lives of 10 to 100 updates.

  python scripts/meta_train.py --config=configs/meta_bandit.py \\
      --workdir=runs/ta_lpg
  python scripts/meta_train.py --config=configs/meta_bandit.py:lpg \\
      --workdir=runs/lpg
  python scripts/meta_train.py --config=configs/meta_bandit.py:meta_gradients \\
      --workdir=runs/truncated

Two to three minutes each on two shared CPU cores (160, 154 and 84 seconds).
Regret at the end of lives of N = 10, 30, 100 updates, three meta-seeds of 800
generations: 0.107, 0.050, 0.027 by TA-LPG, 0.110, 0.050, 0.035 by LPG, 0.128,
0.094, 0.075 by meta-gradients (the claim `lpg_bandits`).
"""

from ml_collections import config_dict


def get_config(variant: str = 'ta_lpg') -> config_dict.ConfigDict:
  """Returns the configuration.

  Args:
    variant: 'ta_lpg' or 'lpg' by evolution, or 'meta_gradients' for TA-LPG by
      truncated ones.
  """
  variants = ('ta_lpg', 'lpg', 'meta_gradients')
  if variant not in variants:
    raise ValueError(f'{variant!r} is no variant; there are {variants}')
  config = config_dict.ConfigDict()
  config.rule = 'lpg' if variant == 'lpg' else 'ta_lpg'
  config.rule_width = 16
  config.num_predictions = 8

  config.environment = 'bandit(num_arms=20)'
  config.levels = 'bandit_tasks(num_arms=20, noise_std=0.3)'
  config.low = 10
  config.high = 100
  config.seed = 0

  config.agent = 'table'
  config.num_envs = 4
  config.num_steps = 1
  config.learning_rate = 4.0
  config.max_grad_norm = 1e6
  config.eval_episodes = 256
  config.max_episode_steps = 1

  config.num_updates = 1000
  config.checkpoint_every = 100
  config.meta_optimizer = 'evolution'
  config.meta_rate = 0.01
  config.meta_decay = 0.999
  if variant == 'meta_gradients':
    config.meta_optimizer = 'meta_gradients'
    config.num_agents = 512
    config.num_truncated = 5
    config.meta_rate = 0.001
  else:
    config.num_pairs = 64
    config.sigma = 0.1
    config.shaping = 'z_scores'
  return config
