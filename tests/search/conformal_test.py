"""The conformal test against enumeration of ranks, and its running state."""

import fractions
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import search

LEVELS = [0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0]


def as_fraction(level):
  """0.6 as three fifths, not as the float next to it."""
  return fractions.Fraction(str(level))


@pytest.mark.parametrize('n', [0, 1, 4, 5, 16, 99, 960])
def test_rates_are_the_formulas_in_exact_arithmetic(n):
  levels = jnp.array(LEVELS)
  rank = search.rank_test_rate(n, levels)
  p = search.p_value_test_rate(n, levels)
  for i, level in enumerate(map(as_fraction, LEVELS)):
    want = fractions.Fraction(n - math.ceil(level * n) + 1, n + 1)
    assert float(rank[i]) == pytest.approx(float(want), abs=1e-6)
    want = fractions.Fraction(math.floor(level * (n + 1)), n + 1)
    assert float(p[i]) == pytest.approx(float(want), abs=1e-6)
    assert float(p[i]) <= LEVELS[i] + 1e-6


@pytest.mark.parametrize('n', [1, 4, 5, 16, 99])
def test_all_ranks_of_a_new_score_reject_at_the_rate(n):
  """Exchangeable: the new score is each of the `n + 1` with equal chance."""
  scores = jnp.sort(jax.random.normal(jax.random.key(n), (n + 1,)))

  def left_out(i):
    calibration = search.calibrate(scores, jnp.arange(n + 1) != i)
    levels = jnp.array(LEVELS)
    test = lambda fn: jax.vmap(fn, (None, None, 0))(
      calibration, scores[i], levels
    )
    rank = search.conformal_rank(calibration, scores[i])
    p = search.p_value(calibration, scores[i])
    return test(search.rank_test), test(search.p_value_test), rank, p

  by_rank, by_p, rank, p = jax.jit(jax.vmap(left_out))(jnp.arange(n + 1))
  np.testing.assert_array_equal(rank, np.arange(n + 1))
  np.testing.assert_allclose(p, (n + 1 - np.arange(n + 1)) / (n + 1), rtol=1e-6)
  levels = jnp.array(LEVELS)
  np.testing.assert_allclose(
    by_rank.mean(axis=0), search.rank_test_rate(n, levels), atol=1e-6
  )
  np.testing.assert_allclose(
    by_p.mean(axis=0), search.p_value_test_rate(n, levels), atol=1e-6
  )


@pytest.mark.slow
def test_ties_only_make_rejections_rarer():
  """All calibrations of three scores and a new one, of two values."""
  worlds = jnp.array(list(itertools.product([1.0, 2.0], repeat=4)))

  def rejects(world):
    calibration = search.calibrate(world[:3])
    return (
      search.rank_test(calibration, world[3], 2 / 3),
      search.p_value_test(calibration, world[3], 0.5),
    )

  by_rank, by_p = jax.jit(jax.vmap(rejects))(worlds)
  # The new one is the high one and two, or all, of the others are low: 4 of 16.
  assert float(by_rank.mean()) == 4 / 16
  assert float(by_rank.mean()) < float(search.rank_test_rate(3, 2 / 3))
  # At most one as high: the new one is high and at least two are low.
  assert float(by_p.mean()) == 4 / 16 < float(search.p_value_test_rate(3, 0.5))


@pytest.mark.parametrize('num_values', [8, 1000])
def test_the_rank_test_is_one_stored_threshold(num_values):
  """With many ties and with few; new scores on and between the old ones."""
  scores = jax.random.randint(jax.random.key(0), (20,), 0, num_values)
  scores = scores.astype(jnp.float32)
  calibration = search.calibrate(scores)
  new = jnp.concatenate([scores, scores + 0.5, scores - 0.5])
  share = np.mean(np.asarray(scores) < np.asarray(new)[:, None], axis=1)
  for tau in (0.0, 0.3, 0.6, 1.0, 1.5):
    got = search.rank_test(calibration, new, tau)
    np.testing.assert_array_equal(got, (share >= tau) & (tau <= 1))
    threshold = search.rejection_threshold(calibration, tau)
    np.testing.assert_array_equal(got, new > threshold)


