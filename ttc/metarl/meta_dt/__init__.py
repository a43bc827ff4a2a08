"""Meta-DT: offline meta-RL with a decision transformer (2410.11448)."""

from ttc.metarl.meta_dt.agent import (
  Bank,
  MetaDT,
  MetaDTParams,
  PolicyBatch,
  draw_batch,
  make_bank,
  meta_dt,
  policy_loss,
)
from ttc.metarl.meta_dt.data import (
  StateScale,
  Trajectories,
  best_trajectories,
  collect,
  record,
  rescale,
  returns_to_go,
  seek_goal,
  state_scale,
)
from ttc.metarl.meta_dt.decision_transformer import (
  TRANSFORMER,
  DecisionTransformer,
  Steps,
  action_loss,
  decision_transformer,
)
from ttc.metarl.meta_dt.play import Played, play, play_tasks
from ttc.metarl.meta_dt.prompts import (
  choose_window,
  make_prompt,
  window_errors,
)
from ttc.metarl.meta_dt.world_model import (
  Prediction,
  WorldModel,
  prediction_error,
  world_loss,
  world_model,
)

__all__ = [
  'TRANSFORMER',
  'Bank',
  'DecisionTransformer',
  'MetaDT',
  'MetaDTParams',
  'Played',
  'PolicyBatch',
  'Prediction',
  'StateScale',
  'Steps',
  'Trajectories',
  'WorldModel',
  'action_loss',
  'best_trajectories',
  'choose_window',
  'collect',
  'decision_transformer',
  'draw_batch',
  'make_bank',
  'make_prompt',
  'meta_dt',
  'play',
  'play_tasks',
  'policy_loss',
  'prediction_error',
  'record',
  'rescale',
  'returns_to_go',
  'seek_goal',
  'state_scale',
  'window_errors',
  'world_loss',
  'world_model',
]
