"""Two Bernoulli arms with unknown probabilities, ten pulls.

  python scripts/meta_rl.py --config=configs/meta_rl_bandit.py \\
      --workdir=runs/arms

39 seconds of one CPU core for three seeds. Ten pulls pay 5.93, 5.85 and 5.96
with actions that are drawn; exact Bayes 6.02, Thompson sampling 5.70, chance 5
(the claim `rl2` trains longer and takes the best action: 6.02).
"""

from ml_collections import config_dict

LEARNERS = ('rl2',)


def get_config(learner: str = 'rl2') -> config_dict.ConfigDict:
  """Returns the configuration.

  Args:
    learner: 'rl2'.
  """
  if learner not in LEARNERS:
    raise ValueError(f'{learner!r} is no learner; there are {LEARNERS}')
  config = config_dict.ConfigDict()
  config.learner = learner
  config.environment = 'bandit(num_arms=2, bernoulli=True)'
  config.tasks = 'bandit_tasks(num_arms=2)'
  config.num_train_tasks = 0
  config.num_test_tasks = 10_000
  config.num_episodes = 10
  config.max_episode_steps = 1
  config.seed = 0
  config.num_seeds = 3
  config.num_updates = 300
  config.checkpoint_every = 20
  config.learning_rate = 0.003
  config.anneal = True
  config.discount = 1.0
  config.num_epochs = 4
  config.num_envs = 256
  config.num_steps = 10
  config.num_minibatches = 4
  config.entropy_weight = 0.0
  config.num_layers = 1
  config.width = 32
  config.memory_width = 32
  return config
