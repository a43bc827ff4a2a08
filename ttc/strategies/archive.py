r"""An archive of strategies, from any of which the next may be made.

Darwin Goedel Machine, 2505.22954. Every variant that was ever evaluated is
kept. A parent is drawn by its score and by how often it was one already,

.. math:: p_i \propto s_i h_i, \quad
    s_i = \frac{1}{1 + e^{-\lambda (\alpha_i - \alpha_0)}}, \quad
    h_i = \frac{1}{1 + n_i},

with score `alpha` and `n` children, so that a variant that scores lower can be
a stepping stone. A child is a mutated copy, and so is what mutates it: a genome
carries the rate of its own mutations. Here genomes are choices on axes, as in
`ttc.strategies.parameter_search`, and nothing writes or runs code.

The archive has a fixed size and the whole run is one `lax.scan`. Costs `1 + K
P` evaluations for `K` generations of `P` parents. Axes: `C` places of the
archive, `D` genes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

PARENT_RULES = ('archive', 'best', 'latest')
MIN_RATE, MAX_RATE = 0.02, 0.9  # of mutations of a gene


class Archive(NamedTuple):
  """All variants in the order of their evaluation, and then free places."""

  genomes: Int[Array, 'C D']
  rates: Float[Array, ' C']  # chance that a gene of a child changes
  scores: Float[Array, ' C']  # -inf where there is nothing yet
  children: Int[Array, ' C']


def parent_law(
  scores: Float[Array, ' C'],
  children: Int[Array, ' C'],
  *,
  sharpness: Num[ArrayLike, ''] = 10.0,
  midpoint: Num[ArrayLike, ''] = 0.5,
) -> Float[Array, ' C']:
  r"""Probability of each place to be a parent.

  Args:
    scores: `alpha`, in 0..1; -inf where there is nothing. Variants that score 1
      are not eligible.
    children: `n`.
    sharpness: `lambda`; 10 in the paper.
    midpoint: `alpha_0`; 0.5 in the paper.

  Returns:
    The law; 0 throughout if no variant is eligible.
  """
  eligible = (scores > -jnp.inf) & (scores < 1.0)
  finite = jnp.where(eligible, scores, 0.0)
  weights = jax.nn.sigmoid(sharpness * (finite - midpoint)) / (1 + children)
  weights = jnp.where(eligible, weights, 0.0)
  return weights / jnp.maximum(jnp.sum(weights), 1e-30)


def evolve(
  key: PRNGKeyArray,
  genome: Int[Array, ' D'],
  sizes: Int[Array, ' D'],
  score_fn: Callable[[Int[Array, ' D']], Float[Array, '']],
  num_generations: int = 80,
  num_parents: int = 2,
  *,
  parents: str = 'archive',
  rate: Num[ArrayLike, ''] = 0.1,
  rate_step: Num[ArrayLike, ''] = 0.5,
) -> Archive:
  """Makes variants of variants.

  Args:
    key: random key, consumed.
    genome: the first variant.
    sizes: how many choices each gene has.
    score_fn: the score of a genome, in 0..1. One of NaN is kept in the archive
      and has no children.
    num_generations: `K`; static. 80 in the released code.
    num_parents: `P`, drawn independently in each generation; static. 2 there.
    parents: `'archive'` is the paper's law; `'best'` always changes the best
      variant, the earliest of equals, and `'latest'` the last one made, which
      are its controls without an archive. Static.
    rate: chance that a gene of the first child changes, to a uniformly random
      other choice.
    rate_step: standard deviation of the logarithm of a child's rate around its
      parent's; 0 for a mutation operator that does not evolve.

  Returns:
    The archive, full, with all variants in order.

  Raises:
    ValueError: for a rule that does not exist.
  """
  if parents not in PARENT_RULES:
    raise ValueError(f'parents must be one of {PARENT_RULES}, got {parents!r}')
  capacity = 1 + num_generations * num_parents
  start = Archive(
    genomes=jnp.zeros((capacity, genome.size), jnp.int32).at[0].set(genome),
    rates=jnp.zeros(capacity).at[0].set(rate),
    scores=jnp.full(capacity, -jnp.inf).at[0].set(score_fn(genome)),
    children=jnp.zeros(capacity, jnp.int32),
  )

  def generation(archive, inputs):
    key, number = inputs
    parent_key, child_key = jax.random.split(key)
    count = 1 + number * num_parents
    chosen = _choose(parent_key, archive, count, num_parents, parents)
    mutate_each = jax.vmap(mutate, in_axes=(0, 0, 0, None, None))
    genomes, rates = mutate_each(
      jax.random.split(child_key, num_parents),
      archive.genomes[chosen],
      archive.rates[chosen],
      sizes,
      rate_step,
    )
    places = count + jnp.arange(num_parents)
    return Archive(
      genomes=archive.genomes.at[places].set(genomes),
      rates=archive.rates.at[places].set(rates),
      scores=archive.scores.at[places].set(jax.vmap(score_fn)(genomes)),
      children=archive.children.at[chosen].add(1),
    ), None

  keys = jax.random.split(key, num_generations)
  archive, _ = jax.lax.scan(
    generation, start, (keys, jnp.arange(num_generations))
  )
  return archive


def mutate(
  key: PRNGKeyArray,
  genome: Int[Array, ' D'],
  rate: Num[ArrayLike, ''],
  sizes: Int[Array, ' D'],
  rate_step: Num[ArrayLike, ''],
) -> tuple[Int[Array, ' D'], Float[Array, '']]:
  """A child of a genome, and the rate of its own children's mutations.

  The rate is changed first and the child made with the new one, so that a child
  that does well speaks for its rate. At least one gene changes. The key is
  consumed.
  """
  rate_key, where_key, what_key, one_key = jax.random.split(key, 4)
  factor = jnp.exp(rate_step * jax.random.normal(rate_key))
  rate = jnp.clip(rate * factor, MIN_RATE, MAX_RATE)
  changes = jax.random.bernoulli(where_key, rate, genome.shape)
  free = sizes > 1
  one = jax.random.categorical(one_key, jnp.where(free, 0.0, -jnp.inf))
  lone = jnp.arange(genome.size) == one
  changes = free & jnp.where(jnp.any(changes & free), changes, lone)
  shift = jax.random.randint(what_key, genome.shape, 1, jnp.maximum(sizes, 2))
  return jnp.where(changes, (genome + shift) % sizes, genome), rate


def _choose(key, archive, count, num_parents, rule):
  """Places of the parents, `[P]`; the same one may be drawn twice."""
  if rule == 'latest':
    return jnp.full(num_parents, count - 1)
  if rule == 'best':
    scores = jnp.where(jnp.isnan(archive.scores), -jnp.inf, archive.scores)
    return jnp.full(num_parents, jnp.argmax(scores))
  law = parent_law(archive.scores, archive.children)
  # Where all are perfect, any will do.
  filled = jnp.arange(law.size) < count
  law = jnp.where(jnp.any(law > 0), law, filled / count)
  return jax.random.choice(key, law.size, (num_parents,), p=law)
