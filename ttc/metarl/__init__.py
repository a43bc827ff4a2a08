"""What is learned over many lives: update rules and how they are found."""

from ttc.metarl.drifts import (
  Drift,
  dpo_drift,
  init_drift,
  learned_drift,
  ppo_drift,
  surrogate_of,
)
from ttc.metarl.evolution import (
  Evolution,
  centered_ranks,
  evolution,
  pair_wins,
  z_scores,
)
from ttc.metarl.lifetimes import lifetime_features

__all__ = [
  'Drift',
  'Evolution',
  'centered_ranks',
  'dpo_drift',
  'evolution',
  'init_drift',
  'learned_drift',
  'lifetime_features',
  'pair_wins',
  'ppo_drift',
  'surrogate_of',
  'z_scores',
]
