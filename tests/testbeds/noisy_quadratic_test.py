"""The noisy quadratic against closed forms and figures found elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc.testbeds import learned_rates
from ttc.testbeds import noisy_quadratic as bed
from ttc.testbeds.noisy_quadratic import Quadratic

TWO = Quadratic()


def test_moments_are_those_of_noisy_descent():
  """20000 runs of gradient descent, coordinate by coordinate."""
  rates = jnp.array([0.5, 0.3, 0.2])
  h = jnp.array(TWO.curvature)

  def run(key):
    theta = jnp.array(TWO.start) ** 0.5
    for rate, noise in zip(rates, jax.random.normal(key, (3, 2)), strict=True):
      noise = TWO.noise**0.5 * noise
      theta = theta - rate * (h * theta + noise)
    return 0.5 * jnp.sum(h * theta**2)

  losses = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 20_000))
  exact = bed.final_loss(TWO, lambda n, N: rates[n], 3, 3)
  error = losses.std() / 20_000**0.5
  assert abs(losses.mean() - exact) < 3 * error


def test_one_coordinate_has_a_closed_form():
  """1 / v grows by h^2 / sigma^2; greedy is best."""
  one = Quadratic((0.7,), 0.2, (1.5,))
  v = 1 / (1 / 1.5 + 30 * 0.7**2 / 0.2)
  want = 0.5 * 0.7 * v
  np.testing.assert_allclose(bed.greedy_lifetime(one, 30)[1], want, rtol=1e-4)
  np.testing.assert_allclose(bed.best_loss(one, 30), want, rtol=1e-3)


@pytest.mark.parametrize(
  ('horizon', 'best', 'greedy', 'constant'),
  [(10, 0.0264, 0.0266, 0.0294), (250, 0.0044, 0.0112, 0.0070)],
)
def test_figures(horizon, best, greedy, constant):
  assert abs(bed.best_loss(TWO, horizon) - best) < 1e-4
  assert abs(bed.greedy_lifetime(TWO, horizon)[1] - greedy) < 1e-4
  assert abs(bed.constant_loss(TWO, horizon) - constant) < 1e-4


def test_a_lifetime_ends_at_its_horizon():
  rate = lambda n, N: 0.1 + n / N
  _, losses = bed.lifetime(TWO, rate, 5, 9)
  np.testing.assert_array_equal(losses[4:], losses[4])
  alone = bed.final_loss(TWO, rate, 5, 5)
  np.testing.assert_allclose(losses[-1], alone, rtol=1e-6)


def test_blind_rules_say_the_same_everywhere():
  params = learned_rates.init_rule(jax.random.key(0))
  params = jax.tree.map(lambda x: x + 0.1, params)
  say = lambda n, N, sees: learned_rates.rate(
    params, jnp.int32(n), jnp.int32(N), sees_time=sees
  )
  assert say(0, 10, False) == say(7, 200, False)
  assert say(0, 10, True) != say(7, 10, True)
