"""Gaussian mixtures with a reward: searches at equal cost, all of it exact.

Two targets. Of `linear` ones the reward is unbounded along an axis: eight modes
in eight dimensions. Of `rare` ones it is near to 0 in one mode of 64, in 16
dimensions, and far below in all others. Each key has a mixture of its own. What
a search returns has an exact log density, which tells when a reward was reached
outside of the data.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc import diffusion
from ttc.diffusion import Found, Sampler, Verifier, mixtures
from ttc.diffusion.mixtures import Mixture

NUM_STEPS = 32
POINTS = (0, 8, 16, 24)  # of EvoSearch
# Samples that best-of-N draws; a budget is so many times `NUM_STEPS` calls.
BUDGETS = (15, 30, 59, 118, 236)


class Target(NamedTuple):
  """A mixture and what is wanted of it."""

  mixture: Mixture
  point: Float[Array, ' d']  # the axis, or the place where the reward is 0
  is_linear: bool

  def reward(self, x: Float[Array, 'N d']) -> Float[Array, ' N']:
    """Of samples."""
    if self.is_linear:
      return x @ self.point
    return -jnp.sum((x - self.point) ** 2, axis=-1) / 10

  def tilted(self, strength: float | Float[Array, '']) -> mixtures.Tilted:
    """The exact law that steering with such a strength draws from."""
    if self.is_linear:
      return mixtures.tilt_linear(self.mixture, self.point, strength)
    return mixtures.tilt_quadratic(self.mixture, self.point, strength / 5)


def linear_target(key: PRNGKeyArray) -> Target:
  """Eight modes in eight dimensions, and an axis; the key is consumed."""
  mixture = mixtures.draw_mixture(key, 8, 8)
  return Target(mixture, jnp.full(8, 8**-0.5, jnp.float32), True)


def rare_target(key: PRNGKeyArray) -> Target:
  """64 modes in 16 dimensions, one of them wanted; the key is consumed."""
  mixture = mixtures.draw_mixture(key, 64, 16)
  return Target(mixture, mixture.means[0], False)


def stochastic(mixture: Mixture, num_steps: int = NUM_STEPS) -> Sampler:
  """DDPM with the exact denoiser."""
  return _sampler(mixture, num_steps, 1.0)


def deterministic(mixture: Mixture, num_steps: int = NUM_STEPS) -> Sampler:
  """DDIM with the exact denoiser."""
  return _sampler(mixture, num_steps, 0.0)


def _sampler(mixture, num_steps, eta):
  return diffusion.ddim(
    functools.partial(mixtures.posterior_mean, mixture),
    diffusion.cosine(num_steps),
    mixture.means.shape[1:],
    eta=eta,
  )


# `(key, stochastic sampler, deterministic sampler, verifier) -> Found`.
Search = Callable[[PRNGKeyArray, Sampler, Sampler, Verifier], Found]


def searches(
  num_samples: int, num_steps: int = NUM_STEPS, strength: float = 10.0
) -> dict[str, Search]:
  """Searches that make at most `N T` calls, and nearly as many.

  Args:
    num_samples: `N` of best-of-N, at least 8.
    num_steps: `T`, a multiple of 4.
    strength: lambda of FK steering.

  Returns:
    By name, best-of-N first.
  """
  budget, last = num_samples * num_steps, num_steps - 1
  rounds = max(1, round(num_samples**0.5 / 2))
  candidates = (num_samples - 1) // rounds + 1
  quarter = num_steps // 4
  points = tuple(quarter * i for i in range(4))
  sizes = evosearch_sizes(num_samples, num_steps)
  elites = max(1, round(sizes[-1] * 5 / 14))
  every = diffusion.every(num_steps, 1, last, 2)
  # Two branches of each path; three rounds over the last three quarters that
  # go a sixteenth back, a quarter and a sixteenth on.
  back = max(1, num_steps // 16)
  paths = budget // (quarter + 3 * 2 * (quarter + back))
  return {
    'best of N': lambda key, sde, ode, r: diffusion.best_of_n(
      key, sde, r, num_samples
    ),
    'zero order': lambda key, sde, ode, r: diffusion.zero_order_search(
      key, ode, r, candidates, rounds
    ),
    'paths': lambda key, sde, ode, r: diffusion.search_over_paths(
      key, sde, r, paths, 2, start=quarter, back=back, forth=quarter + back
    ),
    'EvoSearch': lambda key, sde, ode, r: diffusion.evosearch(
      key, sde, r, points, sizes, elites
    ),
    'FK steering': lambda key, sde, ode, r: diffusion.fk_steering(
      key, sde, r, num_samples, every, strength=strength, threshold=0.5
    ),
    'SVDD': lambda key, sde, ode, r: diffusion.svdd(
      key, sde, r, 1, (budget - 1) // last
    ),
  }


def evosearch_sizes(num_samples: int, num_steps: int) -> tuple[int, ...]:
  """Generations of EvoSearch within `N T` calls, 24 14 14 14 14 of 59 x 32.

  The first is near .4 of `N`, the others are as large as the budget allows.
  """
  budget, quarter = num_samples * num_steps, num_steps // 4
  per_child = sum(num_steps - quarter * i for i in range(4))

  def unused(first):
    return (budget - first * num_steps) % per_child

  near = [round(0.407 * num_samples) + i for i in (0, 1, -1, 2, -2)]
  first = min((n for n in near if 2 <= n < num_samples), key=unused)
  child = max(1, (budget - first * num_steps) // per_child)
  return (first, child, child, child, child)


class Outcome(NamedTuple):
  """What a search reached."""

  reward: Float[Array, '']
  log_density: Float[Array, '']  # under the mixture: is it still data?
  diversity: Float[Array, '']  # mean distance of its population's pairs
  nfe: Int[Array, '']


def outcome(target: Target, found: Found) -> Outcome:
  """By the true reward, whatever the verifier was."""
  best = found.best[None]
  apart = jnp.linalg.norm(
    found.population[:, None] - found.population[None], axis=-1
  )
  pairs = max(1, found.population.shape[0] * (found.population.shape[0] - 1))
  return Outcome(
    target.reward(best)[0],
    mixtures.log_density(target.mixture, best)[0],
    jnp.sum(apart) / pairs,
    found.nfe,
  )


def compare(
  key: PRNGKeyArray,
  make_target: Callable[[PRNGKeyArray], Target],
  num_samples: int,
  num_seeds: int,
  names: tuple[str, ...] | None = None,
) -> dict[str, Outcome]:
  """Searches with a budget, side by side over seeds; leaves `[seeds]`.

  Args:
    key: random key, consumed.
    make_target: of each seed.
    num_samples: the budget, see `searches`.
    num_seeds: how many.
    names: of searches; None for all.
  """
  keys = jax.random.split(key, num_seeds)

  def one(name):
    run = functools.partial(run_search, make_target, name, num_samples)
    return jax.jit(jax.vmap(run))(keys)

  return {name: one(name) for name in names or searches(num_samples)}


def run_search(
  make_target: Callable[[PRNGKeyArray], Target],
  name: str,
  num_samples: int,
  key: PRNGKeyArray,
) -> Outcome:
  """One search on a target of its own; pure, and the key is consumed."""
  target_key, search_key = jax.random.split(key)
  target = make_target(target_key)
  search = searches(num_samples)[name]
  sde, ode = stochastic(target.mixture), deterministic(target.mixture)
  return outcome(target, search(search_key, sde, ode, target.reward))
