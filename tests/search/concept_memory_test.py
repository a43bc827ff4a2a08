"""Concept memory, against a twin that keeps a dictionary."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import search
from ttc.tasks import programs

CAPACITY, WIDTH, FEATURES, SIZE = 8, 4, 3, 5
add = jax.jit(search.add_concepts)
tokens_saved = jax.jit(search.tokens_saved)
parts_of = jax.jit(search.subprograms, static_argnums=(1, 2))
look_up = jax.jit(functools.partial(search.retrieve_concepts, num_concepts=3))
EMPTY = search.empty_memory(CAPACITY, WIDTH, FEATURES)


def row(*tokens, size=WIDTH):
  return list(tokens) + [0] * (size - len(tokens))


def rows_of(program):
  rows = parts_of(jnp.array(row(*program, size=6)), 2, WIDTH).tolist()
  return [r for r in rows if any(r)]


def remember(memory, concepts, key, step):
  rows = [row(*concept) for concept in concepts]
  rows += [row()] * (SIZE - len(rows))
  return add(memory, jnp.array(rows), jnp.asarray(key, jnp.float32), step)


def contents(memory):
  return {
    tuple(t for t in program.tolist() if t): (int(count), int(seen))
    for program, count, seen in zip(
      np.asarray(memory.programs), memory.counts, memory.last_seen, strict=True
    )
    if count
  }


@pytest.mark.parametrize(
  'program', [(), (1,), (1, 2, 3), (1, 2, 1, 2, 1), (5, 5, 5, 5, 5, 5)]
)
def test_the_parts_are_all_different_substrings(program):
  expected = {
    program[i : i + size]
    for size in (2, 3, 4)
    for i in range(len(program) - size + 1)
  }
  found = rows_of(program)
  assert len(found) == len(expected)
  assert {tuple(t for t in r if t) for r in found} == expected


def test_what_is_seen_again_is_merged_and_what_saves_least_goes():
  rng = np.random.default_rng(0)
  memory, places = EMPTY, []  # of [concept, last seen, keys]

  def saving(place):
    concept, _, keys = place
    text = lambda tokens: ''.join(map(str, tokens))
    within = [
      len(other[2])
      for other in places
      if len(other[0]) > len(concept) and text(concept) in text(other[0])
    ]
    alone = len(keys) - max(within, default=0)
    return max(alone - 1, 0) * (len(concept) - 1)

  for step in range(40):
    drawn = {tuple(rng.integers(1, 4, rng.integers(1, 5))) for _ in range(SIZE)}
    concepts = sorted(tuple(int(t) for t in concept) for concept in drawn)
    key = rng.normal(size=FEATURES).astype(np.float32)
    memory = remember(memory, concepts, key, step)
    for concept in concepts:
      known = [place for place in places if place[0] == concept]
      if known:
        known[0][1:] = step, [*known[0][2], key]
      elif len(places) < CAPACITY:
        places.append([concept, step, [key]])
      else:
        least = min(places, key=lambda place: (saving(place), place[1]))
        least[:] = concept, step, [key]
    twin = {concept: (len(keys), seen) for concept, seen, keys in places}
    assert contents(memory) == twin
  assert max(count for count, _ in twin.values()) > 2
  for key, (_, _, keys) in zip(memory.keys, places, strict=True):
    np.testing.assert_allclose(key, np.mean(keys, 0), atol=1e-5)


def test_retrieval_is_by_saving_and_by_likeness():
  memory = EMPTY
  for step in range(4):
    memory = remember(memory, [(1, 2, 3)], [1, 0, 0], step)  # saves 6
  for step in range(2):
    memory = remember(memory, [(4, 5)], [0, 1, 0], step)  # saves 1
  memory = remember(memory, [(6, 7, 8, 9)], [0, 1, 0], 9)  # seen once
  query = jnp.array([0.0, 1.0, 0.0])
  got = look_up(memory, query)
  assert got.programs.tolist() == [row(1, 2, 3), row(4, 5), row()]
  assert got.mask.tolist() == [True, True, False]
  # log 7 + 0 < log 2 + w for w > 1.25
  got = look_up(memory, query, similarity_weight=1.3)
  assert got.programs.tolist() == [row(4, 5), row(1, 2, 3), row()]
  got = look_up(memory, query, min_saving=0)
  assert got.mask.tolist() == [True, True, True]
  assert tokens_saved(memory)[:3].tolist() == [6, 1, 0]
  memory = remember(EMPTY, [(2, 3), (1, 2, 3)], [1, 0, 0], 0)
  assert tokens_saved(memory).tolist() == [0] * CAPACITY
  for step in range(3):
    memory = remember(memory, [(2, 3)], [1, 0, 0], step)
  assert tokens_saved(memory)[:2].tolist() == [4 - 1 - 1, 0]


def test_without_concepts_the_search_is_that_without_memory():
  got = look_up(EMPTY, jnp.ones(FEATURES))
  assert not got.mask.any()
  operations = [(i + 1,) for i in range(len(programs.OPERATIONS))]
  concepts = [tuple(c) for c in np.asarray(got.programs[got.mask])]
  np.testing.assert_array_equal(
    programs.enumerate_programs(2, 4, vocabulary=concepts + operations),
    programs.enumerate_programs(2, 4),
  )


def test_a_true_concept_shortens_the_search():
  """Of `A` operations and one concept of 3, six tokens take two items."""
  concept = (2, 12, 9)
  task = np.array(concept * 2)
  operations = [(i + 1,) for i in range(len(programs.OPERATIONS))]
  place = lambda tried: np.flatnonzero(np.all(tried == task, axis=1))
  with_it = programs.enumerate_programs(2, 6, vocabulary=[concept, *operations])
  assert place(with_it)[0] < 14 + 14**2 + 200
  without = programs.enumerate_programs(3, 6)
  assert place(without).size == 0 and len(without) > 1700
