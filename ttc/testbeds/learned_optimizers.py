"""An optimiser that is learned on many small trainings, by evolution.

The trainings are regressions of small nets on random teachers, each with its
own scales of inputs and outputs, for a log-uniform number of steps; none of
them is a workload of `training_workloads`. Fitness is the logarithm of the mean
loss at the end, so no scale counts for more than another.
"""

import functools

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ttc import metarl
from ttc.testbeds.train import Directory, trained_params
from ttc.types import Params

_normal = functools.partial(jax.random.normal, dtype=jnp.float32)
RATE = 3e-3  # of the learned steps, before learning
_WIDTH, _NUM_INPUTS, _BATCH = 16, 8, 32


def learned(seed: int, num_generations: int, cache: Directory) -> Params:
  """Meta-parameters, learned once and kept.

  Args:
    seed: of the learning.
    num_generations: of evolution; 0 for Adam without a schedule.
    cache: directory.
  """
  return trained_params(
    f'learned_optimizer-{num_generations}',
    seed,
    cache,
    lambda: metarl.init_learned_optimizer(jax.random.key(0)),
    lambda: by_evolution(jax.random.key(seed), num_generations),
  )


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def by_evolution(
  key: PRNGKeyArray,
  num_generations: int,
  num_pairs: int = 32,
  longest: int = 200,
) -> Params:
  """Learns over whole trainings of 20 to `longest` steps."""
  meta_key, key = jax.random.split(key)
  decay = 0.05 ** (1 / max(num_generations, 1))
  es = metarl.evolution(
    lambda meta, key: -jnp.log(final_loss(meta, key, longest)),
    optax.adam(optax.exponential_decay(0.02, 1, decay)),
    num_pairs,
    sigma=0.05,
  )
  state = es.init(metarl.init_learned_optimizer(meta_key), key)
  step = lambda state, _: (es.update(state)[0], None)
  return jax.lax.scan(step, state, length=num_generations)[0].params


def final_loss(
  meta: Params, key: PRNGKeyArray, longest: int
) -> Float[Array, '']:
  """Mean loss over the last tenth of a training that the key draws."""
  keys = jax.random.split(key, 6)
  horizon = metarl.random_horizon(keys[0], 20, longest)
  scale_in, scale_out = jnp.exp(_normal(keys[1], (2,)))
  spectrum = jnp.arange(
    1, _NUM_INPUTS + 1, dtype=jnp.float32
  ) ** -jax.random.uniform(keys[2], (), jnp.float32)
  teacher = _init(keys[3])
  optimizer = metarl.learned_optimizer(meta, horizon, RATE)

  def loss(params, key):
    x = _normal(key, (_BATCH, _NUM_INPUTS)) * spectrum
    y = scale_out * _apply(teacher, 2.0 * x)
    return jnp.mean((_apply(params, scale_in * x) - y) ** 2) / scale_out**2

  def step(carry, n):
    params, state = carry
    value, grads = jax.value_and_grad(loss)(
      params, jax.random.fold_in(keys[5], n)
    )
    changes, state = optimizer.update(grads, state)
    alive = n < horizon
    stepped = optax.apply_updates(
      params, jax.tree.map(lambda x: jnp.where(alive, x, 0.0), changes)
    )
    last = alive & (n >= 0.9 * horizon - 1)
    return (stepped, state), jnp.where(last, value, jnp.nan)

  params = _init(keys[4])
  _, values = jax.lax.scan(
    step, (params, optimizer.init(params)), jnp.arange(longest)
  )
  return jnp.nanmean(values)


def _init(key):
  keys = jax.random.split(key)
  shapes = ((_NUM_INPUTS, _WIDTH), (_WIDTH, 1))
  return [
    _normal(k, shape) / shape[0] ** 0.5
    for k, shape in zip(keys, shapes, strict=True)
  ]


def _apply(params, x):
  return jnp.tanh(x @ params[0]) @ params[1]
