"""Games of Atari made small (Young and Tian, 2019, 1903.03176)."""

from ttc.envs.minatar.asterix import asterix
from ttc.envs.minatar.breakout import breakout
from ttc.envs.minatar.freeway import freeway
from ttc.envs.minatar.space_invaders import space_invaders

__all__ = ['asterix', 'breakout', 'freeway', 'space_invaders']
