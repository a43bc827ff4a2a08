"""A robot in the plane that has to find out where its goal is.

  python scripts/meta_rl.py --config=configs/meta_rl_point_robot.py \\
      --workdir=runs/rl2
  python scripts/meta_rl.py --config=configs/meta_rl_point_robot.py:maml \\
      --workdir=runs/maml

Seconds of one CPU core for three seeds, and returns of new tasks, first and
second episode, best possible -4.50: RL^2 68 seconds, -5.60 and -4.69; MAML 84
seconds, -15.43 before and -6.31 after a step on twenty episodes; PPO 24
seconds, -14.93 and -14.92.
"""

from ml_collections import config_dict

LEARNERS = ('rl2', 'maml', 'ppo')


def get_config(learner: str = 'rl2') -> config_dict.ConfigDict:
  """Returns the configuration.

  Args:
    learner: 'rl2', 'maml', or 'ppo' to compare with.
  """
  if learner not in LEARNERS:
    raise ValueError(f'{learner!r} is no learner; there are {LEARNERS}')
  config = config_dict.ConfigDict()
  config.learner = learner
  config.environment = 'point_robot'
  config.tasks = "point_robot_tasks(family='goals')"
  config.num_train_tasks = 0
  config.num_test_tasks = 100
  config.num_episodes = 2
  config.max_episode_steps = 20
  config.seed = 0
  config.num_seeds = 3
  config.num_updates = 300
  config.checkpoint_every = 20
  config.width = 64
  if learner == 'maml':
    config.learning_rate = 0.001
    config.discount = 0.99
    config.num_epochs = 3
    config.num_layers = 2
    config.num_tasks = 20
    config.num_rollouts = 20
    config.rate = 0.1
    config.learn_rates = True
    return config
  config.learning_rate = 0.003
  config.anneal = True
  config.discount = 0.9
  config.num_epochs = 4
  config.num_envs = 64
  config.num_steps = 40
  config.num_minibatches = 4
  config.entropy_weight = 0.003
  if learner == 'rl2':
    config.memory_width = 64
  return config
