"""Lifetimes of agents: how long they are, and what a rule may know of time."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from ttc.agents.learner import Learner, LearnerState


def lifetime_features(
  n: Num[Array, '*#B'] | int, horizon: Num[Array, '*#B'] | int
) -> Float[Array, '*B 2']:
  """`[n / N, log N]` (2402.05828, section 4).

  Args:
    n: updates done before this one; 0 at the first.
    horizon: `N`, updates of the whole lifetime.

  Returns:
    Relative, not absolute time, and the logarithm of the horizon.
  """
  n, horizon = jnp.float32(n), jnp.float32(horizon)
  relative, size = jnp.broadcast_arrays(n / horizon, jnp.log(horizon))
  return jnp.stack([relative, size], axis=-1)


def random_horizon(key: PRNGKeyArray, low: int, high: int) -> Int[Array, '']:
  """A log-uniform whole number from `low` to `high`, both included."""
  log_low, log_high = jnp.log(float(low)), jnp.log(high + 1.0)
  log_n = jax.random.uniform(key, (), jnp.float32, log_low, log_high)
  return jnp.clip(jnp.floor(jnp.exp(log_n)), low, high).astype(jnp.int32)


def live(
  learner: Learner,
  key: PRNGKeyArray,
  horizon: Int[Array, ''] | int,
  max_horizon: int,
) -> tuple[LearnerState, Mapping[str, Float[Array, ' N']]]:
  """A whole life of an agent.

  Updates after the last one are computed and thrown away, so lives of unequal
  lengths are one `vmap`. Cost: `max_horizon` updates.

  Args:
    learner: that lives.
    key: consumed.
    horizon: `N`; may be traced.
    max_horizon: of all lives; static.

  Returns:
    The state at the end of life, and metrics `[max_horizon]` of the updates,
    NaN after the end of it.
  """

  def step(state, n):
    after, metrics = learner.update(state)
    alive = n < horizon
    metrics = {k: jnp.where(alive, x, jnp.nan) for k, x in metrics.items()}
    return where(alive, after, state), metrics

  return jax.lax.scan(step, learner.init(key), jnp.arange(max_horizon))


def where(condition: Array, chosen: Any, other: Any) -> Any:
  """One of two pytrees of arrays."""
  return jax.tree.map(lambda a, b: jnp.where(condition, a, b), chosen, other)
