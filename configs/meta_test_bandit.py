"""Learned rules and others on bandits, lives of 5 to 200 updates.

  python scripts/meta_test.py --config=configs/meta_test_bandit.py \\
      --workdir=runs/test

Three quarters of a minute on two CPU cores (42 seconds). Interquartile means of
normalised returns at N = 5, 10, 30, 100, 200: TA-LPG 0.65, 0.85, 0.97, 1.00,
1.03; LPG 0.57, 0.84, 0.97, 1.00, 1.01; PPO 0.54, 0.77, 0.92, 0.94, 0.96; A2C
0.32, 0.54, 0.73, 0.74, 0.75.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Returns the configuration."""
  config = config_dict.ConfigDict()
  config.rules = ('ta_lpg_bandit', 'lpg_bandit', 'a2c', 'ppo')
  config.environments = (
    'bandit(num_arms=20) on bandit_tasks(num_arms=20, noise_std=0.3)',
    'bandit(num_arms=20) on bandit_tasks(num_arms=20, noise_std=0.6)',
    'bandit(num_arms=5) on bandit_tasks(num_arms=5, noise_std=0.3)',
  )
  config.horizons = (5, 10, 30, 100, 200)
  config.num_seeds = 64
  config.seed = 0

  config.agent = 'table'
  config.num_envs = 4
  config.num_steps = 1
  config.learning_rate = 4.0
  config.max_grad_norm = 1e6
  config.eval_episodes = 256
  config.max_episode_steps = 1
  return config
