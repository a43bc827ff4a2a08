"""STORM: the rules, the grid and pictures of it."""

from ttc.envs.multi_agent.storm.game import storm

__all__ = ['storm']
