r"""The noisy quadratic: learning-rate schedules whose losses are known exactly.

Loss :math:`\frac12 \sum_i h_i \theta_i^2`, gradients with noise of variance
:math:`\sigma^2`, one step size for all coordinates. Second moments follow

.. math:: v_i \leftarrow (1 - \alpha h_i)^2 v_i + \alpha^2 \sigma^2

so the expected final loss of a schedule is a closed form of it, and so are the
best schedule of a horizon (by direct minimisation), the greedy one and the best
constant. With one coordinate the best one is
:math:`\alpha_t = h v_t / (h^2 v_t + \sigma^2)`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int


class Quadratic(NamedTuple):
  """A spectrum, noise and start.

  Attributes:
    curvature: h of each coordinate.
    noise: variance of the gradient's.
    start: second moments at first.
  """

  curvature: tuple[float, ...] = (1.0, 0.05)
  noise: float = 0.1
  start: tuple[float, ...] = (1.0, 1.0)


# `(updates so far, horizon) -> step size`.
RateFn = Callable[[Array, Array | int], Array]


def step(
  problem: Quadratic, moments: Float[Array, ' D'], rate: Array
) -> Float[Array, ' D']:
  """Second moments after an update."""
  h = jnp.array(problem.curvature)
  return (1 - rate * h) ** 2 * moments + rate**2 * problem.noise


def loss(problem: Quadratic, moments: Float[Array, ' D']) -> Float[Array, '']:
  """Expected."""
  return 0.5 * jnp.sum(jnp.array(problem.curvature) * moments)


def lifetime(
  problem: Quadratic,
  rate_fn: RateFn,
  horizon: Int[Array, ''] | int,
  max_horizon: int,
) -> tuple[Float[Array, 'N D'], Float[Array, ' N']]:
  """Moments before each update, and losses after it; frozen at the horizon.

  Args:
    problem: of the lifetime.
    rate_fn: of updates so far and horizon.
    horizon: updates; may be traced.
    max_horizon: of all lifetimes; static.
  """

  def update(moments, n):
    after = step(problem, moments, rate_fn(n, horizon))
    after = jnp.where(n < horizon, after, moments)
    return after, (moments, loss(problem, after))

  start = jnp.array(problem.start)
  return jax.lax.scan(update, start, jnp.arange(max_horizon))[1]


def final_loss(
  problem: Quadratic,
  rate_fn: RateFn,
  horizon: Int[Array, ''] | int,
  max_horizon: int,
) -> Float[Array, '']:
  """Expected loss at the end of a lifetime."""
  return lifetime(problem, rate_fn, horizon, max_horizon)[1][-1]


def greedy_rate(
  problem: Quadratic, moments: Float[Array, ' D']
) -> Float[Array, '']:
  """The step size whose next loss is least."""
  h = jnp.array(problem.curvature)
  return jnp.sum(h**2 * moments) / jnp.sum(h**3 * moments + h * problem.noise)


def greedy_lifetime(
  problem: Quadratic, horizon: int
) -> tuple[Float[Array, ' N'], Float[Array, '']]:
  """Step sizes of a lifetime of greedy steps, and the loss at its end."""

  def update(moments, _):
    rate = greedy_rate(problem, moments)
    return step(problem, moments, rate), rate

  start = jnp.array(problem.start)
  end, rates = jax.lax.scan(update, start, length=horizon)
  return rates, loss(problem, end)


def constant_loss(problem: Quadratic, horizon: int) -> float:
  """Of the best constant step size, from a fine grid."""
  rates = jnp.geomspace(1e-4, 2.0 / max(problem.curvature), 4000)
  losses = jax.vmap(
    lambda rate: final_loss(problem, lambda n, N: rate, horizon, horizon)
  )(rates)
  return float(losses.min())


def best_loss(problem: Quadratic, horizon: int) -> float:
  """Of the best schedule, by L-BFGS over the logarithms of its steps."""
  optimizer = optax.lbfgs()

  def value(log_rates):
    rates = jnp.exp(log_rates)
    return jnp.log(final_loss(problem, lambda n, N: rates[n], horizon, horizon))

  def improve(carry, _):
    log_rates, state = carry
    now, grads = optax.value_and_grad_from_state(value)(log_rates, state=state)
    changes, state = optimizer.update(
      grads, state, log_rates, value=now, grad=grads, value_fn=value
    )
    return (optax.apply_updates(log_rates, changes), state), now

  start = jnp.log(jnp.linspace(0.5, 0.05, horizon))
  carry = (start, optimizer.init(start))
  _, values = jax.jit(lambda carry: jax.lax.scan(improve, carry, length=300))(
    carry
  )
  return float(np.exp(np.nanmin(values)))
