"""Environments as pure functions, wrappers, tasks and pictures."""

from ttc.envs.adapters import from_jaxmarl, to_jaxmarl
from ttc.envs.brax_adapter import from_brax
from ttc.envs.bsuite import (
  bandit,
  bandit_tasks,
  catch,
  deep_sea,
  deep_sea_tasks,
)
from ttc.envs.classic_control import acrobot, cart_pole, mountain_car
from ttc.envs.environment import (
  Environment,
  Step,
  pad_observations,
  random_actions,
)
from ttc.envs.grid_worlds.families import grid_world_levels
from ttc.envs.grid_worlds.game import grid_world
from ttc.envs.gymnax_adapter import from_gymnax
from ttc.envs.metaworld_adapter import from_metaworld
from ttc.envs.minatar import asterix, breakout, freeway, space_invaders
from ttc.envs.minimanip.benchmarks import (
  minimanip_tasks,
  ml1,
  ml10,
  ml15,
  mt10,
)
from ttc.envs.minimanip.game import minimanip
from ttc.envs.minimanip.protocol import MetaAgent, meta_score, multitask_score
from ttc.envs.minimanip.scripted import minimanip_script
from ttc.envs.multi_agent.coin_game import coin_game
from ttc.envs.multi_agent.hanabi import hanabi
from ttc.envs.multi_agent.matrix_games import matrix_game, two_step_game
from ttc.envs.multi_agent.mpe import (
  simple,
  simple_adversary,
  simple_crypto,
  simple_push,
  simple_reference,
  simple_speaker_listener,
  simple_spread,
  simple_tag,
  simple_world_comm,
)
from ttc.envs.multi_agent.overcooked import overcooked
from ttc.envs.multi_agent.smax.game import smax
from ttc.envs.multi_agent.smax.scripted import smax_script
from ttc.envs.multi_agent.storm import storm
from ttc.envs.multi_agent.switch_riddle import switch_riddle
from ttc.envs.normalization import normalize_observations, normalize_rewards
from ttc.envs.point_robot import (
  point_robot,
  point_robot_optimum,
  point_robot_tasks,
)
from ttc.envs.rendering import Picture, render, save_gif, save_strip
from ttc.envs.single_agent import single_agent
from ttc.envs.spaces import Box, Discrete, Space
from ttc.envs.task_distribution import (
  TaskDistribution,
  finite_tasks,
  split_tasks,
)
from ttc.envs.web_pages import web_pages
from ttc.envs.wrappers import (
  auto_reset,
  episode_statistics,
  meta_episodes,
  sample_tasks,
  stack_frames,
  vectorize,
)

# Makers of environments, all arguments with defaults, by their `__name__`.
ENVIRONMENTS = (
  acrobot,
  asterix,
  bandit,
  breakout,
  cart_pole,
  catch,
  coin_game,
  deep_sea,
  freeway,
  grid_world,
  hanabi,
  matrix_game,
  minimanip,
  mountain_car,
  overcooked,
  point_robot,
  simple,
  simple_adversary,
  simple_crypto,
  simple_push,
  simple_reference,
  simple_speaker_listener,
  simple_spread,
  simple_tag,
  simple_world_comm,
  smax,
  space_invaders,
  storm,
  switch_riddle,
  two_step_game,
  web_pages,
)

# Makers of levels: params of an environment.
LEVELS = (
  bandit_tasks,
  deep_sea_tasks,
  grid_world_levels,
  minimanip_tasks,
  point_robot_tasks,
)

__all__ = [
  'ENVIRONMENTS',
  'LEVELS',
  'Box',
  'Discrete',
  'Environment',
  'MetaAgent',
  'Picture',
  'Space',
  'Step',
  'TaskDistribution',
  'acrobot',
  'asterix',
  'auto_reset',
  'bandit',
  'bandit_tasks',
  'breakout',
  'cart_pole',
  'catch',
  'coin_game',
  'deep_sea',
  'deep_sea_tasks',
  'episode_statistics',
  'finite_tasks',
  'freeway',
  'from_brax',
  'from_gymnax',
  'from_jaxmarl',
  'from_metaworld',
  'grid_world',
  'grid_world_levels',
  'hanabi',
  'matrix_game',
  'meta_episodes',
  'meta_score',
  'minimanip',
  'minimanip_script',
  'minimanip_tasks',
  'ml1',
  'ml10',
  'ml15',
  'mountain_car',
  'mt10',
  'multitask_score',
  'normalize_observations',
  'normalize_rewards',
  'overcooked',
  'pad_observations',
  'point_robot',
  'point_robot_optimum',
  'point_robot_tasks',
  'random_actions',
  'render',
  'sample_tasks',
  'save_gif',
  'save_strip',
  'simple',
  'simple_adversary',
  'simple_crypto',
  'simple_push',
  'simple_reference',
  'simple_speaker_listener',
  'simple_spread',
  'simple_tag',
  'simple_world_comm',
  'single_agent',
  'smax',
  'smax_script',
  'space_invaders',
  'split_tasks',
  'stack_frames',
  'storm',
  'switch_riddle',
  'to_jaxmarl',
  'two_step_game',
  'vectorize',
  'web_pages',
]
