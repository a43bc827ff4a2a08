"""Verifiers: our own and public ones, and what becomes of their scores."""

from ttc.verifiers.aggregate import aggregate_steps
from ttc.verifiers.confidence import confidence
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
from ttc.verifiers.implicit import log_ratios, step_rewards
from ttc.verifiers.kinds import KINDS, Kind
from ttc.verifiers.noisy import (
  add_noise,
  bias_by_answer,
  flip_verdicts,
  over_optimized,
  response_uniform,
)
from ttc.verifiers.outcome import outcome_loss
from ttc.verifiers.process import process_loss, step_ends, step_scores
from ttc.verifiers.public import (
  Verifier,
  load_verifier,
  save_verifier,
  step_features,
  step_scores_of,
)
from ttc.verifiers.reward_model import (
  cross_entropy,
  head_logits,
  init_reward_model,
  last_logits,
  last_score,
  token_features,
  token_logits,
)
from ttc.verifiers.rollouts import rollout_values, step_values
from ttc.verifiers.text_scores import (
  QuestionFn,
  questions,
  room_for,
  score_texts,
  step_scores_of_texts,
  text_score_fn,
  verdicts_of_texts,
)
from ttc.verifiers.weights import (
  WEIGHTS,
  WeightFn,
  minmax_weights,
  raw_weights,
  sigmoid_weights,
  softmax_weights,
)
from ttc.verifiers.written import (
  Reading,
  Writer,
  Written,
  arrange,
  split_steps,
)

__all__ = [
  'KINDS',
  'WEIGHTS',
  'Kind',
  'Question',
  'QuestionFn',
  'Reading',
  'Verifier',
  'WeightFn',
  'Writer',
  'Written',
  'add_noise',
  'aggregate_steps',
  'arrange',
  'ask',
  'bias_by_answer',
  'confidence',
  'cross_entropy',
  'flip_verdicts',
  'head_logits',
  'init_reward_model',
  'last_logits',
  'last_score',
  'load_verifier',
  'log_ratios',
  'mean_verdicts',
  'minmax_weights',
  'outcome_loss',
  'over_optimized',
  'process_loss',
  'questions',
  'raw_weights',
  'read_responses',
  'response_uniform',
  'rollout_values',
  'room_for',
  'sample_verdicts',
  'save_verifier',
  'score_texts',
  'sigmoid_weights',
  'softmax_weights',
  'split_steps',
  'step_ends',
  'step_features',
  'step_rewards',
  'step_scores',
  'step_scores_of',
  'step_scores_of_texts',
  'step_values',
  'text_score_fn',
  'token_features',
  'token_logits',
  'verdict_score',
  'verdicts_of_texts',
  'yes_probability',
  'yes_score',
]
