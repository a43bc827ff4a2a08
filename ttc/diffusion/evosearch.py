r"""EvoSearch: an evolution of noises and of states on the way to a sample.

He et al., 2505.17618. A first generation is denoised to the end. Each later one
begins at a place :math:`s_g` of a schedule, from the states that all samples so
far had there: the `m` with the best rewards as they are, the rest winners of
tournaments, mutated. First noises mutate to :math:`\sqrt{1-\beta^2} x + \beta
z`, later states to :math:`x + s z` with the noise `s` of the sampler's step,
or, which keeps their law, by noising anew the state one step on. Costs
:math:`k_0 T + \sum_g k_g (T - s_g)` calls; what is kept of each sample is two
states for each place of the schedule.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

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
from ttc.diffusion.schedules import evosearch_points
from ttc.diffusion.zero_order import preserve


def evosearch(
  key: PRNGKeyArray,
  sampler: Sampler,
  verifier: Verifier,
  points: Sequence[int],
  populations: Sequence[int],
  num_elites: int = 5,
  *,
  mutation_rate: float | Float[Array, ''] = 0.2,
  tournament: int | Int[Array, ''] = 3,
  mutation: str = 'add',
) -> Found:
  """Evolves noises and states.

  Args:
    key: random key, consumed.
    sampler: for mutations on the way with noise in its steps.
    verifier: of whole samples.
    points: where generations begin, `(0, 20, 30, 40)` of 50 steps in the
      paper; static. The first generation is followed by one at each point.
    populations: sizes of the generations, one more than `points`; static. One
      size alone is best-of-N.
    num_elites: `m`; static.
    mutation_rate: beta of first noises, .2 in the paper.
    tournament: members that are drawn for each, without repetition; the more,
      the greedier (.9 of all in the paper's release). Traced.
    mutation: of states on the way: 'add' noise, as in the paper, or 'renoise'
      by the exact forward law; static.

  Returns:
    What was found; the population is all samples of all generations.

  Raises:
    ValueError: if the schedule is none, sizes do not go with it, or a later
      generation is smaller than its elites.
  """
  points, populations = _checked(
    sampler.num_steps, points, populations, num_elites
  )
  if isinstance(tournament, int):
    at_least(tournament=(tournament, 1))
  if mutation not in ('add', 'renoise'):
    raise ValueError(f'mutation={mutation!r} is neither add nor renoise')
  starts = (0, *points)[: len(populations)]
  kept = [{} for _ in starts]  # of each generation: place -> states
  samples, rewards, first, nfe = [], [], 0, 0
  for number, (start, size) in enumerate(zip(starts, populations, strict=True)):
    keys = samplers.particle_keys(key, size, first)
    if number == 0:
      x = samplers.initial(sampler, keys)
    else:
      parents = _parents(
        samplers.purpose(key, number),
        jnp.concatenate(rewards),
        size,
        num_elites,
        tournament,
      )
      pool = [
        jnp.concatenate([kept[g][start][i] for g in range(number)])[parents]
        for i in range(2)
      ]
      mutants = _mutate(sampler, keys, start, pool, mutation_rate, mutation)
      is_elite = jnp.arange(size) < num_elites
      is_elite = is_elite.reshape(-1, *(1,) * len(sampler.shape))
      x = jnp.where(is_elite, pool[0], mutants)
    later = [place for place in points if place >= start]
    x, kept[number] = _roll_out(sampler, keys, x, start, later)
    samples.append(x)
    rewards.append(judge(verifier, x))
    first, nfe = first + size, nfe + size * (sampler.num_steps - start)
  return settle(jnp.concatenate(samples), jnp.concatenate(rewards), nfe, first)


def evosearch_nfe(
  num_steps: int, points: Sequence[int], populations: Sequence[int]
) -> int:
  """Calls of the network, before any is made."""
  starts = (0, *points)[: len(populations)]
  return sum(
    size * (num_steps - s) for s, size in zip(starts, populations, strict=True)
  )


def _checked(num_steps, points, populations, num_elites):
  points, populations = tuple(points), tuple(populations)
  if points or len(populations) != 1:
    points = evosearch_points(num_steps, points)
  if not 1 <= len(populations) <= len(points) + 1:
    raise ValueError(
      f'populations={populations} must be 1 to {len(points) + 1} sizes for '
      f'points={points}'
    )
  at_least(num_elites=(num_elites, 0))
  for size in populations:
    at_least(population=(size, 1))
  for size in populations[1:]:
    if size < num_elites:
      raise ValueError(
        f'population {size} is smaller than its num_elites={num_elites}'
      )
  if len(populations) > 1 and populations[0] < num_elites:
    raise ValueError(
      f'population {populations[0]} is smaller than num_elites={num_elites}'
    )
  return points[: len(populations) - 1], populations


def _parents(key, rewards, size, num_elites, tournament):
  """The best, then winners of tournaments; places in the pool."""
  num = rewards.shape[0]
  by_rank = jnp.argsort(-comparable(rewards))  # the best first

  def winner(number):
    draw_key = jax.random.fold_in(key, number)
    draw = jax.random.uniform(draw_key, (num,), jnp.float32)
    taken = jnp.argsort(jnp.argsort(draw)) < tournament  # by rank
    return by_rank[jnp.argmax(taken)]

  winners = jax.vmap(winner)(jnp.arange(size - num_elites, dtype=jnp.int32))
  return jnp.concatenate([by_rank[:num_elites], winners])


def _mutate(sampler, keys, start, pool, rate, mutation):
  """Mutants of states at a place, from them and those one step on."""
  x, then = pool
  # Apart from the noise of the steps to come, which has the same keys.
  keys = samplers.purpose(keys, 0)
  if start == 0:
    return preserve(x, samplers.initial(sampler, keys), rate)
  if mutation == 'renoise':
    return samplers.renoise(sampler, keys, then, start + 1, start)
  _, std = sampler.transition(x, x, start)
  return x + std * samplers.initial(sampler, keys)


def _roll_out(sampler, keys, x, start, places):
  """Samples, and states at places and one step behind each."""
  marks = sorted({place + ahead for place in places for ahead in (0, 1)})
  slots = {place: slot for slot, place in enumerate(marks)}
  to = range(start, sampler.num_steps)
  slot = jnp.array([slots.get(place, len(marks)) for place in to], jnp.int32)
  kept = jnp.zeros((len(marks) + 1, *x.shape), x.dtype)  # the last is spare

  def body(carry, now):
    x, kept = carry
    place, slot = now
    kept = kept.at[slot].set(x)
    return (samplers.step(sampler, keys, x, place).x, kept), None

  (x, kept), _ = jax.lax.scan(body, (x, kept), (jnp.array(to, jnp.int32), slot))
  if sampler.num_steps in slots:
    kept = kept.at[slots[sampler.num_steps]].set(x)
  return x, {p: (kept[slots[p]], kept[slots[p + 1]]) for p in places}
