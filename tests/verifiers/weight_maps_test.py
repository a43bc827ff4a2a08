import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import search, verifiers

SCORES = jnp.array([2.0, -1.0, 0.5, 0.5, -3.0])
MASK = jnp.array([True, True, True, False, True])


@pytest.mark.parametrize('name', verifiers.WEIGHTS)
def test_weights_rise_with_scores_and_ignore_what_has_no_answer(name):
  weight_fn = verifiers.WEIGHTS[name]
  weights = weight_fn(SCORES, MASK)
  assert weights[3] == 0
  assert weights[0] > weights[2] > weights[1] > weights[4]
  changed = weight_fn(SCORES.at[3].set(100.0), MASK)
  np.testing.assert_array_equal(weights, changed)


def test_by_hand():
  logits = np.array([2.0, -1.0, 0.5, -np.inf, -3.0])
  np.testing.assert_allclose(
    verifiers.softmax_weights(SCORES, MASK),
    np.exp(logits) / np.exp(logits).sum(),
    rtol=1e-5,
  )
  np.testing.assert_allclose(
    verifiers.sigmoid_weights(SCORES, MASK), 1 / (1 + np.exp(-logits)), 1e-5
  )
  np.testing.assert_allclose(
    verifiers.minmax_weights(SCORES, MASK), [1, 0.4, 0.7, 0, 0], atol=1e-6
  )
  np.testing.assert_array_equal(
    verifiers.minmax_weights(jnp.full(3, 7.0), jnp.ones(3, bool)), 1
  )


def test_minmax_of_two_is_best_of_two():
  rng = np.random.default_rng(0)
  scores = rng.normal(size=(50, 2)).astype(np.float32)
  weights = jax.jit(jax.vmap(verifiers.minmax_weights, in_axes=(0, None)))(
    jnp.asarray(scores), jnp.ones(2, bool)
  )
  best = scores.argmax(axis=1)[:, None] == np.arange(2)
  np.testing.assert_allclose(weights, best, atol=1e-6)


def test_a_constant_changes_the_winner_of_a_raw_vote_only():
  """Three of .5 against one of 2; with 3 less each, the many are punished."""
  answers = jnp.array([0, 0, 0, 1])
  scores, mask = jnp.array([0.5, 0.5, 0.5, 2.0]), jnp.ones(4, bool)

  def winner(weight_fn, shift):
    weights = weight_fn(scores + shift, mask)
    return int(search.winner(answers, search.tally(answers, weights, mask)))

  for name, before, after in (('raw', 1, 0), ('softmax', 1, 1)):
    weight_fn = verifiers.WEIGHTS[name]
    assert (winner(weight_fn, 0.0), winner(weight_fn, 2.0)) == (before, after)
  assert winner(verifiers.raw_weights, -3.0) == 1  # -1 against 3 times -2.5
