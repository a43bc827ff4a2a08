"""Fits return the laws that made the points, and intervals that cover them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import evaluation, scaling

COMPUTE = 2.0 ** np.arange(9)
fit_power_law = jax.jit(scaling.fit_power_law)


@pytest.mark.parametrize(
  'law', [(0.8, 0.5, 0.4), (1.0, 0.7, 1.3), (0.6, 0.4, 0.15)]
)
def test_a_power_law_is_found_again(law):
  law = scaling.PowerLaw(*map(jnp.float32, law))
  points = scaling.power_law(COMPUTE, law)
  got = fit_power_law(COMPUTE, points)
  np.testing.assert_allclose(got, law, rtol=0.01)
  # Compute in other units: scale changes, exponent and ceiling do not.
  scaled = fit_power_law(1000 * COMPUTE, points)
  np.testing.assert_allclose(scaled.exponent, got.exponent, rtol=0.01)
  np.testing.assert_allclose(scaled.ceiling, got.ceiling, rtol=0.01)
  np.testing.assert_allclose(
    scaling.power_law(1000 * COMPUTE, scaled), points, atol=1e-4
  )


def test_ceilings_stay_below_one():
  points = jnp.asarray(0.1 + 0.1 * np.log2(COMPUTE))
  law = fit_power_law(COMPUTE, points)
  assert law.ceiling <= 1
  # No law with this ceiling fits better: the exponent is a minimum.
  loss = lambda law: jnp.sum((scaling.power_law(COMPUTE, law) - points) ** 2)
  for factor in (0.95, 1.05):
    other = law._replace(exponent=law.exponent * factor)
    assert loss(law) < loss(other)


def test_a_coverage_law_is_found_again():
  law = scaling.CoverageLaw(jnp.float32(2.0), jnp.float32(0.6))
  points = scaling.coverage_law(COMPUTE, law)
  assert jnp.all(jnp.diff(points) > 0)
  np.testing.assert_allclose(
    scaling.fit_coverage_law(COMPUTE, points), law, rtol=1e-4
  )
  np.testing.assert_allclose(points[0], np.exp(-2.0), rtol=1e-6)


@pytest.mark.parametrize(
  'first,last,exponent', [(1, 32, 0.333), (32, 256, 0.487), (256, 2048, 0.498)]
)
def test_the_exponent_of_a_beta_law_is_found_where_it_holds(
  first, last, exponent
):
  """What coverage lacks goes as k^-a, from some k on; here a = .5."""
  k = first * 2 ** np.arange(np.log2(last / first) + 1, dtype=int)
  coverage = scaling.beta_plateau_accuracy(0.5, 2.0, last)[k]
  law = fit_power_law(k, coverage)
  np.testing.assert_allclose(law.exponent, exponent, atol=2e-3)
  if first == 1:  # the curve of which the power is the limit has it already
    fit = jax.jit(scaling.fit_beta_plateau, static_argnums=2)
    curve = fit(jnp.asarray(k), coverage, last)
    np.testing.assert_allclose(curve.a, 0.5, atol=5e-3)


def test_intervals_over_problems_cover_the_exponent():
  """Curves of 300 problems with noise that all points of one share."""
  truth = scaling.PowerLaw(*map(jnp.float32, (0.8, 0.5, 0.5)))
  noise = 0.2 * np.random.default_rng(0).normal(size=(300, 1))
  curves = scaling.power_law(COMPUTE, truth) * (1 + noise)
  statistic = lambda data, weights: jnp.stack(
    scaling.fit_power_law(COMPUTE, evaluation.weighted_mean(data, weights))
  )
  replicates = jax.jit(
    lambda key, data: evaluation.bootstrap(key, data, statistic, 200)
  )(jax.random.key(0), jnp.asarray(curves, jnp.float32))
  low, high = evaluation.percentile_interval(replicates)
  assert np.all(np.asarray(low) < np.asarray(truth) + 1e-3)
  assert np.all(np.asarray(high) > np.asarray(truth) - 1e-3)
  # The noise scales whole curves, so it leaves the exponent alone.
  assert high[2] - low[2] < 0.02 < high[0] - low[0]
