r"""Zero-order search: climbs the reward in the space of first noises.

Ma et al., 2501.09732. Around a pivot :math:`n` neighbours are drawn, all are
denoised by a sampler that is deterministic in its first noise, and the best is
the next pivot; the pivot stays if none is better. Neighbours are
:math:`\sqrt{1 - \lambda^2}\, n + \lambda z`, which keeps the law of the noise.
Costs `(1 + K (N - 1)) T` calls, for `K` rounds with `N` candidates each, of
which one is the pivot.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ttc.diffusion import samplers
from ttc.diffusion.base import (
  Found,
  Verifier,
  at_least,
  comparable,
  judge,
  settle,
)
from ttc.diffusion.samplers import Sampler


def zero_order_search(
  key: PRNGKeyArray,
  sampler: Sampler,
  verifier: Verifier,
  num_candidates: int,
  num_rounds: int,
  *,
  radius: float | Float[Array, ''] = 0.3,
) -> Found:
  """Moves a noise uphill.

  Args:
    key: random key, consumed.
    sampler: deterministic: `ddim` with `eta=0`, or `flow`. With any other the
      pivot still only gets better, but its neighbours are not like it.
    verifier: of whole samples.
    num_candidates: `N` of a round, the pivot among them; static.
    num_rounds: `K`; static.
    radius: lambda, in 0..1: 0 stays, 1 is best-of-N.

  Returns:
    What was found; the population is the last round, its pivot first.
  """
  at_least(num_candidates=(num_candidates, 2), num_rounds=(num_rounds, 1))

  def evaluate(keys, noise):
    x, _ = samplers.denoise(sampler, keys, noise, 0, sampler.num_steps)
    return x, judge(verifier, x)

  def climb(pivot, number):
    noise, x, reward = pivot
    first = 1 + number * (num_candidates - 1)
    keys = samplers.particle_keys(key, num_candidates - 1, first)
    around = preserve(noise, samplers.initial(sampler, keys), radius)
    new_x, new_rewards = evaluate(keys, around)
    noises = jnp.concatenate([noise[None], around])
    population = jnp.concatenate([x[None], new_x])
    rewards = jnp.concatenate([reward[None], new_rewards])
    best = jnp.argmax(comparable(rewards))
    pivot = (noises[best], population[best], rewards[best])
    return pivot, population, rewards

  def climb_on(carry, number):
    return climb(carry[0], number), None

  keys = samplers.particle_keys(key, 1)
  noise = samplers.initial(sampler, keys)
  x, reward = evaluate(keys, noise)
  first = climb((noise[0], x[0], reward[0]), jnp.int32(0))
  rounds = jnp.arange(1, num_rounds, dtype=jnp.int32)
  (_, population, rewards), _ = jax.lax.scan(climb_on, first, rounds)
  count = 1 + num_rounds * (num_candidates - 1)
  return settle(population, rewards, count * sampler.num_steps, count)


def preserve(
  x: Float[Array, '...'],
  noise: Float[Array, '...'],
  amount: float | Float[Array, ''],
) -> Float[Array, '...']:
  r""":math:`\sqrt{1 - \beta^2}\,x + \beta z`: standard normal if both are."""
  amount = jnp.asarray(amount, x.dtype)
  return jnp.sqrt(1 - jnp.square(amount)) * x + amount * noise
