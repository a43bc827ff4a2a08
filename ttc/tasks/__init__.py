"""Tasks with exact verifiers: tokens on the device, text on the host."""

from ttc.tasks import (
  arithmetic,
  expressions,
  graders,
  humaneval,
  mutations,
  programs,
  temporal,
)
from ttc.tasks.associative_recall import associative_recall
from ttc.tasks.catalog import load
from ttc.tasks.chains import noise_for_accuracy, noisy_chain_accuracy
from ttc.tasks.code_lookup import code_lookup
from ttc.tasks.competition_math import competition_math, math_500
from ttc.tasks.countdown import countdown
from ttc.tasks.gsm8k import gsm8k
from ttc.tasks.modular_chain import modular_chain
from ttc.tasks.permutations import permutation_word_problem
from ttc.tasks.pointer_chasing import pointer_chasing
from ttc.tasks.reasoning_gym import reasoning_gym
from ttc.tasks.split import is_test, on_split
from ttc.tasks.text_task import Grade, Item, TextTask
from ttc.tasks.token_task import (
  Problem,
  TokenTask,
  TrainingSequence,
  answer_fn,
  process_rewards,
  score_fn,
  step_score_fn,
  to_prompt,
  training_sequence,
)

__all__ = [
  'Grade',
  'Item',
  'Problem',
  'TextTask',
  'TokenTask',
  'TrainingSequence',
  'answer_fn',
  'arithmetic',
  'associative_recall',
  'code_lookup',
  'competition_math',
  'countdown',
  'expressions',
  'graders',
  'gsm8k',
  'humaneval',
  'is_test',
  'load',
  'math_500',
  'modular_chain',
  'mutations',
  'noise_for_accuracy',
  'noisy_chain_accuracy',
  'on_split',
  'permutation_word_problem',
  'pointer_chasing',
  'process_rewards',
  'programs',
  'reasoning_gym',
  'score_fn',
  'step_score_fn',
  'temporal',
  'to_prompt',
  'training_sequence',
]
