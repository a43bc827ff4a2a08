"""What is learned over many lives: update rules and how they are found."""

from ttc.metarl import active_learning, meta_dt, stabilization
from ttc.metarl.discovered import (
  LEARNED,
  Discovered,
  load_rule,
  make_rule,
  rule_names,
  save_rule,
)
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
  Shaping,
  centered_ranks,
  evolution,
  pair_wins,
  z_scores,
)
from ttc.metarl.inner_loop import Agent, learner, tabular_agent
from ttc.metarl.learned_optimizers import (
  init_learned_optimizer,
  learned_optimizer,
)
from ttc.metarl.level_replay import LevelBuffer, Replay
from ttc.metarl.lifetimes import lifetime_features, live, random_horizon
from ttc.metarl.maml import MAML, Meta, Task, adapt, maml, meta_loss
from ttc.metarl.maml_policies import (
  PolicyMAML,
  adapted_episodes,
  maml_policy,
  rounds_as_trials,
)
from ttc.metarl.meta_gradients import (
  MetaGradient,
  MetaGradients,
  meta_gradients,
)
from ttc.metarl.meta_rtl import MetaRTL, Reptile, meta_rtl, reptile
from ttc.metarl.meta_task import (
  Life,
  MetaTask,
  Outcome,
  draw_life,
  final_return,
  outcome,
)
from ttc.metarl.optimizers import stopped_adam
from ttc.metarl.replay_training import (
  evolution_with_replay,
  meta_gradients_with_replay,
)
from ttc.metarl.rl2 import (
  Trial,
  draw_tasks,
  in_trials,
  play_trials,
  returns_by_episode,
  rl2,
)
from ttc.metarl.rules.disco import disco103
from ttc.metarl.rules.interface import Experience, Lifetime, UpdateRule
from ttc.metarl.rules.lpg import lpg, ta_lpg
from ttc.metarl.rules.mirror_learning import dpo, lpo, ppo, ta_lpo
from ttc.metarl.rules.policy_gradients import a2c, pg

# Makers of update rules, all arguments with defaults, by their `__name__`;
# `disco103` needs a file.
RULES = (a2c, dpo, lpg, lpo, pg, ppo, ta_lpg, ta_lpo)

__all__ = [
  'LEARNED',
  'MAML',
  'RULES',
  'Agent',
  'Discovered',
  'Drift',
  'Evolution',
  'Experience',
  'LevelBuffer',
  'Life',
  'Lifetime',
  'Meta',
  'MetaGradient',
  'MetaGradients',
  'MetaRTL',
  'MetaTask',
  'Outcome',
  'PolicyMAML',
  'Replay',
  'Reptile',
  'Shaping',
  'Task',
  'Trial',
  'UpdateRule',
  'a2c',
  'active_learning',
  'adapt',
  'adapted_episodes',
  'centered_ranks',
  'disco103',
  'dpo',
  'dpo_drift',
  'draw_life',
  'draw_tasks',
  'evolution',
  'evolution_with_replay',
  'final_return',
  'in_trials',
  'init_drift',
  'init_learned_optimizer',
  'learned_drift',
  'learned_optimizer',
  'learner',
  'lifetime_features',
  'live',
  'load_rule',
  'lpg',
  'lpo',
  'make_rule',
  'maml',
  'maml_policy',
  'meta_dt',
  'meta_gradients',
  'meta_gradients_with_replay',
  'meta_loss',
  'meta_rtl',
  'outcome',
  'pair_wins',
  'pg',
  'play_trials',
  'ppo',
  'ppo_drift',
  'random_horizon',
  'reptile',
  'returns_by_episode',
  'rl2',
  'rounds_as_trials',
  'rule_names',
  'save_rule',
  'stabilization',
  'stopped_adam',
  'surrogate_of',
  'ta_lpg',
  'ta_lpo',
  'tabular_agent',
  'z_scores',
]
