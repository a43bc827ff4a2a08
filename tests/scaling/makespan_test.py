"""Makespans with and without a barrier: enumeration and bounds."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import scaling

PMF = np.array([0.2, 0.0, 0.5, 0.3], np.float32)
expected = jax.jit(scaling.expected_makespans, static_argnums=2)


def geometric(mean, num=400):
  """On 1, 2, ...: the longest tail of a turn without a limit."""
  t = np.arange(num)
  pmf = (1 - 1 / mean) ** (t - 1) / mean
  pmf[0] = 0
  return jnp.asarray(pmf / pmf.sum(), jnp.float32)


@pytest.mark.parametrize('K, R', [(1, 1), (1, 3), (2, 1), (2, 2), (3, 2)])
def test_means_are_those_of_all_outcomes(K, R):
  outcomes = np.array(list(itertools.product(range(len(PMF)), repeat=K * R)))
  weights = np.prod(PMF[outcomes], axis=1)
  got = jax.jit(jax.vmap(scaling.makespans))(
    jnp.asarray(outcomes.reshape(-1, K, R))
  )
  assert np.all(got.asynchronous <= got.synchronous)
  assert np.all(got.synchronous <= min(K, R) * got.asynchronous)
  want = expected(jnp.asarray(PMF), K, R)
  assert float(weights @ got.synchronous) == pytest.approx(
    float(want.synchronous), rel=1e-5
  )
  assert float(weights @ got.asynchronous) == pytest.approx(
    float(want.asynchronous), rel=1e-5
  )


def test_against_a_clock_that_counts_each_step():
  """Chains work a unit at a time; with a barrier, none starts a turn early."""
  rng = np.random.default_rng(0)
  for _ in range(20):
    durations = rng.integers(0, 5, (3, 4))
    got = scaling.makespans(jnp.asarray(durations))
    for barrier, want in zip((True, False), got, strict=True):
      assert clock(durations, barrier) == float(want)


def clock(durations, barrier):
  left, time = [list(row) for row in durations], 0
  while any(map(sum, left)):
    for row in left:
      while row and row[0] == 0 and not barrier:
        row.pop(0)
    if barrier and all(row[0] == 0 for row in left):
      left = [row[1:] for row in left]
      continue
    for row in left:
      if row and row[0] > 0:
        row[0] -= 1
    time += 1
  return time


def test_the_bound_is_reached_and_equal_chains_lose_nothing():
  """Chains that are slow in turn wait for each other every time."""
  got = scaling.makespans(10 * jnp.eye(4))
  assert (float(got.synchronous), float(got.asynchronous)) == (40, 10)
  got = scaling.makespans(jnp.tile(jnp.arange(5), (3, 1)))
  assert float(got.synchronous) == float(got.asynchronous) == 10


def test_makespans_do_not_depend_on_the_order_and_scale_with_the_unit():
  durations = jax.random.uniform(jax.random.key(0), (5, 4))
  base = scaling.makespans(durations)
  for other, factor in (
    (durations[::-1], 1),
    (durations[:, ::-1], 1),
    (3 * durations, 3),
  ):
    got = scaling.makespans(other)
    np.testing.assert_allclose(got, factor * np.array(base), rtol=1e-6)


def test_a_barrier_within_turns_against_its_times():
  draft = jax.random.uniform(jax.random.key(1), (4, 3))
  target = jax.random.uniform(jax.random.key(2), (4, 3))
  begin = np.zeros(4)
  for r in range(3):
    judged = (begin + draft[:, r]).max()
    begin = judged + np.asarray(target[:, r])
  segments = scaling.barrier_segments(draft, target)
  got = scaling.makespans(segments)
  assert float(got.synchronous) == pytest.approx(float(begin.max()), rel=1e-6)
  assert float(got.asynchronous) == pytest.approx(
    float((draft + target).sum(axis=1).max()), rel=1e-6
  )


class TestRatio:
  """How much the barrier costs, from the exact means."""

  @staticmethod
  def ratio(pmf, K, R=8):
    both = jax.vmap(functools.partial(expected, num_turns=R), (None, 0))(
      pmf, jnp.atleast_1d(jnp.array(K))
    )
    return np.asarray(both.synchronous / both.asynchronous)

  def test_it_grows_with_chains_where_lengths_have_a_tail(self):
    ratio = self.ratio(geometric(10.0), [1, 2, 4, 8, 16, 32, 64])
    assert ratio[0] == pytest.approx(1, abs=1e-4)
    assert np.all(np.diff(ratio) > 0)

  def test_it_falls_again_where_they_have_a_limit(self):
    """A bounded turn: with many chains one of them is slow in every turn."""
    cut = np.asarray(geometric(10.0)).copy()[:31]
    cut[30] += 1 - cut.sum()
    ratio = self.ratio(jnp.asarray(cut), [1, 16, 10**9], R=3)
    assert ratio[1] > 1.1
    assert ratio[2] == pytest.approx(1, abs=1e-3)

  def test_it_grows_with_the_spread_of_lengths(self):
    """Two lengths around the same mean, further and further apart."""
    ratios = []
    for spread in range(0, 10, 3):
      pmf = np.zeros(20, np.float32)
      pmf[10 - spread] += 0.5
      pmf[10 + spread] += 0.5
      ratios.append(self.ratio(jnp.asarray(pmf), 8)[0])
    assert ratios[0] == pytest.approx(1, abs=1e-5)
    assert np.all(np.diff(ratios) > 0.05)
