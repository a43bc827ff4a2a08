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
  'each_alone',
  'evaluate',
  'for_agents',
  'gae',
  'ippo',
  'iql',
  'mappo',
  'monotone',
  'ppo',
  'pqn',
  'q_learner',
  'qmix',
  'sum_of_values',
  'trajectory',
  'vdn',
]
