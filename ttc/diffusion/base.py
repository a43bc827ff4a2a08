"""What every search over noise takes and returns.

A search is `(key, sampler, verifier, <static counts>, *, <numbers>) -> Found`.
It is pure: `vmap` it over keys for many seeds or prompts, `jit` it outside.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ttc.diffusion.samplers import Particles, Sampler

# Rewards of samples, higher is better.
Verifier: TypeAlias = Callable[[Particles], Float[Array, ' N']]


class Found(NamedTuple):
  """What a search found, and what it cost.

  Attributes:
    best: the sample of the highest reward; never one whose reward is NaN,
      unless all are.
    population: whole samples that were compared last, the best among them.
    rewards: of these.
    nfe: calls of the network, each for one particle.
    verifier_calls: each for one particle.
  """

  best: Float[Array, '*shape']
  population: Particles
  rewards: Float[Array, ' N']
  nfe: Int[Array, '']
  verifier_calls: Int[Array, '']


def settle(
  population: Particles,
  rewards: Float[Array, ' N'],
  nfe: int | Int[Array, ''],
  verifier_calls: int | Int[Array, ''],
) -> Found:
  """The result of a search that ends with a population."""
  place = jnp.arange(rewards.shape[0], dtype=jnp.int32)
  is_best = place == jnp.argmax(comparable(rewards))
  is_best = is_best.reshape(-1, *(1,) * (population.ndim - 1))
  return Found(
    # A sum, not an index: devices then send one sample, not all of them.
    jnp.sum(jnp.where(is_best, population, 0.0), axis=0),
    population,
    rewards,
    jnp.asarray(nfe, jnp.int32),
    jnp.asarray(verifier_calls, jnp.int32),
  )


def judge(verifier: Verifier, x: Particles) -> Float[Array, ' N']:
  """Rewards of samples.

  Raises:
    ValueError: if the verifier does not give one number for each.
  """
  rewards = jnp.asarray(verifier(x))
  if rewards.shape != x.shape[:1]:
    raise ValueError(
      f'the verifier returned shape {rewards.shape} for {x.shape[0]} samples, '
      f'expected ({x.shape[0]},)'
    )
  return rewards.astype(jnp.float32)


def comparable(rewards: Float[Array, '*A']) -> Float[Array, '*A']:
  """Rewards of which NaN is the least."""
  return jnp.where(jnp.isnan(rewards), -jnp.inf, rewards)


def refuse_nan(found: Found) -> None:
  """Raises ValueError if a reward of what was found is NaN; outside `jit`."""
  if wrong := int(jnp.isnan(found.rewards).sum()):
    raise ValueError(
      f'{wrong} of {found.rewards.size} rewards are NaN; the verifier must '
      'return numbers'
    )


def at_least(**counts: tuple[int, int]) -> None:
  """Raises ValueError naming the first `count=(value, least)` below its least.

  Counts are static: a traced one is refused by whatever takes it as a shape.
  """
  for name, (value, least) in counts.items():
    if value < least:
      raise ValueError(f'{name}={value} must be at least {least}')


def spread_particles(sampler: Sampler, mesh: jax.sharding.Mesh) -> Sampler:
  """The same sampler, its network running on all devices of a mesh.

  Each device draws and predicts its part of the particles. Of best-of-N only
  rewards and the best sample are sent around; resampling and evolution also
  gather the particles that they choose from. The mesh has `Auto` axes.

  Args:
    sampler: any.
    mesh: whose first axis the particles are spread over.

  Returns:
    A sampler that refuses, with a ValueError, a number of particles that the
    devices do not divide.
  """
  axis = mesh.axis_names[0]
  spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(axis))
  size = mesh.shape[axis]

  def predict(x, place):
    if x.shape[0] % size:
      raise ValueError(
        f'{x.shape[0]} particles do not divide among {size} devices'
      )
    x = jax.lax.with_sharding_constraint(x, spread)
    x0 = sampler.predict(x, place)
    return jax.lax.with_sharding_constraint(x0, spread)

  return sampler._replace(predict=predict)
