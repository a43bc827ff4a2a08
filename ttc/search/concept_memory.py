r"""Concept memory: parts of solved tasks become words for the next ones.

ArcMemo (Ho et al., 2509.04439) keeps what was learned from a task in abstract
entries, retrieves those that fit a new task, solves it with them and writes
back. There a language model abstracts; here a concept is a part of a verified
program that recurs in solutions of different tasks, and its worth is what it
saves, as in library learning: a concept of `m` tokens that was seen in `c`
tasks, in `s` of them within a longer concept, writes them with

.. math:: (c - s - 1) (m - 1)

tokens less. Retrieved concepts are items of a search beside the operations, so
that a program of `d` tokens takes `d / m` items. Each makes the search wider:
`(A + k)^n` chains of `n` items for `A` operations and `k` concepts.

The memory is a record of arrays of fixed capacity, changed by pure functions;
it costs no generated tokens, `C F` multiplications for a look-up. The instance
memory of the paper's comparison is the same record of whole solutions.

Axes: `C` places, `W` tokens of a concept, `F` features of a task.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Num


class ConceptMemory(NamedTuple):
  """What has been learned so far."""

  programs: Int[Array, 'C W']  # tokens, 0 behind their end
  keys: Float[Array, 'C F']  # mean features of the tasks it was seen in
  counts: Int[Array, ' C']  # of these tasks; 0 for a free place
  last_seen: Int[Array, ' C']  # the index of the latest of them


class Retrieved(NamedTuple):
  """The `R` concepts that fit a task best, best first."""

  programs: Int[Array, 'R W']
  mask: Bool[Array, ' R']  # False where the memory has no more


def empty_memory(capacity: int, width: int, num_features: int) -> ConceptMemory:
  """A memory of nothing; a search with it is the search without memory."""
  return ConceptMemory(
    programs=jnp.zeros((capacity, width), jnp.int32),
    keys=jnp.zeros((capacity, num_features)),
    counts=jnp.zeros((capacity,), jnp.int32),
    last_seen=jnp.full((capacity,), -1, jnp.int32),
  )


def subprograms(
  program: Int[Array, ' D'], min_length: int, width: int
) -> Int[Array, 'M W']:
  """All different parts of a program: the candidates for concepts.

  Args:
    program: tokens, 0 behind their end.
    min_length: tokens of the shortest part; static.
    width: `W`, tokens of the longest; static.

  Returns:
    Rows of tokens; of equal parts all but one are zero, as are those that do
    not fit.
  """
  length = jnp.sum(program > 0)
  padded = jnp.pad(program, (0, width))
  starts = jnp.arange(program.size)
  place = jnp.arange(width)
  rows = []
  for size in range(min_length, width + 1):
    parts = padded[starts[:, None] + place]
    inside = (place < size) & (starts[:, None] + size <= length)
    rows.append(jnp.where(inside, parts, 0))
  rows = jnp.concatenate(rows)
  equal = jnp.all(rows[:, None] == rows, axis=-1)
  is_first = ~jnp.any(jnp.tril(equal, -1), axis=1)
  return jnp.where(is_first[:, None], rows, 0)


def tokens_saved(memory: ConceptMemory) -> Int[Array, ' C']:
  """What each concept would have saved, `(c - s - 1) (m - 1)`, at least 0.

  `s` is the greatest count of a concept of which it is a part.
  """
  programs, width = memory.programs, memory.programs.shape[1]
  lengths = jnp.sum(programs > 0, axis=1)
  shifted = jnp.pad(programs, ((0, 0), (0, width)))
  is_part = jnp.zeros((programs.shape[0],) * 2, bool)
  for start in range(width):
    there = shifted[None, :, start : start + width] == programs[:, None]
    is_part |= jnp.all(there | (programs[:, None] == 0), axis=-1)
  is_part &= lengths[:, None] < lengths
  within = jnp.max(jnp.where(is_part, memory.counts, 0), axis=1)
  alone = jnp.maximum(memory.counts - within - 1, 0)
  return alone * jnp.maximum(lengths - 1, 0)


def add_concepts(
  memory: ConceptMemory,
  programs: Int[Array, 'M W'],
  key: Float[Array, ' F'],
  step: Int[Array, ''] | int,
) -> ConceptMemory:
  """Writes the concepts of one solved task.

  A known one is merged: its count rises and its key becomes the mean. A new one
  takes a free place, or that of the concept which saves least, the one not seen
  for longest among equals.

  Args:
    memory: the memory before.
    programs: different rows; those of zeros are skipped.
    key: features of the task.
    step: index of the task.

  Returns:
    The memory after.
  """

  def add(memory, program):
    used = memory.counts > 0
    same = used & jnp.all(memory.programs == program, axis=1)
    worth = jnp.where(used, tokens_saved(memory), -1)
    least = jnp.lexsort([memory.last_seen, worth])[0]
    known = jnp.any(same)
    place = jnp.where(known, jnp.argmax(same), least)
    count = jnp.where(known, memory.counts[place], 0) + 1
    old = jnp.where(known, memory.keys[place], 0.0)
    added = ConceptMemory(
      memory.programs.at[place].set(program),
      memory.keys.at[place].set(old + (key - old) / count),
      memory.counts.at[place].set(count),
      memory.last_seen.at[place].set(step),
    )
    keep = jnp.any(program > 0)
    return jax.tree.map(lambda a, b: jnp.where(keep, a, b), added, memory), None

  return jax.lax.scan(add, memory, programs)[0]


def retrieve_concepts(
  memory: ConceptMemory,
  query: Float[Array, ' F'],
  num_concepts: int,
  *,
  min_saving: Num[ArrayLike, ''] = 1,
  similarity_weight: Num[ArrayLike, ''] = 1.0,
) -> Retrieved:
  """The concepts with the greatest `log(1 + saving) + w cos(key, query)`.

  Args:
    memory: the memory.
    query: features of the new task.
    num_concepts: `R`, at most the capacity; static.
    min_saving: tokens that a concept must have saved; 0 to get any, such as
      instances.
    similarity_weight: `w`.

  Returns:
    The concepts, of equal ones the one seen last first.
  """
  norms = jnp.linalg.norm(memory.keys, axis=1) * jnp.linalg.norm(query)
  cosine = memory.keys @ query / jnp.maximum(norms, 1e-6)
  saved = tokens_saved(memory)
  score = jnp.log1p(saved) + similarity_weight * cosine
  eligible = (memory.counts > 0) & (saved >= min_saving)
  order = jnp.lexsort([-memory.last_seen, jnp.where(eligible, -score, jnp.inf)])
  chosen = order[:num_concepts]
  mask = eligible[chosen]
  return Retrieved(jnp.where(mask[:, None], memory.programs[chosen], 0), mask)
