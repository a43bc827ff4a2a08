r"""Optimisers that are learned over many trainings.

Metz et al., 2020, "Tasks, stability, architecture, and compute", 2009.11243,
in its smallest form, told how long training is (2402.05828): one network for
every parameter, from what it has seen of its own gradient to a step.

.. math::
  u_t = -\alpha \, e^{a(n/N, \log N)} \,
    (\hat m_{t} / \sqrt{\hat v_t} + d(x_t)) \, e^{c(x_t)}

with :math:`x_t` the gradient and its means over three horizons, all over
:math:`\sqrt{\hat v_t}`, and the two inputs of the lifetime. With `d`, `c` and
`a` at 0 that is Adam, which is where learning begins. A step costs
`2 W (6 + 2)` FLOPs a parameter for a network of width `W`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc.metarl.lifetimes import lifetime_features
from ttc.types import Params

DECAYS = (0.5, 0.9, 0.99)  # of the means of gradients
SQUARE_DECAY = 0.99  # of their squares
_NUM_INPUTS = len(DECAYS) + 3


class LearnedState(NamedTuple):
  """What a training remembers.

  Attributes:
    steps: that are done.
    means: of gradients, leaves `[3, *shape]`, as `DECAYS`.
    squares: mean squares.
  """

  steps: Int[Array, '']
  means: Params
  squares: Params


def init_learned_optimizer(key: PRNGKeyArray, width: int = 16) -> Params:
  """Meta-parameters of Adam without a schedule.

  Args:
    key: consumed.
    width: `W` of both networks.
  """
  step_key, time_key = jax.random.split(key)
  normal = lambda key, n: jax.random.normal(key, (n, width), jnp.float32)
  zeros = lambda *shape: jnp.zeros(shape, jnp.float32)
  return {
    'hidden': 0.5 * normal(step_key, _NUM_INPUTS),
    'hidden_bias': zeros(width),
    'out': zeros(width, 2),
    'time_hidden': 0.5 * normal(time_key, 2),
    'time_bias': zeros(width),
    'time_out': zeros(width),
  }


def learned_optimizer(
  meta: Params,
  num_steps: int | Int[Array, ''],
  learning_rate: float | Float[Array, ''] = 1e-3,
) -> optax.GradientTransformation:
  """The optimiser of a training.

  Args:
    meta: from `init_learned_optimizer`, or from learning.
    num_steps: `N` of the training.
    learning_rate: alpha, that all steps are multiplied with.
  """

  def init(params):
    zeros = lambda x: jnp.zeros((len(DECAYS), *x.shape), x.dtype)
    return LearnedState(
      jnp.zeros((), jnp.int32),
      jax.tree.map(zeros, params),
      jax.tree.map(jnp.zeros_like, params),
    )

  def update(updates, state, params=None):
    del params
    time = lifetime_features(state.steps, jnp.asarray(num_steps))
    pace = jnp.tanh(time @ meta['time_hidden'] + meta['time_bias'])
    rate = learning_rate * jnp.exp(pace @ meta['time_out'])
    count = state.steps + 1
    decays = jnp.array(DECAYS, jnp.float32)

    def of_leaf(grad, mean, square):
      decay = decays.reshape(-1, *(1,) * grad.ndim)
      mean = decay * mean + (1 - decay) * grad
      square = SQUARE_DECAY * square + (1 - SQUARE_DECAY) * grad**2
      scale = jax.lax.rsqrt(square / (1 - SQUARE_DECAY**count) + 1e-16)
      seen = scale * mean / (1 - decay**count)
      inputs = jnp.stack(
        [
          jnp.tanh(scale * grad),
          *jnp.tanh(seen),
          *(jnp.broadcast_to(x, grad.shape) for x in time),
        ],
        axis=-1,
      )
      hidden = jnp.tanh(inputs @ meta['hidden'] + meta['hidden_bias'])
      direction, size = jnp.moveaxis(hidden @ meta['out'], -1, 0)
      step = -rate * (seen[1] + direction) * jnp.exp(size)
      return step.astype(grad.dtype), mean, square

    found = jax.tree.map(of_leaf, updates, state.means, state.squares)
    pick = lambda i: jax.tree.map(lambda _, x: x[i], updates, found)
    return pick(0), LearnedState(count, pick(1), pick(2))

  return optax.GradientTransformation(init, update)
