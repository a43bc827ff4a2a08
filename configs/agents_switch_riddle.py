"""Three prisoners and a light bulb.

python scripts/train_agents.py --config=configs/agents_switch_riddle.py \
      --workdir=runs/riddle
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Returns the configuration."""
  config = config_dict.ConfigDict()
  config.environment = 'switch_riddle(num_agents=3)'
  config.algorithm = 'vdn'
  config.seed = 0
  config.num_seeds = 3
  config.total_steps = 200_000

  config.num_envs = 16
  config.num_steps = 25
  config.num_epochs = 8
  config.capacity = 2000
  config.batch_size = 32
  config.target_period = 10
  config.epsilon_end = 0.05
  config.epsilon_steps = 100_000
  config.learning_rate = 1e-3
  config.anneal = True
  config.discount = 0.99

  config.width = 64
  config.num_layers = 1
  config.memory_width = 64
  config.activation = 'relu'
  config.agent_ids = True

  config.checkpoint_every = 25
  config.eval_episodes = 512
  config.max_episode_steps = 6
  return config
