"""List programs, against a twin that plays with Python's lists."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc.tasks import programs

TWINS = {
  'reverse': lambda x: x[::-1],
  'sort': sorted,
  'rotate': lambda x: x[1:] + x[:1],
  'dedupe': lambda x: [k for k, _ in itertools.groupby(x)],
  'tail': lambda x: x[1:],
  'init': lambda x: x[:-1],
  'evens': lambda x: [d for d in x if d % 2 == 0],
  'small': lambda x: [d for d in x if d < 5],
  'increment': lambda x: [(d + 1) % 10 for d in x],
  'double': lambda x: [2 * d % 10 for d in x],
  'negate': lambda x: [-d % 10 for d in x],
  'running_sum': lambda x: [s % 10 for s in itertools.accumulate(x)],
  'sum': lambda x: sum(x) % 10,
  'max': lambda x: max(x, default=0),
  'length': len,
  'first': lambda x: x[0] if x else 0,
  'upto': lambda n: list(range(n)),
  'fill': lambda n: [n] * n,
  'successor': lambda n: (n + 1) % 10,
  'twice': lambda n: 2 * n % 10,
}
INPUTS = jax.device_get(programs.random_lists(jax.random.key(0), 12, 0, 7))
EVERY = programs.enumerate_programs(3, 3, gives='number')
EVERY = np.concatenate([EVERY, programs.enumerate_programs(3, 3)])


def run_each(tokens, inputs):
  return jax.device_get(jax.jit(programs.run_each)(tokens, inputs))


def to_python(value):
  digits = value.digits[: max(int(value.length), 0)].tolist()
  return digits[0] if value.is_number else digits


def at(values, *index):
  return jax.tree.map(lambda x: x[index], values)


def twin(program, x):
  for token in program:
    if token:
      x = TWINS[programs.OPERATIONS[token - 1].name](x)
  return x


def test_programs_do_what_pythons_lists_do():
  outputs = run_each(EVERY, INPUTS)
  for p in range(0, len(EVERY), 7):
    for e in range(12):
      expected = twin(EVERY[p], to_python(at(INPUTS, e)))
      assert to_python(at(outputs, p, e)) == expected, programs.to_text(
        EVERY[p]
      )
  behind = np.arange(programs.MAX_LENGTH) >= outputs.length[..., None]
  assert not np.any(np.where(behind, outputs.digits, 0))


def test_enumeration_is_all_well_typed_programs_once():
  tokens = range(1, len(programs.OPERATIONS) + 1)
  expected = [
    p + (0,) * (3 - size)
    for gives in ('number', 'list')
    for size in (1, 2, 3)
    for p in itertools.product(tokens, repeat=size)
    if programs.signature(p) == ('list', gives)
  ]
  assert [tuple(p) for p in EVERY] == expected


def test_ill_typed_programs_give_what_equals_nothing():
  bad = jnp.zeros((len(EVERY), 3), jnp.int32)
  rows = ['sum sort reverse', 'upto', 'sum sum', 'sum upto']
  rows = jnp.stack([programs.from_text(row, 3) for row in rows])
  outputs = run_each(bad.at[:4].set(rows), INPUTS)
  same = np.asarray(programs.same(outputs, outputs))
  assert not same[:3].any()
  assert same[3:].all()
  assert np.all(np.asarray(outputs.length)[:3] == programs.UNDEFINED)


def test_a_macro_of_the_vocabulary_counts_as_one_item():
  """With the macros known, a program of depth d takes d / m items."""
  macros = [(1, 13, 17), (2, 4, 12)]
  two = programs.enumerate_programs(2, 6, vocabulary=macros)
  assert two.tolist() == [
    [1, 13, 17, 0, 0, 0],
    [2, 4, 12, 0, 0, 0],
    [1, 13, 17, 1, 13, 17],
    [1, 13, 17, 2, 4, 12],
    [2, 4, 12, 1, 13, 17],
    [2, 4, 12, 2, 4, 12],
  ]
  cut = programs.enumerate_programs(2, 6, vocabulary=macros, limit=3)
  np.testing.assert_array_equal(cut, two[:3])
  with pytest.raises(ValueError, match=r'\(13, 1\)'):
    programs.enumerate_programs(2, 6, vocabulary=[(13, 1)])


def test_distinct_programs_differ_on_the_probes():
  distinct = programs.distinct_programs(EVERY, INPUTS)
  texts = {programs.to_text(p) for p in distinct}
  assert {'sort', 'sum upto'} <= texts
  for gone in ('reverse reverse', 'sort sort', 'reverse sort'):
    assert gone not in texts
  padded = np.zeros_like(EVERY)
  padded[: len(distinct)] = distinct
  outputs = run_each(padded, INPUTS)
  rows = np.concatenate([outputs.digits, outputs.length[..., None]], -1)
  rows = rows[: len(distinct)].reshape(len(distinct), -1)
  assert len(np.unique(rows, axis=0)) == len(distinct)


def test_a_mutation_is_one_operation_of_the_same_type():
  program = jnp.asarray(programs.from_text('sort sum twice upto', 6))
  keys = jax.random.split(jax.random.key(1), 400)
  mutants = np.asarray(
    jax.jit(jax.vmap(programs.mutate, (0, None)))(keys, program)
  )
  differs = mutants != np.asarray(program)
  np.testing.assert_array_equal(differs.sum(axis=1), 1)
  # Each of the 4 places 100 times, s.e. 8.7.
  np.testing.assert_allclose(differs.sum(axis=0)[:4], 100, atol=30)
  assert all(programs.signature(p) == ('list', 'list') for p in mutants)
  assert len(set(mutants[differs[:, 0], 0])) == 11


def test_text_and_its_errors():
  text = 'sort running_sum max'
  assert programs.to_text(programs.from_text(text, 5)) == text
  with pytest.raises(ValueError, match="no operation 'sorted'; there are"):
    programs.from_text('sorted', 3)
  with pytest.raises(ValueError, match='4 operations do not fit depth 3'):
    programs.from_text('sort sort sort sort', 3)
