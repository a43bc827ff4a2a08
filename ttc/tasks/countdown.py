"""Countdown: reach a target from a few numbers with + - * and /.

The prompt is `n_1 ... n_k = target`; a response is k - 1 equations, each of
which takes two of the numbers still there and puts its result in their place,
such as `7 * 3 = 21 21 + 2 = 23 <eos>` for `2 3 7 = 23`. Every number is used
once, all results are whole numbers from 1 to `max_value`. Many responses are
right; the verifier runs the equations. The trace is a random derivation, and
the target is what it ends with, so every problem has a solution.

`process_rewards` asks of an equation that its operands were still there and
its result is right, and the same of all equations before it; on EOS, that
the target was reached. `consistency_rewards` forgives earlier mistakes: it
takes the written results as they are, and asks of EOS only its place. Both
mark all five tokens of an equation alike.

Gandhi et al., "Stream of Search", arXiv 2404.03683 (the game with all numbers
used); the equations are ours, so that each step can be checked by itself.

Axes besides those of `token_task`: `K` numbers, `M` = K - 1 equations.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.tasks import token_task

_OPS = ('+', '-', '*', '/')
_STEP_LENGTH = 5  # a op b = c


class _Run(NamedTuple):
  """What the equations of a response amount to."""

  is_right: Bool[Array, ' M']  # given the numbers as written so far
  result: Int[Array, '']  # of the last equation


def countdown(
  num_numbers: int = 4, max_number: int = 10, max_value: int = 50
) -> token_task.TokenTask:
  """Makes the game; an answer id is the value that a valid response ends with.

  The right answer is the target, so the id tells how far a valid response
  missed it; a response with a wrong or impossible equation has no answer (-1).

  Args:
    num_numbers: `K`, at least 2; 3 and 4 are usual.
    max_number: the numbers are uniform in [1, max_number].
    max_value: bound of the target and of all results, at least `max_number`.
  """
  if num_numbers < 2 or not 1 <= max_number <= max_value:
    raise ValueError('Needs num_numbers >= 2 and 1 <= max_number <= max_value.')
  num_steps = num_numbers - 1
  num_tokens = _STEP_LENGTH * num_steps  # of a response before its EOS

  def generate(key: PRNGKeyArray) -> token_task.Problem:
    number_key, derivation_key = jax.random.split(key)
    numbers = jax.random.randint(
      number_key, (num_numbers,), 1, max_number + 1, jnp.int32
    )
    return _problem(numbers, *_derive(derivation_key, numbers, max_value))

  def run(problem: token_task.Problem, response: Int[Array, ' T']) -> _Run:
    tokens = token_task.fit(response, num_tokens, token_task.PAD_ID)
    return _check(problem.data, tokens.reshape(-1, _STEP_LENGTH), max_value)

  def answer(
    problem: token_task.Problem,
    response: Int[Array, ' T'],
    length: Int[Array, ''],
  ) -> Int[Array, '']:
    is_right, result = run(problem, response)
    is_complete = token_task.end_of(response, length) == num_tokens
    return jnp.where(is_complete & jnp.all(is_right), result, -1)

  def process_rewards(
    problem: token_task.Problem,
    response: Int[Array, ' T'],
    length: Int[Array, ''],
  ) -> Float[Array, ' T']:
    is_right = jnp.cumprod(run(problem, response).is_right).astype(bool)
    is_reached = answer(problem, response, length) == problem.answer
    return _mark(is_right, is_reached, response, length)

  def consistency_rewards(
    problem: token_task.Problem,
    response: Int[Array, ' T'],
    length: Int[Array, ''],
  ) -> Float[Array, ' T']:
    is_end = token_task.end_of(response, length) == num_tokens
    return _mark(run(problem, response).is_right, is_end, response, length)

  return token_task.TokenTask(
    name=f'countdown_{num_numbers}_{max_number}_{max_value}',
    words=(
      *token_task.SPECIAL_WORDS,
      *(str(v) for v in range(max_value + 1)),
      *_OPS,
    ),
    prompt_length=num_numbers + 2,
    response_length=num_tokens + 1,
    generate=generate,
    answer=answer,
    process_rewards=process_rewards,
    consistency_rewards=consistency_rewards,
  )


def _problem(
  numbers: Int[Array, ' K'],
  steps: Int[Array, 'M 5'],
  values: Int[Array, ' M'],
) -> token_task.Problem:
  """The problem of a derivation, which is its trace."""
  prompt = jnp.concatenate(
    [
      token_task.FIRST_ID + numbers,
      jnp.array([token_task.EQUALS_ID], jnp.int32),
      token_task.FIRST_ID + values[-1:],
    ]
  )
  return token_task.Problem(
    prompt=prompt,
    prompt_length=jnp.int32(prompt.size),
    trace=jnp.append(steps.reshape(-1), token_task.EOS_ID),
    trace_length=jnp.int32(steps.size + 1),
    answer=values[-1],
    data=numbers,
  )


def _results(
  a: Int[Array, ''], b: Int[Array, ''], max_value: int
) -> Int[Array, ' 4']:
  """Applies each operation; 0 where the rules forbid it."""
  divisor = jnp.maximum(b, 1)
  quotient = jnp.where(a % divisor == 0, a // divisor, 0)
  values = jnp.stack([a + b, a - b, a * b, quotient])
  return jnp.where((values >= 1) & (values <= max_value), values, 0)


def _derive(
  key: PRNGKeyArray, numbers: Int[Array, ' K'], max_value: int
) -> tuple[Int[Array, 'M 5'], Int[Array, ' M']]:
  """A random derivation: its equations as tokens, and their results."""

  def step(pool, key):
    pair_key, op_key = jax.random.split(key)
    ranks = jax.random.uniform(pair_key, pool.shape) + (pool > 0)
    i, j = jax.lax.top_k(ranks, 2)[1]  # two numbers that are there
    # The larger first: then 1 = a / a or a - b is allowed if nothing else is.
    a, b = jnp.maximum(pool[i], pool[j]), jnp.minimum(pool[i], pool[j])
    values = _results(a, b, max_value)
    op = jax.random.categorical(op_key, jnp.where(values > 0, 0.0, -jnp.inf))
    tokens = jnp.stack(
      [
        token_task.FIRST_ID + a,
        _first_op_id(max_value) + op.astype(jnp.int32),
        token_task.FIRST_ID + b,
        jnp.full_like(a, token_task.EQUALS_ID),
        token_task.FIRST_ID + values[op],
      ]
    )
    return pool.at[i].set(values[op]).at[j].set(0), (tokens, values[op])

  keys = jax.random.split(key, len(numbers) - 1)
  return jax.lax.scan(step, numbers, keys)[1]


def _check(
  numbers: Int[Array, ' K'], equations: Int[Array, 'M 5'], max_value: int
) -> _Run:
  """Runs equations on the numbers that are there before each."""
  # Room for a result even where an equation took nothing away.
  pool = token_task.fit(numbers, len(numbers) + len(equations), 0)

  def step(pool, tokens):
    a, op, b, equals, c = tokens
    a, b, c = (_number(x, max_value) for x in (a, b, c))
    pool, has_a = _take(pool, a)
    pool, has_b = _take(pool, b)
    op = op - _first_op_id(max_value)
    is_op = (op >= 0) & (op < len(_OPS))
    result = _results(a, b, max_value)[jnp.clip(op, 0, len(_OPS) - 1)]
    right = has_a & has_b & is_op & (equals == token_task.EQUALS_ID)
    right &= (c == result) & (c > 0)
    return pool.at[jnp.argmin(pool)].set(c), (right, c)

  _, (is_right, values) = jax.lax.scan(step, pool, equations)
  return _Run(is_right, values[-1])


def _mark(
  is_right: Bool[Array, ' M'],
  is_end_right: Bool[Array, ''],
  response: Int[Array, ' T'],
  length: Int[Array, ''],
) -> Float[Array, ' T']:
  """Spreads marks over the tokens of equations; one cut short earns nothing."""
  written = token_task.is_written(response, length)
  ends = _STEP_LENGTH * jnp.arange(1, len(is_right) + 1)
  is_right &= ends <= jnp.sum(written)
  marks = jnp.append(jnp.repeat(is_right, _STEP_LENGTH), is_end_right)
  marks = token_task.fit(marks, response.size, False)
  return (marks & written).astype(jnp.float32)


def _first_op_id(max_value: int) -> int:
  return token_task.FIRST_ID + max_value + 1


def _number(token: Int[Array, ''], max_value: int) -> Int[Array, '']:
  """Returns the number that a token names, 0 if none."""
  value = token - token_task.FIRST_ID
  return jnp.where((value >= 1) & (value <= max_value), value, 0)


def _take(
  pool: Int[Array, ' K'], number: Int[Array, '']
) -> tuple[Int[Array, ' K'], Bool[Array, '']]:
  """Removes one copy of a number (0 marks free places), if it is there."""
  is_here = (pool == number) & (number > 0)
  position = jnp.argmax(is_here)
  has = jnp.any(is_here)
  return pool.at[position].set(jnp.where(has, 0, pool[position])), has
