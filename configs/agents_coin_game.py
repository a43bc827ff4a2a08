"""The coin game: independent learners take what is there.

  python scripts/train_agents.py --config=configs/agents_coin_game.py \\
      --workdir=runs/coins

Three quarters of a minute on two CPU cores (43 seconds). Payoffs of three
seeds: 3.7, 9.3, 9.1; who shares the payoff gets 39 (the claim `coin_game`).
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Returns the configuration."""
  config = config_dict.ConfigDict()
  config.environment = 'coin_game()'
  config.algorithm = 'ippo'
  config.seed = 0
  config.num_seeds = 3
  config.total_steps = 1_300_000

  config.num_envs = 64
  config.num_steps = 100
  config.num_epochs = 4
  config.num_minibatches = 4
  config.learning_rate = 0.001
  config.anneal = False
  config.discount = 0.96
  config.trace = 0.95
  config.clip = 0.2
  config.entropy_weight = 0.01

  config.width = 64
  config.num_layers = 2
  config.memory_width = 0
  config.activation = 'tanh'
  config.shared = False

  config.checkpoint_every = 40
  config.eval_episodes = 256
  config.max_episode_steps = 100
  return config
