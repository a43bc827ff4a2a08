"""Drifts learned on CartPole on environments and horizons they never saw.

  python scripts/meta_test.py --config=configs/meta_test_control.py \\
      --workdir=runs/test

Less than two minutes on two CPU cores (99 seconds). Ten agents do not tell the
four rules apart: interquartile means of normalised returns at N = 10, 40, 80
are 0.12, 0.88, 0.97 for TA-LPO, 0.10, 0.85, 0.98 for LPO, 0.10, 0.93, 0.95 for
DPO and 0.11, 0.87, 0.91 for PPO.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Returns the configuration."""
  config = config_dict.ConfigDict()
  config.rules = ('ta_lpo_cart_pole', 'lpo_cart_pole', 'dpo', 'ppo')
  config.environments = ('cart_pole()', 'acrobot()', 'catch()')
  config.horizons = (10, 40, 80)
  config.num_seeds = 10
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
  return config
