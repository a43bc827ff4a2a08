"""Fine-tuning: losses over sequences, and the one step that trains."""

from ttc.finetuning.losses import next_token_loss
from ttc.finetuning.train_step import (
  LossFn,
  TrainState,
  TrainStep,
  init_state,
  make_train_step,
  run_steps,
)

__all__ = [
  'LossFn',
  'TrainState',
  'TrainStep',
  'init_state',
  'make_train_step',
  'next_token_loss',
  'run_steps',
]
