r"""Values as DiscoRL's rule reads them: distributions, Retrace, averages.

Agents say values of actions as logits over bins of `h(q)`,

.. math::
  h(x) = sign(x) (\sqrt{|x| + 1} - 1) + \epsilon x, \quad \epsilon = 10^{-3}

(Pohlen et al., 2018, 1805.11593), and are told Retrace's returns (Munos et al.,
2016, 1606.02647). Advantages are also said relative to their mean and deviation
over the life so far.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.types import Params

EPSILON = 1e-3  # of `h`
MAX_VALUE = 300.0  # of `h(q)`
DECAY = 0.99  # of averages, an update


class Average(NamedTuple):
  """Exponential averages over updates, that began at 0.

  Attributes:
    first: of a number.
    second: of its square.
    missing: weight of the 0 that they began at.
  """

  first: Float[Array, '']
  second: Float[Array, '']
  missing: Float[Array, '']


class Values(NamedTuple):
  """What is known of the worth of `T` steps.

  Attributes:
    value: of the `T + 1` states, by the agent.
    returns: Retrace's, of what was done.
    advantage: of these over the value by the target.
    normalized_advantage: by the average so far.
    q: of all actions, by the target.
    q_advantage: of these over the value.
    normalized_q_advantage: by the average so far.
  """

  value: Float[Array, 'S *B']
  returns: Float[Array, 'T *B']
  advantage: Float[Array, 'T *B']
  normalized_advantage: Float[Array, 'T *B']
  q: Float[Array, 'T *B A']
  q_advantage: Float[Array, 'T *B A']
  normalized_q_advantage: Float[Array, 'T *B A']


def symlog(x: Params) -> Params:
  """`sign(x) log(1 + |x|)`."""
  return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def compress(x: Float[Array, '*B']) -> Float[Array, '*B']:
  """`h`."""
  return jnp.sign(x) * (jnp.sqrt(jnp.abs(x) + 1) - 1) + EPSILON * x


def expand(x: Float[Array, '*B']) -> Float[Array, '*B']:
  """The inverse of `h`, in a form without cancellation near 0.

  With `s = sqrt(|y| + 1)` the equation `s^2 - 1 = |y|`, `h(y) = x` is quadratic
  in `s - 1`.
  """
  size = jnp.abs(x)
  slope = 1 + 2 * EPSILON
  root = jnp.sqrt(slope**2 + 4 * EPSILON * size)
  rise = 2 * size / (slope + root)
  return jnp.sign(x) * rise * (rise + 2)


def expected(logits: Float[Array, '*B n']) -> Float[Array, ' *B']:
  """The value that logits over bins say."""
  bins = jnp.linspace(
    -MAX_VALUE, MAX_VALUE, logits.shape[-1], dtype=jnp.float32
  )
  return expand(jnp.sum(jax.nn.softmax(logits) * bins, axis=-1))


def two_bins(value: Float[Array, ' *B'], num_bins: int) -> Float[Array, '*B n']:
  """Probabilities of the two nearest bins whose mean is `h(value)`.

  Args:
    value: beyond the outermost bins it is one of these.
    num_bins: from `-MAX_VALUE` to `MAX_VALUE`.
  """
  bins = jnp.linspace(-MAX_VALUE, MAX_VALUE, num_bins, dtype=jnp.float32)
  near = jnp.clip(compress(value), -MAX_VALUE, MAX_VALUE)[..., None]
  width = 2 * MAX_VALUE / (num_bins - 1)
  return jnp.maximum(1 - jnp.abs(near - bins) / width, 0)


def retrace(
  reward: Float[Array, 'T *B'],
  discount: Float[Array, 'T *B'],
  q_taken: Float[Array, 'T *B'],
  value: Float[Array, 'S *B'],
  trace: Float[Array, 'T *B'],
) -> Float[Array, 'T *B']:
  r"""Returns that are corrected as long as others would have done the same.

  .. math:: G_t = r_t + \gamma_t (v_{t+1} + c_{t+1} (G_{t+1} - q_{t+1}))

  Args:
    reward: of steps.
    discount: of what follows, 0 where an episode ended.
    q_taken: values of the actions taken.
    value: of the `T + 1` states; the last is what follows the rollout.
    trace: `c`, from 0 (one step) to 1 (whole returns).
  """

  def step(correction, now):
    reward, discount, following, q, trace = now
    returns = reward + discount * (following + correction)
    return trace * (returns - q), returns

  steps = (reward, discount, value[1:], q_taken, trace)
  start = jnp.zeros_like(reward[0])
  return jax.lax.scan(step, start, steps, reverse=True)[1]


def new_average() -> Average:
  """Of nothing yet."""
  zero = jnp.zeros((), jnp.float32)
  return Average(zero, zero, jnp.ones((), jnp.float32))


def averaged(
  average: Average, x: Float[Array, '*B'], weight: Float[Array, '*B']
) -> Average:
  """With an update's numbers; weights sum to 1."""
  mix = lambda old, new: DECAY * old + (1 - DECAY) * jnp.sum(new * weight)
  return Average(
    mix(average.first, x), mix(average.second, x**2), DECAY * average.missing
  )


def normalized(average: Average, x: Float[Array, '*B']) -> Float[Array, '*B']:
  """Less the mean, over the deviation; `average` holds one update or more."""
  scale = 1 / (1 - average.missing)
  mean = average.first * scale
  variance = jnp.maximum(average.second * scale - mean**2, 0)
  return (x - mean) / (jnp.sqrt(variance + 1e-12) + 1e-6)


def values_of(
  average: Average,
  reward: Float[Array, 'T *B'],
  done: Bool[Array, 'T *B'],
  action: Int[Array, 'T *B'],
  weight: Float[Array, 'T *B'],
  logits: Float[Array, 'S *B A'],
  behaviour: Float[Array, 'T *B A'],
  q_logits: Float[Array, 'S *B A n'],
  target_q_logits: Float[Array, 'S *B A n'],
  discount: float,
  trace: float,
) -> tuple[Values, Average]:
  """Values, returns and advantages of a rollout.

  Args:
    average: of advantages in the life so far.
    reward: of steps.
    done: whether an episode ended with one, by the rules or by a limit.
    action: that was taken.
    weight: of a step; sums to 1.
    logits: of the agent's policy, in `T + 1` states.
    behaviour: of those who acted.
    q_logits: of the agent.
    target_q_logits: of the average of its past selves.
    discount: gamma.
    trace: lambda.

  Returns:
    Values, and the average with this update in it.
  """
  taken = lambda x: jnp.take_along_axis(x, action[..., None], axis=-1)[..., 0]
  policy = jax.nn.softmax(logits)
  log_ratio = jax.nn.log_softmax(logits[:-1]) - jax.nn.log_softmax(behaviour)
  ratio = jax.lax.stop_gradient(jnp.exp(taken(log_ratio)))
  value = jnp.sum(policy * expected(q_logits), axis=-1)
  q = expected(target_q_logits)
  target_value = jnp.sum(policy * q, axis=-1)
  returns = jax.lax.stop_gradient(
    retrace(
      reward,
      discount * (1.0 - done.astype(jnp.float32)),
      taken(q[:-1]),
      target_value,
      trace * jnp.minimum(ratio, 1.0),
    )
  )
  advantage = returns - target_value[:-1]
  q_advantage = q[:-1] - target_value[:-1, ..., None]
  average = averaged(average, advantage, weight)
  values = Values(
    value,
    returns,
    advantage,
    normalized(average, advantage),
    q[:-1],
    q_advantage,
    normalized(average, q_advantage),
  )
  return values, average
