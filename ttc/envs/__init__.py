"""Environments as pure functions, wrappers, tasks and pictures."""

from ttc.envs.environment import (
  Environment,
  Step,
  pad_observations,
  random_actions,
)
from ttc.envs.multi_agent.matrix_games import matrix_game, two_step_game
from ttc.envs.multi_agent.switch_riddle import switch_riddle
from ttc.envs.rendering import Picture, render, save_gif, save_strip
from ttc.envs.spaces import Box, Discrete, Space
from ttc.envs.task_distribution import (
  TaskDistribution,
  finite_tasks,
  split_tasks,
)
from ttc.envs.wrappers import (
  auto_reset,
  episode_statistics,
  meta_episodes,
  normalize_observations,
  normalize_rewards,
  sample_tasks,
  stack_frames,
  vectorize,
)

# Makers of environments, all arguments with defaults, by their `__name__`.
ENVIRONMENTS = (matrix_game, switch_riddle, two_step_game)

__all__ = [
  'ENVIRONMENTS',
  'Box',
  'Discrete',
  'Environment',
  'Picture',
  'Space',
  'Step',
  'TaskDistribution',
  'auto_reset',
  'episode_statistics',
  'finite_tasks',
  'matrix_game',
  'meta_episodes',
  'normalize_observations',
  'normalize_rewards',
  'pad_observations',
  'random_actions',
  'render',
  'sample_tasks',
  'save_gif',
  'save_strip',
  'split_tasks',
  'stack_frames',
  'switch_riddle',
  'two_step_game',
  'vectorize',
]
