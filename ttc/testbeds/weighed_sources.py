"""Linear regression from several sources, of which some are good for a target.

The target is `y = theta x`; the data of a source is the same with another sign
and noise. A source with the sign +1 helps, one with -1 leads away. With a sign
+1 for all of them there is nothing to prefer.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PRNGKeyArray

from ttc import metarl

DIM, BATCH, INNER_STEPS = 5, 10, 5
NOISE, INNER_RATE, OUTER_RATE = 0.1, 0.05, 0.2


def squares(
  params: Float[Array, ' D'], batch: tuple[Array, Array]
) -> Float[Array, '']:
  """Half the mean squared error."""
  x, y = batch
  return 0.5 * jnp.mean((x @ params - y) ** 2)


def draw(
  key: PRNGKeyArray, theta: Float[Array, ' D']
) -> tuple[Float[Array, 'B D'], Float[Array, ' B']]:
  """A batch of a source."""
  x_key, noise_key = jax.random.split(key)
  x = jax.random.normal(x_key, (BATCH, DIM), jnp.float32)
  noise = jax.random.normal(noise_key, (BATCH,), jnp.float32)
  return x, x @ theta + NOISE * noise


def transfer(
  keys: Key[Array, ' R'],
  signs: Sequence[float],
  num_updates: int,
  policy_rate: float = 3e-3,
) -> dict[str, np.ndarray]:
  """Meta-RTL and Reptile on the same sources, several runs at once.

  Args:
    keys: of the runs, which have targets of their own.
    signs: of the sources.
    num_updates: of each.
    policy_rate: of Adam on the LSTM.

  Returns:
    `weights [R, U, M]` of the updates, and the target's expected excess losses
    at the end, `meta_rtl [R]` and `reptile [R]`.
  """

  @jax.jit
  @jax.vmap
  def run(key):
    theta_key, key = jax.random.split(key)
    theta = jax.random.normal(theta_key, (DIM,), jnp.float32)
    each = jnp.asarray(signs, jnp.float32)[:, None] * theta

    def sources(key):
      keys = jax.random.split(key, (len(signs), INNER_STEPS))
      steps = jax.vmap(draw, (0, None))
      return jax.vmap(steps)(keys, each)

    method = metarl.meta_rtl(
      squares,
      sources,
      lambda key: draw(key, theta),
      len(signs),
      inner_rate=INNER_RATE,
      outer_rate=OUTER_RATE,
      policy_optimizer=optax.adam(policy_rate),
    )
    plain = metarl.reptile(
      squares, sources, inner_rate=INNER_RATE, outer_rate=OUTER_RATE
    )
    zeros = jnp.zeros((DIM,), jnp.float32)
    end, told = jax.lax.scan(
      lambda state, _: method.update(state),
      method.init(zeros, key),
      length=num_updates,
    )
    beside, _ = jax.lax.scan(
      lambda state, _: (plain.update(state), None),
      plain.init(zeros, key),
      length=num_updates,
    )
    excess = lambda params: 0.5 * jnp.sum((params - theta) ** 2)
    return {
      'weights': told['weights'],
      'meta_rtl': excess(end.params),
      'reptile': excess(beside.params),
    }

  return jax.device_get(run(keys))
