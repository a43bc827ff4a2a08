r"""Generalised advantage estimation (Schulman et al., 2015, 1506.02438)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def gae(
  reward: Float[Array, 'T *B'],
  value: Float[Array, 'T *B'],
  next_value: Float[Array, 'T *B'],
  terminated: Bool[Array, 'T *#B'],
  truncated: Bool[Array, 'T *#B'],
  *,
  discount: float | Float[Array, ''] = 0.99,
  trace: float | Float[Array, ''] = 0.95,
) -> Float[Array, 'T *B']:
  r"""Advantages of a rollout that may span several episodes.

  .. math::
    \delta_t = r_t + \gamma (1 - \text{terminated}_t) V(s_{t+1}) - V(s_t),
    \qquad A_t = \delta_t + \gamma \lambda (1 - \text{done}_t) A_{t+1}

  Args:
    reward: of step t.
    value: of the state before step t.
    next_value: of the state after it, in the same episode: where one was cut
      off by a limit of time, of its last state and not of the next one's first.
    terminated: whether the rules ended the episode at t: nothing follows;
      broadcast to rewards, as is `truncated`.
    truncated: whether a limit did: the value that follows counts.
    discount: gamma.
    trace: lambda; 1 for returns less values, 0 for one-step errors.

  Returns:
    Advantages; `advantage + value` are the lambda-returns.

  Example:
    >>> no = jnp.zeros(2, bool)
    >>> agents.gae(
    ...   reward=jnp.array([1.0, 1.0]), value=jnp.zeros(2),
    ...   next_value=jnp.zeros(2), terminated=jnp.array([False, True]),
    ...   truncated=no, discount=0.5, trace=1.0).tolist()
    [1.5, 1.0]
  """
  done = terminated | truncated
  delta = reward + discount * jnp.where(terminated, 0.0, next_value) - value
  decay = jnp.where(done, 0.0, discount * trace)

  def step(advantage, inputs):
    delta, decay = inputs
    advantage = delta + decay * advantage
    return advantage, advantage

  zeros = jnp.zeros_like(delta[0])
  return jax.lax.scan(step, zeros, (delta, decay), reverse=True)[1]
