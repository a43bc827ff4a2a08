"""Aggregates of step scores, combined with votes: the names of 2502.06703."""

import jax.numpy as jnp
import numpy as np
import pytest

from ttc import search, verifiers
from ttc.types import Samples

# Answers 0 0 1 1 2 2 2, steps scored by a process reward model.
ANSWERS = jnp.array([0, 0, 1, 1, 2, 2, 2])
STEPS = jnp.array(
  [
    [0.2, 0.2, 0.95],  # last: the best is 0
    [0.2, 0.2, 0.1],
    [0.7, 0.7, 0.7],  # min: the best is 1, and the sum too
    [0.5, 0.5, 0.5],
    [1.0, 1.0, 0.4],  # mean: the best is 2
    [0.1, 0.2, 0.5],
    [0.1, 0.2, 0.5],
  ]
)


def choose(how, rule, steps=STEPS):
  scores = verifiers.aggregate_steps(steps, jnp.ones(steps.shape, bool), how)
  ones = jnp.ones(7)
  samples = Samples(ANSWERS, scores, -ones, ones.astype(int), ones > 0)
  return int(search.VOTE_RULES[rule](samples, jnp.int32(7)).answer)


@pytest.mark.parametrize(
  ('how', 'best', 'vote'), [('last', 0, 2), ('min', 1, 1), ('mean', 2, 2)]
)
def test_all_combinations_by_hand(how, best, vote):
  # Sums per answer: last 1.05 1.2 1.4; min .3 1.2 .6; mean .617 1.2 1.333.
  assert choose(how, 'prm_max') == best
  assert choose(how, 'prm_vote') == vote
  assert choose(how, 'majority') == 2


def test_the_best_score_of_each_answer_is_the_best_of_all():
  rng = np.random.default_rng(0)
  for steps in rng.random((20, 7, 3)):
    scores = steps.min(axis=1)
    per_answer = [scores[np.asarray(ANSWERS) == a].max() for a in range(3)]
    assert choose('min', 'prm_max', jnp.asarray(steps)) == np.argmax(per_answer)
    sums = [scores[np.asarray(ANSWERS) == a].sum() for a in range(3)]
    assert choose('min', 'prm_vote', jnp.asarray(steps)) == np.argmax(sums)
