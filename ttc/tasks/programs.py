"""A small typed language of list programs: what code is to large models.

A value is a number (one digit) or a list of up to nine digits; arithmetic is
modulo 10. A program is a chain of operations, each of which takes a value of
one type and gives one of another: `sort running_sum max`. As tokens it is
`[D]` integers, 0 for nothing, else the number of an operation; `run` maps any
such array to a value, an ill-typed one to `UNDEFINED`, so it can be mapped over
programs and inputs. All programs up to a depth can be enumerated, and whether
two of them do the same is decided by running them.

Axes: `D` tokens of a program, `L` digits of a list, `P` programs, `E` inputs.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

Type = Literal['list', 'number']
Tokens: TypeAlias = Sequence[int] | Int[np.ndarray, ' D']  # on the host

MAX_LENGTH = 9  # of a list; `upto` and `fill` of the digit 9 need it
UNDEFINED = -1  # the length of what an ill-typed program gives
_PLACES = np.arange(MAX_LENGTH)


class Value(NamedTuple):
  """A number or a list."""

  digits: Int[Array, '*B L']  # 0 at and beyond `length`
  length: Int[Array, '*B']  # 1 for a number
  is_number: Bool[Array, '*B']


class Operation(NamedTuple):
  """A word of the language: `(digits [L], length) -> (digits, length)`."""

  name: str
  takes: Type
  gives: Type
  apply: Callable[[Array, Array], tuple[Array, Array]]


def _place(digits, position, mask):
  """Moves each masked digit to its position."""
  at = (position[:, None] == _PLACES) & mask[:, None]
  return jnp.sum(jnp.where(at, digits[:, None], 0), axis=0)


def _keep(digits, mask):
  """The masked digits, closed up."""
  return _place(digits, jnp.cumsum(mask) - 1, mask), jnp.sum(mask)


def _each(fn):
  """An operation on every digit of a list."""

  def apply(digits, length):
    return jnp.where(_PLACES < length, fn(digits) % 10, 0), length

  return apply


def _filter(fn):
  """An operation that keeps the digits of which `fn` is true."""
  return lambda digits, n: _keep(digits, (_PLACES < n) & fn(digits))


def _number(fn):
  """An operation that gives one digit."""

  def apply(digits, length):
    return jnp.where(_PLACES == 0, fn(digits, length) % 10, 0), jnp.int32(1)

  return apply


def _sort(digits, length):
  earlier = _PLACES[:, None] > _PLACES
  before = (digits[:, None] > digits) | (digits[:, None] == digits) & earlier
  before &= _PLACES < length
  rank = jnp.sum(before, axis=1)
  return _place(digits, rank, _PLACES < length), length


def _reverse(digits, length):
  return _place(digits, length - 1 - _PLACES, _PLACES < length), length


def _rotate(digits, length):
  position = (_PLACES - 1) % jnp.maximum(length, 1)
  return _place(digits, position, _PLACES < length), length


def _dedupe(digits, length):
  is_new = jnp.append(True, digits[1:] != digits[:-1])
  return _keep(digits, (_PLACES < length) & is_new)


def _upto(digits, length):
  del length
  return jnp.where(_PLACES < digits[0], _PLACES, 0), digits[0]


def _fill(digits, length):
  del length
  return jnp.where(_PLACES < digits[0], digits[0], 0), digits[0]


OPERATIONS = (
  Operation('reverse', 'list', 'list', _reverse),
  Operation('sort', 'list', 'list', _sort),
  Operation('rotate', 'list', 'list', _rotate),
  Operation('dedupe', 'list', 'list', _dedupe),
  Operation(
    'tail', 'list', 'list', lambda x, n: _keep(x, (_PLACES < n) & (_PLACES > 0))
  ),
  Operation('init', 'list', 'list', lambda x, n: _keep(x, _PLACES < n - 1)),
  Operation('evens', 'list', 'list', _filter(lambda x: x % 2 == 0)),
  Operation('small', 'list', 'list', _filter(lambda x: x < 5)),
  Operation('increment', 'list', 'list', _each(lambda x: x + 1)),
  Operation('double', 'list', 'list', _each(lambda x: 2 * x)),
  Operation('negate', 'list', 'list', _each(lambda x: -x)),
  Operation('running_sum', 'list', 'list', _each(jnp.cumsum)),
  Operation('sum', 'list', 'number', _number(lambda x, n: jnp.sum(x))),
  Operation('max', 'list', 'number', _number(lambda x, n: jnp.max(x))),
  Operation('length', 'list', 'number', _number(lambda x, n: n)),
  Operation('first', 'list', 'number', _number(lambda x, n: x[0])),
  Operation('upto', 'number', 'list', _upto),
  Operation('fill', 'number', 'list', _fill),
  Operation('successor', 'number', 'number', _number(lambda x, n: x[0] + 1)),
  Operation('twice', 'number', 'number', _number(lambda x, n: 2 * x[0])),
)
_IDS = {op.name: i + 1 for i, op in enumerate(OPERATIONS)}


def _alternatives() -> tuple[np.ndarray, np.ndarray]:
  """For each token, the other operations of its type, and how many."""
  size = len(OPERATIONS) + 1
  table = np.tile(np.arange(size)[:, None], (1, size))
  counts = np.zeros(size, np.int32)
  for i, op in enumerate(OPERATIONS):
    others = [
      j + 1
      for j, other in enumerate(OPERATIONS)
      if j != i and (other.takes, other.gives) == (op.takes, op.gives)
    ]
    table[i + 1, : len(others)], counts[i + 1] = others, len(others)
  return table, counts


_ALTERNATIVES, _NUM_ALTERNATIVES = _alternatives()


def run(program: Int[Array, ' D'], value: Value) -> Value:
  """The value that a program gives for a value; all of one example."""

  def branch(op):
    def apply(value):
      digits, length = op.apply(value.digits, value.length)
      typed = value.is_number == (op.takes == 'number')
      length = jnp.where(typed & (value.length >= 0), length, UNDEFINED)
      digits = jnp.where(length >= 0, digits, 0).astype(jnp.int32)
      gives = jnp.bool_(op.gives == 'number')
      return Value(digits, length.astype(jnp.int32), gives)

    return apply

  branches = [lambda value: value, *map(branch, OPERATIONS)]

  def step(value, token):
    return jax.lax.switch(token, branches, value), None

  whole = lambda x: jnp.asarray(x, jnp.int32)
  value = value._replace(digits=whole(value.digits), length=whole(value.length))
  return jax.lax.scan(step, value, program)[0]


def run_each(programs: Int[Array, 'P D'], inputs: Value) -> Value:
  """The values of `P` programs on `E` inputs, leaves `[P, E, ...]`."""
  each_input = jax.vmap(run, in_axes=(None, 0))
  return jax.vmap(each_input, in_axes=(0, None))(programs, inputs)


def same(a: Value, b: Value) -> Bool[Array, '*B']:
  """Whether values are equal, in type too; what is undefined equals nothing."""
  equal = jnp.all(a.digits == b.digits, axis=-1) & (a.length == b.length)
  return equal & (a.is_number == b.is_number) & (a.length >= 0)


def random_lists(
  key: PRNGKeyArray, num: int, min_length: int = 1, max_length: int = 7
) -> Value:
  """`num` lists, their lengths and digits uniform; the key is consumed."""
  length_key, digit_key = jax.random.split(key)
  draw = functools.partial(jax.random.randint, dtype=jnp.int32)
  length = draw(length_key, (num,), min_length, max_length + 1)
  digits = draw(digit_key, (num, MAX_LENGTH), 0, 10)
  digits = jnp.where(_PLACES < length[:, None], digits, 0)
  return Value(digits, length, jnp.zeros((num,), bool))


def mutate(key: PRNGKeyArray, program: Int[Array, ' D']) -> Int[Array, ' D']:
  """Puts another operation of the same type in one place of the program.

  Args:
    key: random key, consumed.
    program: at least one operation.

  Returns:
    A program that differs in one token, which may do the same all the same.
  """
  place_key, choice_key = jax.random.split(key)
  weights = jnp.where(program > 0, 0.0, -jnp.inf)
  place = jax.random.categorical(place_key, weights)
  old = program[place]
  count = jnp.asarray(_NUM_ALTERNATIVES)[old]
  choice = jax.random.randint(choice_key, (), 0, count)
  return program.at[place].set(jnp.asarray(_ALTERNATIVES)[old, choice])


def signature(program: Tokens) -> tuple[Type, Type] | None:
  """What a program takes and gives; None if it is empty or ill-typed."""
  ops = [OPERATIONS[token - 1] for token in program if token > 0]
  chained = itertools.pairwise(ops)
  if not ops or any(a.gives != b.takes for a, b in chained):
    return None
  return ops[0].takes, ops[-1].gives


def enumerate_programs(
  max_items: int,
  depth: int,
  *,
  vocabulary: Sequence[Tokens] = tuple((token,) for token in _IDS.values()),
  takes: Type = 'list',
  gives: Type = 'list',
  limit: int | None = None,
) -> Int[np.ndarray, 'P D']:
  """All well-typed chains of items, shorter ones first, on the host.

  Args:
    max_items: most items of a chain.
    depth: `D`, room for the tokens; longer chains are left out.
    vocabulary: the items, each of them a program; the operations by default.
      Chains of equal length come in its lexicographic order.
    takes: type of the input.
    gives: type of the output.
    limit: return the first so many.

  Returns:
    Programs, 0 behind their end.

  Raises:
    ValueError: at an ill-typed item.
  """
  kinds = []
  for item in vocabulary:
    if (kind := signature(item)) is None:
      raise ValueError(f'the item {tuple(item)} of the vocabulary is ill-typed')
    kinds.append(kind)
  starts = np.array([kind[0] == 'number' for kind in kinds])
  ends = np.array([kind[1] == 'number' for kind in kinds])
  sizes = np.array([len(item) for item in vocabulary])
  tokens = np.zeros((len(vocabulary), depth + sizes.max()), np.int32)
  for row, item in zip(tokens, vocabulary, strict=True):
    row[: len(item)] = item

  found, num_found = [], 0
  chains = np.zeros((1, depth), np.int32)
  lengths, types = np.zeros(1, np.int32), np.array([takes == 'number'])
  for _ in range(max_items):
    fits = (types[:, None] == starts) & (lengths[:, None] + sizes <= depth)
    old, item = np.nonzero(fits)
    index = np.arange(depth) - lengths[old, None]
    behind = tokens[item[:, None], np.maximum(index, 0)]
    chains = np.where(index < 0, chains[old], behind)
    lengths, types = lengths[old] + sizes[item], ends[item]
    found.append(chains[types == (gives == 'number')])
    num_found += len(found[-1])
    if limit is not None and num_found >= limit:
      break
  return np.concatenate(found)[:limit]


def distinct_programs(
  programs: Int[np.ndarray, 'P D'], probes: Value
) -> Int[np.ndarray, 'Q D']:
  """The first program of each behaviour on the probes, in their order.

  The identity and what gives the same value for all probes are left out.
  """
  outputs = jax.device_get(jax.jit(run_each)(jnp.asarray(programs), probes))
  digits = np.asarray(probes.digits)
  behaviours = np.concatenate(
    [outputs.digits, outputs.length[..., None]], axis=-1
  )
  constant = np.all(behaviours == behaviours[:, :1], axis=(1, 2))
  identity = np.all(outputs.digits == digits, axis=(1, 2)) & np.all(
    outputs.length == np.asarray(probes.length), axis=1
  )
  rows = behaviours.reshape(len(programs), -1)
  first = np.sort(np.unique(rows, axis=0, return_index=True)[1])
  return programs[first[~(constant | identity)[first]]]


def to_text(program: Tokens) -> str:
  """The names of the operations, joined by blanks."""
  return ' '.join(OPERATIONS[token - 1].name for token in program if token > 0)


def from_text(text: str, depth: int) -> Int[np.ndarray, ' D']:
  """Inverts `to_text`, with padding; ValueError at a name that is not there."""
  names = text.split()
  if unknown := set(names) - set(_IDS):
    raise ValueError(
      f'no operation {unknown.pop()!r}; there are {", ".join(_IDS)}'
    )
  if len(names) > depth:
    raise ValueError(f'{len(names)} operations do not fit depth {depth}')
  program = np.zeros(depth, np.int32)
  program[: len(names)] = [_IDS[name] for name in names]
  return program
