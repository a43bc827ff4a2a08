"""Verifiers: what becomes of their scores, and how they may be wrong."""

from ttc.verifiers.aggregate import aggregate_steps
from ttc.verifiers.noisy import (
  add_noise,
  bias_by_answer,
  flip_verdicts,
  over_optimized,
)
from ttc.verifiers.weights import (
  WEIGHTS,
  WeightFn,
  minmax_weights,
  raw_weights,
  sigmoid_weights,
  softmax_weights,
)

__all__ = [
  'WEIGHTS',
  'WeightFn',
  'add_noise',
  'aggregate_steps',
  'bias_by_answer',
  'flip_verdicts',
  'minmax_weights',
  'over_optimized',
  'raw_weights',
  'sigmoid_weights',
  'softmax_weights',
]
