"""More budget never hurts a search whose assumptions hold.

A world of two letters and an end whose values are exact: the verifier knows how
likely every beginning is to end right, a revision is better than a draft, and a
verdict knows nothing. Accuracy at N is that of 1000 problems.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, search, verifiers
from ttc.types import Prompt

START, GOOD, BAD, RIGHT, WRONG, END, REVISE, ASK, YES, NO = range(10)
LAW = {
  START: {GOOD: 0.5, BAD: 0.5},
  GOOD: {RIGHT: 0.9, WRONG: 0.1},
  BAD: {RIGHT: 0.3, WRONG: 0.7},
  RIGHT: {END: 1.0},
  WRONG: {END: 1.0},
  REVISE: {GOOD: 0.8, BAD: 0.2},
  ASK: {YES: 0.5, NO: 0.5},
}
FIRST = 0.5 * 0.9 + 0.5 * 0.3
PROBLEMS = 1000
ERROR = 4 * (0.25 / PROBLEMS) ** 0.5  # four standard errors at most


def table():
  law = np.zeros((10, 10), np.float32)
  for token, following in LAW.items():
    for then, probability in following.items():
      law[token, then] = probability
  return np.where(law > 0, np.log(np.maximum(law, 1e-30)), -np.inf)


def value(prompt, responses):
  """The chance that what has been written ends right."""
  del prompt
  first, second = responses.tokens[..., 0], responses.tokens[..., 1]
  begun = jnp.where(first == GOOD, 0.9, 0.3)
  whole = jnp.where(second == RIGHT, 1.0, 0.0)
  return jnp.where(responses.lengths > 1, whole, begun)


@functools.partial(jax.jit, static_argnums=(0, 1))
def run(method, num_samples, params, keys, prompt):
  setting = search.Setting(
    model=models.table_model(10),
    params=params,
    answer_fn=lambda prompt, responses: responses.tokens[..., 1],
    score_fn=value,
    eos_ids=(END,),
    capacity=3,
    max_steps=3,
    max_step_tokens=1,
    revise=(REVISE,),
    question=verifiers.Question([ASK], YES, NO, [END]),
  )
  chosen = search.solve(method, setting, keys, prompt, num_samples)
  return jnp.mean(chosen.answer == RIGHT), jnp.mean(chosen.tokens)


def solve(method, num_samples):
  prompt = Prompt(
    jnp.zeros((PROBLEMS, 1), jnp.int32), jnp.ones(PROBLEMS, jnp.int32)
  )
  keys = jax.random.split(jax.random.key(0), PROBLEMS)
  return run(method, num_samples, jnp.asarray(table()), keys, prompt)


# What a method gains from 1 to 16 responses here; the rest need a model that
# thinks or takes questions apart, which a table cannot be.
GAINS = {
  'first_finish_search': 0.0,  # all responses are as long
  'beam_search': 0.35,
  'dvts': 0.35,
  'lookahead_search': 0.35,
  'mcts': 0.35,
  'qalign': 0.1,
  'quest': 0.1,
  'revisions': 0.3,
  'post_editing': 0.1,
  'verifier_refinement': 0.3,
  'generative_verification': 0.0,  # a coin is no worse than one sample
}
METHODS = [m for m in search.METHODS if m.name in GAINS]
QUICK = 'beam_search', 'verifier_refinement'


def test_every_method_that_decodes_is_here_or_needs_more_than_a_table():
  decoding = {m.name: m.needs for m in search.METHODS if m.decode}
  missing = {needs for name, needs in decoding.items() if name not in GAINS}
  assert missing <= {'thinking', 'atoms'}
  assert GAINS.keys() <= decoding.keys()


@pytest.mark.parametrize(
  'method',
  [
    pytest.param(m, marks=[] if m.name in QUICK else pytest.mark.slow)
    for m in METHODS
  ],
  ids=lambda m: m.name,
)
def test_accuracy_does_not_fall_with_the_budget(method):
  accuracy, tokens = np.transpose([solve(method, n) for n in (1, 4, 16)])
  assert abs(accuracy[0] - FIRST) < ERROR
  assert np.all(np.diff(accuracy) > -ERROR), accuracy
  assert accuracy[-1] - accuracy[0] > GAINS[method.name] - ERROR, accuracy
  assert np.all(np.diff(tokens) > 0)
