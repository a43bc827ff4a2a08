r"""When `K` chains of `R` turns are done, with and without a barrier.

Synchronously all chains wait for the slowest at the end of each turn, as they
must if a turn is judged by its rank in the batch. Asynchronously none waits, as
with a stored threshold (ATTS, 2509.15148). With durations `d`,

.. math::
    \sum_r \max_k d_{kr} \;\ge\; \max_k \sum_r d_{kr}

The barrier costs up to a factor `min(K, R)`. How it grows with `K` is a matter
of the tail: to `R` for durations with a geometric tail, but back to 1 for
durations with a largest value, as every turn with a token limit has.

Chains run beside each other at no cost. Where they queue for fewer servers the
order can fail: drafts of 3 and 4 in one chain, of 2 and 1 in another, and one
server that works 2 after each first draft, take 9 with the barrier (the first
chain served first) and 10 without it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num


class Makespans(NamedTuple):
  """Time until all chains are done, in units of the durations."""

  synchronous: Float[Array, '']
  asynchronous: Float[Array, '']


def makespans(durations: Num[Array, 'K R']) -> Makespans:
  """The makespans of `K` chains with `R` turns.

  Args:
    durations: of each turn of each chain, not negative; 0 for a turn that a
      chain does not have. See `barrier_segments` for a barrier within turns.

  Returns:
    Both makespans; they are equal for one chain or one turn.
  """
  durations = durations.astype(jnp.float32)
  return Makespans(
    jnp.sum(jnp.max(durations, axis=0)), jnp.max(jnp.sum(durations, axis=1))
  )


def barrier_segments(
  draft: Num[Array, 'K R'], target: Num[Array, 'K R']
) -> Num[Array, 'K S']:
  """Durations between barriers that lie between the two stages of a turn.

  All drafts of a turn have to be there before one is judged; then the target
  goes on with some chains, and the others may draft at once.

  Args:
    draft: time of each chain's draft, in each turn.
    target: time of the target after it, 0 where the draft was accepted.

  Returns:
    `S = R + 1` durations: the first draft, each target stage with the draft
    that follows it, and the last target stage.
  """
  pad = lambda x, before, after: jnp.pad(x, ((0, 0), (before, after)))
  return pad(draft, 0, 1) + pad(target, 1, 0)


def expected_makespans(
  pmf: Float[Array, ' D'], num_chains: Num[Array, ''] | int, num_turns: int
) -> Makespans:
  r"""Exact means for independent durations with one law.

  With `F` the distribution function of a turn and `F_R` that of `R` of them,

  .. math::
      E[\text{sync}] = R \sum_{t \ge 0} (1 - F(t)^K), \qquad
      E[\text{async}] = \sum_{t \ge 0} (1 - F_R(t)^K)

  Costs `R^2 D^2` operations for the convolutions.

  Args:
    pmf: entry `t` is the probability that a turn takes `t`; sums to 1.
    num_chains: `K`; may be traced.
    num_turns: `R`; static.

  Returns:
    Both means.
  """

  def mean_of_largest(pmf):
    below = jnp.clip(jnp.cumsum(pmf), 0.0, 1.0)
    return jnp.sum(1.0 - below**num_chains)

  whole = pmf
  for _ in range(num_turns - 1):
    whole = jnp.convolve(whole, pmf, precision=jax.lax.Precision.HIGHEST)
  return Makespans(num_turns * mean_of_largest(pmf), mean_of_largest(whole))
