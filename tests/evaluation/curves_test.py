import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest

from ttc import evaluation, scaling
from ttc.types import Samples, Selection

ITEMS, N, PERMUTATIONS = 6, 16, 2000
BUDGETS = jnp.array([1, 2, 5, 16])
GOLD = jnp.array([0, 0, 0, 1, 2, -1])
TOLERANCE = 3 * 0.5 / PERMUTATIONS**0.5  # three standard errors at most


def some_samples():
  keys = jax.random.split(jax.random.key(0), 3)
  shape = (ITEMS, N)
  return Samples(
    answers=jax.random.randint(keys[0], shape, -1, 4),
    scores=jnp.round(jax.random.uniform(keys[1], shape), 1),  # with ties
    log_probs=jnp.zeros(shape),
    lengths=jax.random.randint(keys[2], shape, 1, 30),
    finished=jnp.ones(shape, bool),
  )


def seen(samples, n):
  return jnp.arange(samples.answers.size) < n


def cost(samples, n):
  used = jnp.where(seen(samples, n), samples.lengths, 0)
  return {'tokens': jnp.sum(used), 'depth': jnp.max(used)}


def best(samples, n):
  scores = jnp.where(seen(samples, n), samples.scores, -jnp.inf)
  return Selection(samples.answers[jnp.argmax(scores)], **cost(samples, n))


def vote(samples, n):
  """Majority with ties to the answer drawn first: uniform over orders."""
  valid = seen(samples, n) & (samples.answers >= 0)
  same = samples.answers[:, None] == samples.answers[None, :]
  votes = jnp.where(valid, jnp.sum(same & valid, axis=1), 0)
  winner = jnp.where(jnp.any(valid), samples.answers[jnp.argmax(votes)], -1)
  return Selection(winner, **cost(samples, n))


def oracle(samples, n):
  """Gives answer 0 if any of the samples did."""
  found = jnp.any(seen(samples, n) & (samples.answers == 0))
  return Selection(jnp.where(found, 0, -1), **cost(samples, n))


def first(samples, n):
  """The first response drawn; shows which order a method sees."""
  del n
  length = samples.lengths[0]
  return Selection(samples.answers[0], length, length)


def curve_of(select, batch_size=None):
  return evaluation.scaling_curve(
    jax.random.key(1),
    select,
    some_samples(),
    GOLD,
    BUDGETS,
    PERMUTATIONS,
    batch_size=batch_size,
  )


class ScalingCurveTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    methods = (best, vote, oracle, first)
    curves = jax.jit(lambda: [curve_of(method) for method in methods])()
    cls.best, cls.vote, cls.oracle, cls.first = curves

  def test_an_oracle_reaches_pass_at_k(self):
    correct = np.sum(some_samples().answers == 0, axis=1)
    for column, k in ((1, 2), (2, 5)):
      expected = np.where(GOLD == 0, scaling.pass_at_k(N, correct, k), 0)
      np.testing.assert_allclose(
        self.oracle.accuracy[:, column], expected, atol=TOLERANCE
      )

  def test_best_of_k_is_exact(self):
    samples = some_samples()
    correct = (samples.answers == GOLD[:, None]) & (GOLD[:, None] >= 0)
    for column, k in enumerate(BUDGETS.tolist()):
      expected = jax.vmap(functools.partial(scaling.best_of_k_accuracy, k=k))(
        samples.scores, correct.astype(jnp.float32)
      )
      np.testing.assert_allclose(
        self.best.accuracy[:, column], expected, atol=TOLERANCE
      )

  def test_majority_vote_is_exact(self):
    answers = some_samples().answers
    counts = jnp.sum(answers[:, :, None] == jnp.arange(4), axis=1)
    invalid = jnp.sum(answers < 0, axis=1)
    # The first drawn among the tied is uniform: the order is exchangeable.
    expected = jax.jit(
      jax.vmap(lambda c, g, i: scaling.majority_accuracy(c, g, 5, i))
    )(counts, GOLD, invalid)
    np.testing.assert_allclose(
      self.vote.accuracy[:, 2], expected, atol=TOLERANCE
    )

  def test_tokens_are_the_mean_of_what_was_used(self):
    mean_length = np.mean(some_samples().lengths, axis=1)
    # Three standard errors of a sum of up to 16 lengths below 30.
    np.testing.assert_allclose(
      self.best.tokens,
      mean_length[:, None] * BUDGETS,
      atol=3 * 20 / PERMUTATIONS**0.5,
    )
    longest = np.max(some_samples().lengths, axis=1)
    np.testing.assert_allclose(self.best.depth[:, 3], longest, rtol=1e-6)

  def test_every_method_sees_the_same_nested_orders(self):
    for column in range(BUDGETS.size):
      np.testing.assert_allclose(
        self.first.tokens[:, column], self.best.tokens[:, 0], rtol=1e-6
      )

  @pytest.mark.slow
  def test_batches_do_not_change_the_curve(self):
    parts = jax.jit(lambda: curve_of(first, batch_size=4))()
    for got, expected in zip(parts, self.first, strict=True):
      np.testing.assert_allclose(got, expected, rtol=1e-6)

  def test_no_answer_is_never_right(self):
    for curve in (self.best, self.vote, self.oracle, self.first):
      np.testing.assert_array_equal(curve.accuracy[GOLD < 0], 0)

  def test_budgets_beyond_the_samples_are_refused(self):
    with self.assertRaisesRegex(ValueError, r'1\.\.16'):
      evaluation.scaling_curve(
        jax.random.key(0),
        best,
        some_samples(),
        GOLD,
        jnp.array([1, 17]),
        2,
      )
