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
from ttc.metarl.inner_loop import Agent, learner, tabular_agent
from ttc.metarl.lifetimes import lifetime_features, live, random_horizon
from ttc.metarl.meta_gradients import (
  MetaGradient,
  MetaGradients,
  meta_gradients,
)
from ttc.metarl.meta_task import (
  Life,
  MetaTask,
  Outcome,
  draw_life,
  final_return,
  outcome,
)
from ttc.metarl.rules.interface import Experience, Lifetime, UpdateRule
from ttc.metarl.rules.lpg import lpg, ta_lpg
from ttc.metarl.rules.mirror_learning import dpo, lpo, ppo, ta_lpo
from ttc.metarl.rules.policy_gradients import a2c, pg

# Makers of update rules, all arguments with defaults, by their `__name__`.
RULES = (a2c, dpo, lpg, lpo, pg, ppo, ta_lpg, ta_lpo)

__all__ = [
  'RULES',
  'Agent',
  'Drift',
  'Evolution',
  'Experience',
  'Life',
  'Lifetime',
  'MetaGradient',
  'MetaGradients',
  'MetaTask',
  'Outcome',
  'UpdateRule',
  'a2c',
  'centered_ranks',
  'dpo',
  'dpo_drift',
  'draw_life',
  'evolution',
  'final_return',
  'init_drift',
  'learned_drift',
  'learner',
  'lifetime_features',
  'live',
  'lpg',
  'lpo',
  'meta_gradients',
  'outcome',
  'pair_wins',
  'pg',
  'ppo',
  'ppo_drift',
  'random_horizon',
  'surrogate_of',
  'ta_lpg',
  'ta_lpo',
  'tabular_agent',
  'z_scores',
]
