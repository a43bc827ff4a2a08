"""The coin game: independent learners take what is there.

  python scripts/train_agents.py --config=configs/agents_coin_game.py \\
      --workdir=runs/coins

Some 200 seconds on two CPU cores. Learned from their own payoff both take any
coin; see the claim `coin_game` for what they lose by it.
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
