"""A score of NaN never wins, weighs nothing, and is counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import search
from ttc.search.search_tree import puct
from ttc.search.step_search import expand
from ttc.types import Samples

NAN = float('nan')
SELECTS = [
  m for m in search.METHODS if m.select is not None and 'verification' in m.how
]


def samples_of(answers, scores, log_probs=None):
  scores = jnp.asarray(scores, jnp.float32)
  return Samples(
    answers=jnp.asarray(answers),
    scores=scores,
    log_probs=-jnp.ones(scores.size) if log_probs is None else log_probs,
    lengths=jnp.full(scores.shape, 3),
    finished=jnp.ones(scores.shape, bool),
  )


@pytest.mark.parametrize('method', SELECTS, ids=lambda m: m.name)
def test_selections(method):
  choose = lambda *args: method.select(samples_of(*args), jnp.int32(4))
  got = choose([7, 8, 8, 9], [NAN, 0.2, NAN, 0.9])
  assert int(got.answer) == 9
  assert int(got.nan_scores) == 2
  assert int(choose([7, 8, 8, 9], [NAN] * 4).answer) == -1
  assert int(choose([7, 8, 8, 9], [0.1, 0.3, 0.3, 0.2]).nan_scores) == 0


def test_votes_by_log_probability():
  samples = samples_of(
    [7, 7, 8], [0.0] * 3, jnp.array([jnp.nan, jnp.nan, -2.0])
  )
  for method in search.METHODS:
    if method.name in (
      'rpc',
      'perplexity_consistency',
      'lowest_perplexity',
      'confidence_vote',
    ):
      assert int(method.select(samples, jnp.int32(3)).answer) == 8, method.name


def test_beams():
  parents, _ = expand(jnp.array([NAN, 0.1, -5.0, NAN]), jnp.ones(4, bool), 2)
  assert set(np.asarray(parents).tolist()) == {1, 2}


def test_reranking():
  ranking = search.rerank(
    jnp.array([[4, 5, 6]]), jnp.zeros((1, 3)), jnp.array([[NAN, 0.2, 0.7]])
  )
  np.testing.assert_array_equal(ranking.items, [[6, 5, 4]])


def test_puct_grows_with_the_visits_of_the_parent():
  """By hand: 0.5 + 0.25 * sqrt(9) / (1 + 2) * (1 + log((9 + 5 + 1) / 5))."""
  rank = puct(
    jnp.array([1.0, 1.0]),
    jnp.array([2, 2]),
    jnp.array([0.25, 0.0]),
    jnp.int32(9),
    1.0,
    5.0,
  )
  np.testing.assert_allclose(rank[0], 0.5 + 0.25 * (1 + np.log(3)), rtol=1e-6)
  assert rank[1] == -jnp.inf


def test_puct_is_what_a_descent_follows():
  """Of two equal children the one with fewer visits is explored."""
  value, visits = jnp.array([3.0, 0.9]), jnp.array([6, 2])
  rank = jax.jit(puct)(value, visits, jnp.array([0.5, 0.5]), 8, 1.25, 10.0)
  assert int(jnp.argmax(rank)) == 1


def test_hybrid_selection_never_takes_one_that_was_not_read():
  """The second passes most tests, and nobody knows how it reads."""
  verdicts = search.Verdicts(
    jnp.array([1, 5, 2]), jnp.array([1, 5, 2]), jnp.array([0.9, NAN, 0.1])
  )
  kept = search.hybrid_selection(verdicts, jnp.ones(3, bool))
  np.testing.assert_array_equal(kept, [False, False, True])
