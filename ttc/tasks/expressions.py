"""Arithmetic expressions as graphs, modulo a small prime.

An expression is a list of definitions, `a = 2 + 3 b = a * 4`, and the question
what one of them comes to. What a definition needs may be defined by another, by
several of them, in any order without a circle: a directed acyclic graph of
fixed size, of which some places are empty. Since every definition is a question
of its own, and a value may take the place of a name, such questions can be
taken apart and put together again exactly ("Atom of Thoughts", 2502.12018).

A prompt holds every place, an empty one as dots, so that all questions of one
grammar have the same length. The response is the value, at once, and EOS.

Axes: `n` places, `T` tokens of a prompt. Functions take one expression.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.tasks import token_task

_PLACE_LENGTH = 5  # a = x op y
_NAMES = 'abcdefghijklmnopqrstuvwxyz'


class Expression(NamedTuple):
  """Definitions, and which of them is asked for.

  An operand `j < n` is what place `j` defines, `n + v` is the value v.
  """

  ops: Int[Array, '*B n']  # indices into the grammar's; -1 for an empty place
  operands: Int[Array, '*B n 2']  # `n` in empty places
  root: Int[Array, '*B']  # written like an operand


@dataclasses.dataclass(frozen=True)
class Grammar:
  """How expressions are written.

  Attributes:
    modulus: p, a prime; values are 0 ... p-1.
    num_places: n, most definitions.
    ops: some of '+', '-' and '*', each once.
  """

  modulus: int
  num_places: int
  ops: str = '+-*'

  def __post_init__(self):
    p, n, ops = self.modulus, self.num_places, self.ops
    if p < 2 or any(p % d == 0 for d in range(2, p)):
      raise ValueError(f'modulus={p} is not a prime.')
    if not 1 <= n <= len(_NAMES):
      raise ValueError(f'num_places={n} is not in [1, {len(_NAMES)}].')
    if not ops or set(ops) - set('+-*') or len(set(ops)) < len(ops):
      raise ValueError(f"ops={ops!r} must name some of '+-*', each once.")

  @property
  def words(self) -> tuple[str, ...]:
    """The vocabulary: values, operations, names, and the dot."""
    values = (str(v) for v in range(self.modulus))
    names = _NAMES[: self.num_places]
    return (*token_task.SPECIAL_WORDS, *values, *self.ops, *names, '.')

  @property
  def first_op_id(self) -> int:
    """The token of the first operation."""
    return token_task.FIRST_ID + self.modulus

  @property
  def first_name_id(self) -> int:
    """The token that names place 0."""
    return self.first_op_id + len(self.ops)

  @property
  def dot_id(self) -> int:
    """The token that fills empty places."""
    return self.first_name_id + self.num_places

  @property
  def prompt_length(self) -> int:
    """Tokens of a prompt."""
    return _PLACE_LENGTH * self.num_places + 2


def expression_task(
  grammar: Grammar, max_ops: int, min_ops: int = 1, share: float = 0.25
) -> token_task.TokenTask:
  """Makes the task of answering at once; value v is the number v.

  Args:
    grammar: how expressions are written.
    max_ops: most definitions in a problem; their number is uniform.
    min_ops: fewest, at least 1.
    share: see `random_expression`.

  Returns:
    A task whose problems have an `Expression` for `data`. A response has one
    step, so both process rewards say whether the value is right.

  Raises:
    ValueError: if the number of definitions does not fit the grammar.
  """
  if not 1 <= min_ops <= max_ops <= grammar.num_places:
    raise ValueError(
      f'{min_ops=} and {max_ops=} must be in order and in '
      f'[1, {grammar.num_places}].'
    )

  def generate(key: PRNGKeyArray) -> token_task.Problem:
    count_key, expression_key = jax.random.split(key)
    num_ops = jax.random.randint(count_key, (), min_ops, max_ops + 1, jnp.int32)
    expression = random_expression(expression_key, grammar, num_ops, share)
    value = evaluate(grammar, expression)
    return token_task.Problem(
      prompt=render(grammar, expression),
      prompt_length=jnp.int32(grammar.prompt_length),
      trace=jnp.stack(
        [token_task.FIRST_ID + value, jnp.int32(token_task.EOS_ID)]
      ),
      trace_length=jnp.int32(2),
      answer=value,
      data=expression,
    )

  def answer(
    problem: token_task.Problem,
    response: Int[Array, ' T'],
    length: Int[Array, ''],
  ) -> Int[Array, '']:
    del problem
    return token_task.last_value(response, length, grammar.modulus)

  def process_rewards(
    problem: token_task.Problem,
    response: Int[Array, ' T'],
    length: Int[Array, ''],
  ) -> Float[Array, ' T']:
    expected = token_task.fit(problem.trace, response.size, token_task.PAD_ID)
    right = (response == expected) & (jnp.arange(response.size) < 2)
    right &= token_task.is_written(response, length)
    return right.astype(jnp.float32)

  return token_task.TokenTask(
    name=f'expressions_{grammar.modulus}_{grammar.num_places}_{max_ops}',
    words=grammar.words,
    prompt_length=grammar.prompt_length,
    response_length=2,
    generate=generate,
    answer=answer,
    process_rewards=process_rewards,
    consistency_rewards=process_rewards,
  )


def random_expression(
  key: PRNGKeyArray,
  grammar: Grammar,
  num_ops: Int[Array, ''],
  share: float | Float[Array, ''] = 0.25,
) -> Expression:
  """Draws an expression of which the root needs every definition.

  Definitions stand before those that need them, in places drawn at random. The
  last is the root; each of the others becomes an operand of one that stands
  later, all free operands being equally likely: a random binary tree. The
  operands that are left are values, or else share what stands earlier.

  Args:
    key: random key, consumed.
    grammar: how expressions are written.
    num_ops: definitions, at most `n`.
    share: chance that an operand which is left names an earlier definition.

  Returns:
    The expression.
  """
  n, p = grammar.num_places, grammar.modulus
  op_key, tree_key, share_key, value_key, place_key = jax.random.split(key, 5)
  order = jnp.arange(n, dtype=jnp.int32)
  is_used = order < num_ops

  def attach(operands, inputs):
    i, key = inputs
    is_later = (order > i) & is_used
    is_free = (operands < 0) & is_later[:, None]
    logits = jnp.where(is_free, 0.0, -jnp.inf).ravel()
    side = jax.random.categorical(key, logits)
    attached = operands.ravel().at[side].set(i).reshape(n, 2)
    return jnp.where(i < num_ops - 1, attached, operands), None

  keys = jax.random.split(tree_key, n)
  free = jnp.full((n, 2), -1, jnp.int32)
  operands, _ = jax.lax.scan(attach, free, (order, keys), reverse=True)

  shares_key, which_key = jax.random.split(share_key)
  earlier = jax.random.uniform(which_key, (n, 2)) * order[:, None]
  is_shared = jax.random.bernoulli(shares_key, share, (n, 2))
  values = n + jax.random.randint(value_key, (n, 2), 0, p, jnp.int32)
  rest = jnp.where(
    is_shared & (order > 0)[:, None], earlier.astype(jnp.int32), values
  )
  operands = jnp.where(operands < 0, rest, operands)
  ops = jax.random.randint(op_key, (n,), 0, len(grammar.ops), jnp.int32)

  # Definition i goes to the i-th of `num_ops` places.
  rank = jnp.argsort(jax.random.permutation(place_key, order))
  places = jnp.argsort(rank >= num_ops, stable=True).astype(jnp.int32)
  moved = jnp.append(places, n + jnp.arange(p, dtype=jnp.int32))[operands]
  nothing = functools.partial(jnp.full, dtype=jnp.int32)
  empty = Expression(nothing((n,), -1), nothing((n, 2), n), jnp.int32(0))
  return Expression(
    empty.ops.at[places].set(jnp.where(is_used, ops, -1)),
    empty.operands.at[places].set(jnp.where(is_used[:, None], moved, n)),
    places[num_ops - 1],
  )


def evaluate(
  grammar: Grammar,
  expression: Expression,
  errors: Int[Array, ' n'] | int = 0,
) -> Int[Array, '']:
  """The value of the root, exact if there is no circle.

  Args:
    grammar: how expressions are written.
    expression: one expression.
    errors: added to what each place comes to, mod p: a solver that errs.
  """
  n = grammar.num_places
  values = jnp.arange(grammar.modulus, dtype=jnp.int32)

  def sweep(_, results):
    x, y = jnp.append(results, values)[expression.operands.T]
    by_op = {'+': x + y, '-': x - y, '*': x * y}
    table = jnp.stack([by_op[op] for op in grammar.ops])
    results = table[jnp.maximum(expression.ops, 0), jnp.arange(n)]
    return ((results + errors) % grammar.modulus).astype(jnp.int32)

  # After i sweeps all that needs less than i others is right.
  results = jax.lax.fori_loop(0, n, sweep, jnp.zeros((n,), jnp.int32))
  return jnp.append(results, values)[expression.root]


def dependencies(expression: Expression) -> Bool[Array, 'n n']:
  """Which definition (row) needs which other one (column) at once."""
  places = jnp.arange(expression.ops.size)
  needs = jnp.any(expression.operands[:, :, None] == places, axis=1)
  return needs & (expression.ops >= 0)[:, None]


def definitions(expression: Expression) -> Expression:
  """Each place as a question of its own, `[n]` expressions.

  They are whole questions where no operand is a name.
  """
  n = expression.ops.size
  is_own = jnp.eye(n, dtype=bool)
  return Expression(
    jnp.where(is_own, expression.ops, -1),
    jnp.where(is_own[..., None], expression.operands, n),
    jnp.arange(n),
  )


def substitute(
  expression: Expression, mask: Bool[Array, ' n'], values: Int[Array, ' n']
) -> Expression:
  """Replaces some definitions by values, wherever they are named.

  Args:
    expression: one expression.
    mask: which; their places become empty.
    values: what they come to; elsewhere anything.

  Returns:
    An expression with the same answer if the values are right.
  """
  n = expression.ops.size

  def replace(operand):
    place = jnp.minimum(operand, n - 1)
    is_known = (operand < n) & mask[place]
    return jnp.where(is_known, n + values[place], operand)

  return Expression(
    jnp.where(mask, -1, expression.ops),
    jnp.where(mask[:, None], n, replace(expression.operands)),
    replace(expression.root),
  )


def render(grammar: Grammar, expression: Expression) -> Int[Array, ' T']:
  """The tokens of a question, `a = 2 + 3 . . . . . a =`."""
  n = grammar.num_places
  count = functools.partial(jnp.arange, dtype=jnp.int32)
  names = grammar.first_name_id + count(n)
  token_of = jnp.append(names, token_task.FIRST_ID + count(grammar.modulus))
  equals = jnp.full((n,), token_task.EQUALS_ID, jnp.int32)
  x, y = token_of[expression.operands.T]
  op = grammar.first_op_id + expression.ops
  places = jnp.stack([names, equals, x, op, y], axis=1)
  is_empty = (expression.ops < 0)[:, None]
  return jnp.concatenate(
    [
      jnp.where(is_empty, grammar.dot_id, places).ravel(),
      token_of[expression.root][None],
      equals[:1],
    ]
  )


def parse(grammar: Grammar, tokens: Int[Array, ' T']) -> Expression:
  """Inverts `render`."""
  n = grammar.num_places
  name = tokens - grammar.first_name_id
  value = tokens - token_task.FIRST_ID
  operand = jnp.where((name >= 0) & (name < n), name, n + value)
  places = operand[:-2].reshape(n, _PLACE_LENGTH)
  ops = tokens[:-2].reshape(n, _PLACE_LENGTH)[:, 3] - grammar.first_op_id
  is_used = (ops >= 0) & (ops < len(grammar.ops))
  return Expression(
    jnp.where(is_used, ops, -1),
    jnp.where(is_used[:, None], places[:, jnp.array([2, 4])], n),
    operand[-2],
  )
