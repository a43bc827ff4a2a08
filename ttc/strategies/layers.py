r"""Archon's operators: pure functions from one pool of candidates to the next.

Saad-Falcon et al., "Archon: an architecture search framework for inference-time
techniques", 2409.15254. The pool has a fixed size: a candidate is a draft that
one of the models wrote for the problem, and a layer says of how many copies of
each draft the next pool consists. The operators see what drafts are told of by
in-process judges; none calls a hosted model.

- `generate`: the first drafts of each model.
- `critique`: an opinion of every candidate, which later layers read.
- `rank`: keeps the best candidates.
- `verify`: drops the candidates that a verifier rejects.
- `unit_test`: keeps the candidates that pass most of the tests it writes.
- `fuse`: each of several fusers reads all candidates and writes one.

Cost: every operator adds the tokens it writes, in units of a token of the
cheapest model; see `Operators`. Amounts are traced, so that one compiled
program serves all architectures. Functions take ONE problem; axes: `C` drafts,
`U` unit tests, `M` models.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ttc.search.base import tally

MAX_WIDTH = 8  # fusers of a layer


class Drafts(NamedTuple):
  """What the models wrote for a problem, and what may be found out about it."""

  answers: Int[Array, ' C']  # -1 where a draft gives none
  tokens: Int[Array, ' C']  # its price, in tokens of the cheapest model
  models: Int[Array, ' C']  # who wrote it
  places: Int[Array, ' C']  # 0 for the first draft of its model
  ranking: Float[Array, ' C']  # how the ranker likes it
  criticism: Float[Array, ' C']  # log-odds of being right, as the critic says
  beliefs: Float[Array, ' C']  # in 0..1, as the verifier says
  passed: Bool[Array, 'C U']  # the unit tests, right ones or not


class Operators(NamedTuple):
  """What a call of each operator writes, in tokens of the cheapest model."""

  critique: int  # per candidate
  rank: int  # in all: it writes an order
  verify: int  # per candidate
  write_test: int  # per test
  run_test: int  # per test and candidate
  fuse: int  # per fuser
  sharpness: float = 2.0  # of a fuser, see `fuse`


class Pool(NamedTuple):
  """The candidates between two layers, and what it cost to get there."""

  copies: Int[Array, ' C']  # how often each draft is a candidate
  opinions: Float[Array, ' C']  # log-weight of its vote; 0 if none was asked
  tokens: Int[Array, '']
  depth: Int[Array, '']  # tokens that were written one after another
  judged: Int[Array, '']  # candidates read by critics, verifiers and tests


def empty_pool(num_drafts: int) -> Pool:
  """Before the first layer."""
  zero = jnp.int32(0)
  return Pool(
    jnp.zeros(num_drafts, jnp.int32), jnp.zeros(num_drafts), zero, zero, zero
  )


def generate(pool: Pool, drafts: Drafts, num_samples: Num[Array, ' M']) -> Pool:
  """Adds the first `num_samples[m]` drafts of each model `m`.

  A draft without an answer is paid for, and is no candidate.
  """
  wanted = drafts.places < num_samples[drafts.models]
  paid = jnp.where(wanted, drafts.tokens, 0)
  return pool._replace(
    copies=pool.copies + (wanted & (drafts.answers >= 0)),
    tokens=pool.tokens + jnp.sum(paid),
    depth=pool.depth + jnp.max(paid),
  )


def critique(pool: Pool, drafts: Drafts, operators: Operators) -> Pool:
  """Adds the critic's log-odds to what is thought of every candidate.

  Where the critic says NaN a candidate weighs nothing.
  """
  said = jnp.where(jnp.isnan(drafts.criticism), -jnp.inf, drafts.criticism)
  opinions = pool.opinions + jnp.where(pool.copies > 0, said, 0.0)
  return _judged(pool._replace(opinions=opinions), operators.critique)


def rank(
  pool: Pool, drafts: Drafts, operators: Operators, keep: Num[Array, '']
) -> Pool:
  """Keeps the `keep` drafts that the ranker and the critics like best.

  One whose rank is NaN comes last.
  """
  liked = drafts.ranking + pool.opinions
  known = (pool.copies > 0) & ~jnp.isnan(liked)
  liked = jnp.where(known, liked, -jnp.inf)
  place = jnp.argsort(jnp.argsort(-liked, stable=True), stable=True)
  return pool._replace(
    copies=jnp.where(place < keep, pool.copies, 0),
    tokens=pool.tokens + operators.rank,
    depth=pool.depth + operators.rank,
  )


def verify(
  pool: Pool, drafts: Drafts, operators: Operators, threshold: Num[Array, '']
) -> Pool:
  """Drops what the verifier believes less than `threshold`.

  If it rejects all candidates, they stay.
  """
  kept = jnp.where(drafts.beliefs >= threshold, pool.copies, 0)
  copies = jnp.where(jnp.any(kept > 0), kept, pool.copies)
  return _judged(pool, operators.verify)._replace(copies=copies)


def unit_test(
  pool: Pool, drafts: Drafts, operators: Operators, num_tests: Num[Array, '']
) -> Pool:
  """Keeps the candidates that pass most of the first `num_tests` tests."""
  used = jnp.arange(drafts.passed.shape[1]) < num_tests
  passes = jnp.sum(drafts.passed & used, axis=1)
  passes = jnp.where(pool.copies > 0, passes, -1)
  copies = jnp.where(passes == jnp.max(passes), pool.copies, 0)
  written = (operators.write_test * num_tests).astype(jnp.int32)
  pool = _judged(pool, (operators.run_test * num_tests).astype(jnp.int32))
  return pool._replace(
    copies=copies, tokens=pool.tokens + written, depth=pool.depth + written
  )


def fuse(
  pool: Pool,
  drafts: Drafts,
  operators: Operators,
  width: Num[Array, ''],
  key: PRNGKeyArray,
) -> Pool:
  r"""Replaces the candidates by what `width` fusers make of them.

  A fuser gives the answer `a` with a probability that grows with its votes,

  .. math:: P(a) \propto \Big(\sum_{i: a_i = a} e^{o_i}\Big)^{\beta},

  where `o` are the critics' opinions and `beta` is the sharpness: 0 picks any
  answer, infinity the majority. It answers in the words of the first candidate
  with that answer. Opinions of what it read do not hold for what it writes.

  Args:
    pool: the candidates.
    drafts: of the problem.
    operators: what a fuser writes, and its sharpness.
    width: fusers; at most `MAX_WIDTH`.
    key: random key, consumed. A fuser's choice does not depend on how many
      others there are.

  Returns:
    The pool of fused candidates; empty if there was none.
  """
  here = pool.copies > 0
  weights = pool.copies * jnp.exp(pool.opinions)
  votes = tally(drafts.answers, weights, here)
  same = drafts.answers[:, None] == drafts.answers
  first = here & (jnp.argmax(same & here, axis=1) == jnp.arange(here.size))
  # Finite, so that an empty pool has a law too; its choices do not count.
  logits = jnp.where(
    first, operators.sharpness * jnp.log(jnp.maximum(votes, 1e-30)), -1e9
  )
  draw = lambda i: jax.random.categorical(jax.random.fold_in(key, i), logits)
  fusers = jnp.arange(MAX_WIDTH)
  chosen = jax.vmap(draw)(fusers)
  counted = (fusers < width) & jnp.any(here)
  copies = jnp.zeros_like(pool.copies).at[chosen].add(counted.astype(jnp.int32))
  written = (operators.fuse * width).astype(jnp.int32)
  return pool._replace(
    copies=copies,
    opinions=jnp.zeros_like(pool.opinions),
    tokens=pool.tokens + written,
    depth=pool.depth + operators.fuse,
  )


def _judged(pool: Pool, price: Int[Array, ''] | int) -> Pool:
  """The pool after each of its candidates was read for `price` tokens."""
  candidates = jnp.sum(pool.copies > 0)
  return pool._replace(
    tokens=pool.tokens + price * candidates,
    depth=pool.depth + price,
    judged=pool.judged + candidates,
  )
