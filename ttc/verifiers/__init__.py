"""Verifiers: what becomes of their scores, and how they may be wrong."""

from ttc.verifiers.aggregate import aggregate_steps
from ttc.verifiers.generative import (
  Question,
  ask,
  mean_verdicts,
  read_responses,
  sample_verdicts,
  verdict_score,
  yes_probability,
  yes_score,
)
from ttc.verifiers.noisy import (
  add_noise,
  bias_by_answer,
  flip_verdicts,
  over_optimized,
  response_uniform,
)
from ttc.verifiers.outcome import outcome_loss
from ttc.verifiers.process import process_loss, step_ends, step_scores
from ttc.verifiers.reward_model import (
  cross_entropy,
  init_reward_model,
  last_logits,
  last_score,
  token_logits,
)
from ttc.verifiers.rollouts import rollout_values, step_values
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
  'Question',
  'WeightFn',
  'add_noise',
  'aggregate_steps',
  'ask',
  'bias_by_answer',
  'cross_entropy',
  'flip_verdicts',
  'init_reward_model',
  'last_logits',
  'last_score',
  'mean_verdicts',
  'minmax_weights',
  'outcome_loss',
  'over_optimized',
  'process_loss',
  'raw_weights',
  'read_responses',
  'response_uniform',
  'rollout_values',
  'sample_verdicts',
  'sigmoid_weights',
  'softmax_weights',
  'step_ends',
  'step_scores',
  'step_values',
  'token_logits',
  'verdict_score',
  'yes_probability',
  'yes_score',
]
