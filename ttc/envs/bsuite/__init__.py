"""Small diagnoses of agents (Osband et al., 2020, 1908.03568)."""

from ttc.envs.bsuite.bandit import bandit, bandit_tasks
from ttc.envs.bsuite.catch import catch
from ttc.envs.bsuite.deep_sea import deep_sea, deep_sea_tasks

__all__ = ['bandit', 'bandit_tasks', 'catch', 'deep_sea', 'deep_sea_tasks']
