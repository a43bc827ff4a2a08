"""Two cooks in a kitchen: the game and the kitchens."""

from ttc.envs.multi_agent.overcooked.game import overcooked

__all__ = ['overcooked']
