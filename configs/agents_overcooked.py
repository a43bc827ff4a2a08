"""Two cooks in a cramped room.

  python scripts/train_agents.py --config=configs/agents_overcooked.py \\
      --workdir=runs/overcooked

Seven minutes on two busy CPU cores (431 seconds). Returns of three seeds: 201,
187, 197, ten soups of 20 each; random cooks deliver next to none.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Returns the configuration."""
  config = config_dict.ConfigDict()
  config.environment = "overcooked(layout='cramped_room')"
  config.algorithm = 'ippo'
  config.seed = 0
  config.num_seeds = 3
  config.total_steps = 600_000
  config.shaping_steps = 600_000  # until shaped rewards have faded

  config.num_envs = 64
  config.num_steps = 128
  config.num_epochs = 4
  config.num_minibatches = 8
  config.learning_rate = 0.001
  config.anneal = False
  config.discount = 0.99
  config.trace = 0.95
  config.clip = 0.2
  config.entropy_weight = 0.01
  config.value_clip = 0.2

  config.width = 64
  config.num_layers = 2
  config.memory_width = 0
  config.channels = 0  # of a convolution; 0 for none
  config.activation = 'relu'
  config.shared = True

  config.checkpoint_every = 10
  config.eval_episodes = 64
  config.max_episode_steps = 400
  return config
