import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import scaling

fit_beta_plateau = jax.jit(scaling.fit_beta_plateau, static_argnums=2)
fit_plateau = jax.jit(scaling.fit_plateau)
POINTS = jnp.array([1, 2, 4, 8, 16, 32, 64])


@pytest.mark.parametrize(
  ('ceiling', 'p', 'threshold', 'expected'),
  [
    (1.0, 0.3, 0.01, 10),
    (1.0, 0.1, 0.01, 22),
    (0.8, 0.05, 0.001, 72),
    (1.0, 0.5, 0.01, 6),
    (1.0, 0.004, 0.01, 0),
    (0.1, 0.05, 0.005, 0),  # it equals the gain of the first unit
    (1.0, 0.5, 0.0625, 3),  # the gain equals the threshold
  ],
)
def test_saturation_oracles(ceiling, p, threshold, expected):
  got = int(scaling.saturation_point(p, threshold, ceiling))
  assert got == expected
  gain = lambda n: float(scaling.marginal_gain(n, p, ceiling))
  assert gain(got) <= threshold * (1 + 1e-5)
  assert got == 0 or gain(got - 1) > threshold


def test_gain_is_the_difference_of_accuracies():
  n = jnp.arange(20)
  for p in (0.02, 0.4, 0.99):
    accuracy = scaling.plateau_accuracy(n, p, 0.7)
    gain = scaling.marginal_gain(n[:-1], p, 0.7)
    np.testing.assert_allclose(gain, jnp.diff(accuracy), atol=1e-6)
  # A probability that 1 - p cannot hold in float32.
  tiny = scaling.plateau_accuracy(jnp.array([1000]), 1e-6)
  np.testing.assert_allclose(tiny, 1 - (1 - 1e-6) ** 1000, rtol=1e-4)


def test_sequential_meaning_is_an_absorbing_chain():
  p, rounds = 0.23, np.arange(8)
  step = np.array([[1 - p, p], [0, 1]])
  right = [np.linalg.matrix_power(step, n)[0, 1] for n in rounds]
  got = scaling.plateau_accuracy(jnp.asarray(rounds), p)
  np.testing.assert_allclose(got, right, atol=1e-6)


def test_parallel_meaning_is_pass_at_n():
  # 3 of 40 samples right; drawing with replacement is the limit of many.
  n = jnp.array([1, 3, 9])
  got = scaling.plateau_accuracy(n, 3 / 40)
  drawn = [float(scaling.pass_at_k(40_000, 3000, int(k))) for k in n]
  np.testing.assert_allclose(got, drawn, atol=1e-4)


@pytest.mark.parametrize(('a', 'b'), [(0.5, 2.0), (2.0, 3.0), (0.2, 0.3)])
def test_beta_curve_is_the_mean_over_problems(a, b):
  stats = pytest.importorskip('scipy.stats')
  got = scaling.beta_plateau_accuracy(a, b, 50, 0.9)
  quantiles = stats.beta(a, b).ppf((np.arange(200_000) + 0.5) / 200_000)
  for n in (0, 1, 7, 50):
    mean = 0.9 * np.mean(1 - (1 - quantiles) ** n)
    np.testing.assert_allclose(got[n], mean, atol=2e-5)
  # Jensen: below the curve of the mean problem, after the first unit.
  single = scaling.plateau_accuracy(jnp.arange(51), a / (a + b), 0.9)
  np.testing.assert_allclose(got[1], single[1], rtol=1e-5)
  assert jnp.all(got[2:] < single[2:])


def test_beta_saturation_by_its_definition():
  curve = scaling.beta_plateau_accuracy(0.7, 2.0, 400, 0.8)
  gains = np.diff(curve)
  got = int(scaling.beta_saturation_point(0.7, 2.0, 0.002, 399, 0.8))
  assert gains[got] <= 0.002 < gains[got - 1]
  assert int(scaling.beta_saturation_point(0.7, 2.0, 0.002, 9, 0.8)) == 10
  # A narrow law is a single probability.
  narrow = scaling.beta_saturation_point(3e4, 7e4, 0.01, 50)
  assert int(narrow) == int(scaling.saturation_point(0.3, 0.01))


@pytest.mark.parametrize(('p', 'ceiling'), [(0.2, 0.8), (0.01, 0.6), (0.7, 1)])
def test_fit_finds_the_curve(p, ceiling):
  fit = fit_plateau(POINTS, scaling.plateau_accuracy(POINTS, p, ceiling))
  np.testing.assert_allclose([fit.p, fit.ceiling], [p, ceiling], rtol=1e-2)


def test_fit_is_least_squares():
  optimize = pytest.importorskip('scipy.optimize')
  noise = 0.02 * np.random.default_rng(0).normal(size=7)
  seen = np.asarray(scaling.plateau_accuracy(POINTS, 0.15, 0.7)) + noise
  curve = lambda n, p, ceiling: ceiling * (1 - (1 - p) ** n)
  (p, ceiling), _ = optimize.curve_fit(curve, np.array(POINTS), seen, (0.1, 1))
  fit = fit_plateau(POINTS, jnp.asarray(seen, jnp.float32))
  np.testing.assert_allclose([fit.p, fit.ceiling], [p, ceiling], rtol=1e-3)


@pytest.mark.parametrize(
  ('a', 'b', 'ceiling'), [(0.5, 2.0, 0.9), (2.0, 3.0, 1.0)]
)
def test_beta_fit_finds_the_law_where_a_single_p_cannot(a, b, ceiling):
  seen = scaling.beta_plateau_accuracy(a, b, 64, ceiling)[POINTS]
  fit = fit_beta_plateau(POINTS, seen, 64)
  np.testing.assert_allclose(
    [fit.a, fit.b, fit.ceiling], [a, b, ceiling], rtol=2e-2
  )
  single = fit_plateau(POINTS, seen)
  ahead = single.ceiling * (1 - (1 - single.p) ** 1000)
  truth = scaling.beta_plateau_accuracy(a, b, 1000, ceiling)[-1]
  corrected = scaling.beta_plateau_accuracy(fit.a, fit.b, 1000, fit.ceiling)[-1]
  assert abs(float(corrected - truth)) < 2e-3
  assert float(ahead - truth) < -0.01  # it saturates too early
