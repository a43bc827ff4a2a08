"""Fine-tuning: losses, the one step that trains, and soft thoughts."""

from ttc.finetuning.losses import next_token_loss
from ttc.finetuning.soft_cot import (
  SoftCoTBatch,
  SoftCoTParams,
  SoftPair,
  SoftThoughts,
  generate_with_thoughts,
  info_nce,
  init_soft_thoughts,
  mean_cosine,
  prefill_thoughts,
  soft_cot_loss,
  think,
)
from ttc.finetuning.train_step import (
  LossFn,
  TrainState,
  TrainStep,
  init_state,
  make_train_step,
  run_steps,
  train,
)

__all__ = [
  'LossFn',
  'SoftCoTBatch',
  'SoftCoTParams',
  'SoftPair',
  'SoftThoughts',
  'TrainState',
  'TrainStep',
  'generate_with_thoughts',
  'info_nce',
  'init_soft_thoughts',
  'init_state',
  'make_train_step',
  'mean_cosine',
  'next_token_loss',
  'prefill_thoughts',
  'run_steps',
  'soft_cot_loss',
  'think',
  'train',
]
