"""Hanabi: the rules, what players see, and pictures."""

from ttc.envs.multi_agent.hanabi.game import hanabi

__all__ = ['hanabi']
