"""What is learned over many lives: update rules and how they are found."""

from ttc.metarl.evolution import (
  Evolution,
  centered_ranks,
  evolution,
  pair_wins,
  z_scores,
)

__all__ = [
  'Evolution',
  'centered_ranks',
  'evolution',
  'pair_wins',
  'z_scores',
]
