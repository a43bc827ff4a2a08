"""Agents that learn in environments, one and many."""

from ttc.agents.gae import gae
from ttc.agents.ippo import ippo
from ttc.agents.learner import (
  Learner,
  Play,
  Policy,
  evaluate,
  trajectory,
)
from ttc.agents.mappo import mappo
from ttc.agents.mixing import Mixer, each_alone, monotone, sum_of_values
from ttc.agents.networks import AgentsNet, Architecture, for_agents
from ttc.agents.ppo import PPO, clipped_surrogate, ppo
from ttc.agents.pqn import PQN, pqn
from ttc.agents.q_learning import QLearning, q_learner
from ttc.agents.saved_policy import load_policy, save_policy
from ttc.agents.scripted import constant_policy, random_policy
from ttc.agents.training import env_shardings, over_seeds, seed_keys, train
from ttc.agents.value_decomposition import iql, qmix, vdn

__all__ = [
  'PPO',
  'PQN',
  'AgentsNet',
  'Architecture',
  'Learner',
  'Mixer',
  'Play',
  'Policy',
  'QLearning',
  'clipped_surrogate',
  'constant_policy',
  'each_alone',
  'env_shardings',
  'evaluate',
  'for_agents',
  'gae',
  'ippo',
  'iql',
  'load_policy',
  'mappo',
  'monotone',
  'over_seeds',
  'ppo',
  'pqn',
  'q_learner',
  'qmix',
  'random_policy',
  'save_policy',
  'seed_keys',
  'sum_of_values',
  'train',
  'trajectory',
  'vdn',
]