def test_nothing_seen_rejects_all_by_rank_and_none_by_p_value():
  empty = search.calibrate(jnp.zeros((0,)), capacity=4)
  assert int(empty.num_scores) == 0
  assert bool(search.rank_test(empty, jnp.float32(1.0), 0.6))
  assert not bool(search.rank_test(empty, jnp.float32(1.0), 1.1))
  assert not bool(search.p_value_test(empty, jnp.float32(1.0), 0.6))
  assert float(search.rejection_threshold(empty, 0.6)) == -np.inf


class TestAppend:
  def test_it_holds_the_latest_in_order(self):
    """Against a list, in batches of which some scores are kept."""
    scores = jax.random.normal(jax.random.key(1), (24,))
    keep = jax.random.bernoulli(jax.random.key(2), 0.6, (24,))
    capacity, seen = 7, []
    calibration = search.calibrate(scores[:0], capacity=capacity)
    append = jax.jit(search.append_scores)
    for begin, end in itertools.pairwise(range(0, 25, 4)):
      calibration = append(calibration, scores[begin:end], keep[begin:end])
      seen += np.asarray(scores[begin:end])[keep[begin:end]].tolist()
      latest = sorted(seen[-capacity:])
      assert int(calibration.num_scores) == len(latest)
      got = np.asarray(calibration.scores)
      np.testing.assert_array_equal(got[: len(latest)], np.float32(latest))
      assert np.all(np.isinf(got[len(latest) :]))

  def test_one_by_one_is_at_once(self):
    scores = jax.random.normal(jax.random.key(3), (12,))
    at_once = search.calibrate(scores, capacity=5)
    step = lambda calibration, s: (
      search.append_scores(calibration, s[None]),
      None,
    )
    one_by_one, _ = jax.lax.scan(
      step, search.calibrate(scores[:0], capacity=5), scores
    )
    jax.tree.map(np.testing.assert_array_equal, at_once, one_by_one)

  @pytest.mark.slow
  def test_a_running_test_keeps_its_rate_if_it_appends_all(self):
    """From 9 scores to 49: each step is at the exact rate of its `n`.

    Appending the accepted ones only, the threshold falls and the rate rises.
    """
    trials, steps, tau = 1500, 40, 0.6

    def run(key, all_of_them):
      scores = jax.random.normal(key, (9 + steps,))
      start = search.calibrate(scores[:9], capacity=9 + steps)

      def step(calibration, score):
        rejected = search.rank_test(calibration, score, tau)
        keep = all_of_them | ~rejected
        return search.append_scores(
          calibration, score[None], keep[None]
        ), rejected

      return jax.lax.scan(step, start, scores[9:])[1]

    keys = jax.random.split(jax.random.key(4), trials)
    run = jax.jit(jax.vmap(run, in_axes=(0, None)))
    rate = np.asarray(run(keys, True)).mean(axis=0)
    want = np.asarray(search.rank_test_rate(9 + np.arange(steps), tau))
    error = np.sqrt(want * (1 - want) / trials)
    # Four standard errors: forty are compared.
    np.testing.assert_array_less(np.abs(rate - want), 4 * error)
    biased = np.asarray(run(keys, False)).mean(axis=0)
    assert biased[-10:].mean() > want[-10:].mean() + 0.08


@pytest.mark.slow
def test_calibrations_of_turns_are_one_with_a_leading_axis():
  """Scores that grow with the turn, each turn judged by its own."""
  scores = jax.random.normal(jax.random.key(5), (3, 10))
  drift = 5.0 * jnp.arange(3)
  turns = jax.jit(jax.vmap(search.calibrate))(scores + drift[:, None])
  np.testing.assert_array_equal(turns.num_scores, [10, 10, 10])
  got = jax.jit(jax.vmap(search.p_value))(turns, jnp.zeros((3,)) + drift)
  want = jax.jit(jax.vmap(search.p_value, in_axes=(0, None)))(
    jax.jit(jax.vmap(search.calibrate))(scores), jnp.float32(0.0)
  )
  np.testing.assert_array_equal(got, want)
  # By the first turn, every later score is among the worst.
  first = jax.tree.map(lambda x: x[0], turns)
  assert np.all(search.rank_test(first, scores[2] + drift[2], 1.0))
