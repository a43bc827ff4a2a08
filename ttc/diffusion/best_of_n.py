"""Best of N, at once or in rounds: the search that all others are held against.

Whole samples are drawn and the one of the highest reward is kept (random search
of Ma et al., 2501.09732; linear search of Video-T1, 2503.18942). Costs `N T`
calls of the network and `N` of the verifier.
"""

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

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


def best_of_n(
  key: PRNGKeyArray, sampler: Sampler, verifier: Verifier, num_samples: int
) -> Found:
  """Draws samples side by side and keeps the best.

  Args:
    key: random key, consumed.
    sampler: that draws.
    verifier: of whole samples.
    num_samples: `N`; static.

  Returns:
    What was found; the population is all samples.

  Example:
    >>> to_zero = lambda x, level: jnp.zeros_like(x)  # a denoiser
    >>> sampler = diffusion.ddim(to_zero, diffusion.cosine(3), shape=(2,))
    >>> found = diffusion.best_of_n(
    ...   jax.random.key(0), sampler, lambda x: -jnp.sum(x**2, axis=1), 4)
    >>> found.best.tolist(), int(found.nfe), int(found.verifier_calls)
    ([0.0, 0.0], 12, 4)
  """
  return random_search(key, sampler, verifier, num_samples, 1)


def random_search(
  key: PRNGKeyArray,
  sampler: Sampler,
  verifier: Verifier,
  num_samples: int,
  num_rounds: int,
) -> Found:
  """Best of `N K` in rounds of `N`, in the memory of one round.

  Args:
    key: random key, consumed.
    sampler: that draws.
    verifier: of whole samples.
    num_samples: `N` of a round; static.
    num_rounds: `K`; static.

  Returns:
    What was found, the same sample as by `best_of_n` with `N K`; the
    population is the best `N`.
  """
  at_least(num_samples=(num_samples, 1), num_rounds=(num_rounds, 1))

  def draw_round(number):
    keys = samplers.particle_keys(key, num_samples, number * num_samples)
    x = samplers.draw(sampler, keys)
    return x, judge(verifier, x)

  def better(kept, number):
    drawn = draw_round(number)
    both = [jnp.concatenate(pair) for pair in zip(kept, drawn, strict=True)]
    _, top = jax.lax.top_k(comparable(both[1]), num_samples)
    return (both[0][top], both[1][top]), None

  rounds = jnp.arange(1, num_rounds, dtype=jnp.int32)
  (x, rewards), _ = jax.lax.scan(better, draw_round(jnp.int32(0)), rounds)
  count = num_samples * num_rounds
  return settle(x, rewards, count * sampler.num_steps, count)
