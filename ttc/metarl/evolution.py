r"""Evolution strategies on objectives whose values are all that is known.

Salimans et al., 2017, 1703.03864, with antithetic pairs that share their task
and their random numbers (Jackson et al., 2024, 2402.05828):

.. math::
  g = \frac{1}{2 P \sigma} \sum_{i=1}^{P}
    (u(F(\mu + \sigma \epsilon_i)) - u(F(\mu - \sigma \epsilon_i))) \epsilon_i

A member is known by its number: its noise is drawn anew from `fold_in(key, i)`
where it is needed, so no population is ever stored, whatever its size, and
devices exchange fitness and one sum. A generation costs `2 P` evaluations.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from ttc.types import Params

# `(params, key) -> fitness`, higher is better; the key is consumed.
FitnessFn: TypeAlias = Callable[[Params, PRNGKeyArray], Float[Array, '']]
# Fitness of pairs, of `+` and of `-`, to utilities.
Shaping: TypeAlias = Callable[[Float[Array, 'P 2']], Float[Array, 'P 2']]


def centered_ranks(fitness: Float[Array, 'P 2']) -> Float[Array, 'P 2']:
  """Ranks in all of the population, in [-1/2, 1/2].

  Equal ones get their average rank, NaN counts as worst of all. Any increasing
  transform of the fitness gives the same.
  """
  flat = jnp.where(jnp.isnan(fitness), -jnp.inf, fitness).ravel()
  below = jnp.sum(flat[None] < flat[:, None], axis=1)
  equal = jnp.sum(flat[None] == flat[:, None], axis=1)
  rank = below + (equal - 1) / 2
  return (rank / (flat.size - 1) - 0.5).reshape(fitness.shape)


def z_scores(fitness: Float[Array, 'P 2']) -> Float[Array, 'P 2']:
  """Fitness less its mean, over its standard deviation; NaN is the least."""
  worst = jnp.nanmin(fitness)
  fitness = jnp.where(jnp.isnan(fitness), worst, fitness)
  return (fitness - jnp.mean(fitness)) / (jnp.std(fitness) + 1e-8)


def pair_wins(fitness: Float[Array, 'P 2']) -> Float[Array, 'P 2']:
  """1 for the better one of a pair, 0 for the other, 1/2 each if equal.

  Pairs are not compared with each other: their tasks differ, and so do the
  returns that these allow. NaN loses.
  """
  ours = jnp.where(jnp.isnan(fitness), -jnp.inf, fitness)
  theirs = ours[:, ::-1]
  return jnp.where(ours > theirs, 1.0, jnp.where(ours < theirs, 0.0, 0.5))


class EvolutionState(NamedTuple):
  """Everything that a run needs to go on."""

  params: Params  # the mean
  opt_state: optax.OptState
  generation: Int[Array, '']
  key: PRNGKeyArray


class Evolution(NamedTuple):
  """A pair of pure functions.

  Attributes:
    init: `(params, key) -> state`.
    update: `state -> (state, fitness [P, 2])`, a generation.
  """

  init: Callable[[Params, PRNGKeyArray], EvolutionState]
  update: Callable[[EvolutionState], tuple[EvolutionState, Float[Array, 'P 2']]]


def evolution(
  fitness_fn: FitnessFn,
  optimizer: optax.GradientTransformation,
  num_pairs: int,
  *,
  sigma: float = 0.1,
  shaping: Shaping = pair_wins,
  chunk_size: int | None = None,
  mesh: Mesh | None = None,
) -> Evolution:
  """An evolution strategy of antithetic pairs.

  Args:
    fitness_fn: of a member; both of a pair get the same key.
    optimizer: that descends; it is given minus the estimate. Defaults of
      2402.05828: Adam with 1e-2, times 0.999 a generation, 512 pairs.
    num_pairs: `P`.
    sigma: standard deviation of the noise.
    shaping: of fitness.
    chunk_size: pairs evaluated at a time; memory grows with it and not with
      `P`. None for all at once. Divides the pairs of a device.
    mesh: with an axis `data`, over which pairs are spread; None for one device.

  Returns:
    Init and update.

  Raises:
    ValueError: if pairs do not come out even.
  """
  size = even_chunk('num_pairs', num_pairs, chunk_size, mesh)

  def init(params, key):
    generation = jnp.zeros((), jnp.int32)
    return EvolutionState(params, optimizer.init(params), generation, key)

  evaluate = functools.partial(_evaluate, fitness_fn, sigma, size)
  scale = 1 / (2 * num_pairs * sigma)

  def estimate(params, key, pairs, utility):
    total = _weighted_noise(params, key, pairs, utility, size)
    return jax.tree.map(lambda x: scale * x, total)

  def ask_all(params, key, pairs):
    fitness = evaluate(params, key, pairs)
    return estimate(params, key, pairs, shaping(fitness)), fitness

  def ask_some(params, key, pairs):
    own = evaluate(params, key, pairs)
    fitness = jax.lax.all_gather(own, 'data', tiled=True)
    start = jax.lax.axis_index('data') * pairs.shape[0]
    utility = jax.lax.dynamic_slice_in_dim(
      shaping(fitness), start, pairs.shape[0]
    )
    gradient = estimate(params, key, pairs, utility)
    return jax.lax.psum(gradient, 'data'), fitness

  ask = ask_all
  if mesh is not None:
    ask = jax.shard_map(
      ask_some,
      mesh=mesh,
      in_specs=(P(), P(), P('data')),
      out_specs=(P(), P()),
      check_vma=False,
    )

  def update(state):
    key = generation_key(state)
    gradient, fitness = ask(state.params, key, jnp.arange(num_pairs))
    changes, opt_state = optimizer.update(
      jax.tree.map(jnp.negative, gradient), state.opt_state, state.params
    )
    params = optax.apply_updates(state.params, changes)
    state = EvolutionState(params, opt_state, state.generation + 1, state.key)
    return state, fitness

  return Evolution(init, update)


def even_chunk(
  name: str, total: int, chunk_size: int | None, mesh: Mesh | None
) -> int:
  """How many of a population are computed at a time on a device.

  Args:
    name: of the total, for the error.
    total: size of the population.
    chunk_size: that is asked for; None for all of a device.
    mesh: with an axis `data`; None for one device.

  Raises:
    ValueError: if they do not come out even.
  """
  num_devices = 1 if mesh is None else mesh.shape['data']
  size = chunk_size or max(total // num_devices, 1)
  if total < 1 or total % (num_devices * size):
    raise ValueError(
      f'{name}={total} is no multiple of {num_devices} devices times '
      f'chunk_size={size}'
    )
  return size


def _evaluate(fitness_fn, sigma, chunk_size, params, key, pairs):
  """Fitness of some pairs `[pairs, 2]`, both of a pair with one key."""

  def one(pair):
    noise, task_key = member(params, key, pair)
    both = jax.tree.map(
      lambda x, e: jnp.stack([x + sigma * e, x - sigma * e]), params, noise
    )
    return jax.vmap(fitness_fn, in_axes=(0, None))(both, task_key)

  return jax.lax.map(one, pairs, batch_size=chunk_size)


def _weighted_noise(params, key, pairs, utility, chunk_size):
  """The sum of the pairs' noise, drawn again, by what they differ in."""
  flat, unravel = ravel_pytree(params)

  def add(total, chunk):
    pairs, weight = chunk
    draw = lambda pair: ravel_pytree(member(params, key, pair)[0])[0]
    return total + weight @ jax.vmap(draw)(pairs), None

  weight = (utility[:, 0] - utility[:, 1]).reshape(-1, chunk_size)
  total, _ = jax.lax.scan(
    add, jnp.zeros_like(flat), (pairs.reshape(-1, chunk_size), weight)
  )
  return unravel(total)


def member(
  params: Params, key: PRNGKeyArray, pair: Int[Array, '']
) -> tuple[Params, PRNGKeyArray]:
  """Noise of a pair, standard normal like params, and the key of its task."""
  noise_key, task_key = _keys(key, pair)
  flat, unravel = ravel_pytree(params)
  return unravel(jax.random.normal(noise_key, flat.shape, flat.dtype)), task_key


def task_keys(state: EvolutionState, num_pairs: int) -> Key[Array, ' P']:
  """The keys that fitness gets in the generation that comes next."""
  key = generation_key(state)
  return jax.vmap(lambda pair: _keys(key, pair)[1])(jnp.arange(num_pairs))


def generation_key(state: EvolutionState) -> PRNGKeyArray:
  """Of everything in the generation that comes next."""
  return jax.random.fold_in(state.key, state.generation)


def _keys(key, pair):
  """Of a pair's noise and of its task."""
  noise_key, task_key = jax.random.split(jax.random.fold_in(key, pair))
  return noise_key, task_key
