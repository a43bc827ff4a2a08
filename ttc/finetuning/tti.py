r"""TTI: filtered cloning under a growing horizon (Shen et al., 2506.07976).

An agent acts in episodes of at most `h` steps; those that succeed are kept, and
the policy is trained to repeat what it did in a sample of them, iteration after
iteration. The horizon grows:

  additive         h_i = min(h_min + i, h_max)
  multiplicative   h_i = min(h_min i, h_max),   i = 1, 2, ...

Short horizons teach to finish, long ones to explore, go back and plan anew; a
long one from the start is slow and noisy. Episodes are rolled out to a static
`h_max` with `active = t < h`, so a horizon that grows compiles nothing anew.

Cost: `n h_i` steps of the environment an iteration, and three passes over the
sample.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray


def additive_horizon(
  iteration: Int[Array, '*A'] | int, least: int, most: int
) -> Int[Array, '*A']:
  """`min(least + i, most)` of the i-th iteration, which begin with 1."""
  return jnp.minimum(least + jnp.asarray(iteration, jnp.int32), most)


def multiplicative_horizon(
  iteration: Int[Array, '*A'] | int, least: int, most: int
) -> Int[Array, '*A']:
  """`min(least * i, most)` of the i-th iteration, which begin with 1."""
  return jnp.minimum(least * jnp.asarray(iteration, jnp.int32), most)


def keep_successes(
  rewards: Float[Array, ' n'],
  lengths: Int[Array, ' n'],
  tasks: Int[Array, ' n'],
  num_tasks: int,
  top_p: float = 1.0,
) -> Bool[Array, ' n']:
  """Episodes to learn from: rewarded ones, of a task the short ones.

  Args:
    rewards: of each episode.
    lengths: steps of each.
    tasks: which task each is of.
    num_tasks: static.
    top_p: keep those not longer than this quantile of the successful lengths
      of their task; 1 keeps all.

  Returns:
    Which to keep.
  """
  right = rewards > 0
  of_task = (tasks[None] == jnp.arange(num_tasks)[:, None]) & right
  count = jnp.sum(of_task, axis=1)
  last = jnp.ceil(top_p * count).astype(jnp.int32) - 1
  worst = jnp.iinfo(jnp.int32).max
  ordered = jnp.sort(jnp.where(of_task, lengths.astype(jnp.int32), worst), 1)
  limit = jnp.take_along_axis(ordered, jnp.maximum(last, 0)[:, None], 1)[:, 0]
  return right & (lengths <= limit[tasks])


class Buffer(NamedTuple):
  """What episodes are known by, oldest first; room that is not filled is last.

  Attributes:
    sites: which part of the world each is of: rare ones are drawn more often.
    is_filled: whether there is an episode.
  """

  sites: Int[Array, ' n']
  is_filled: Bool[Array, ' n']


def replay_probs(buffer: Buffer, num_sites: int) -> Float[Array, ' n']:
  """Half by recency, half by how rare the site is.

  The first half is proportional to the place in the buffer, the oldest 1, the
  second to the inverse number of episodes of the site (released code).

  Args:
    buffer: of episodes.
    num_sites: static.

  Returns:
    Probabilities; 0 where nothing is.
  """
  filled = buffer.is_filled
  age = jnp.where(filled, jnp.cumsum(filled), 0).astype(jnp.float32)
  sites = jnp.where(filled, buffer.sites, num_sites)
  counts = jnp.bincount(sites, length=num_sites + 1)
  rare = jnp.where(filled, 1.0 / jnp.maximum(counts[sites], 1), 0.0)
  share = lambda x: x / jnp.maximum(jnp.sum(x), 1e-12)
  return (0.5 * share(age) + 0.5 * share(rare)).astype(jnp.float32)


def draw_without_replacement(
  key: PRNGKeyArray, probs: Float[Array, ' n'], count: int
) -> tuple[Int[Array, ' count'], Bool[Array, ' count']]:
  """The largest of `log p` plus Gumbel noise: a draw one after the other.

  Args:
    key: random key, consumed.
    probs: of each; 0 is never drawn.
    count: how many; static.

  Returns:
    Indices, and which of them count: fewer where fewer have any chance.
  """
  noise = jax.random.gumbel(key, probs.shape, jnp.float32)
  score = jnp.where(probs > 0, jnp.log(probs) + noise, -jnp.inf)
  values, index = jax.lax.top_k(score, count)
  return index, jnp.isfinite(values)
