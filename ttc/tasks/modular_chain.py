"""Modular arithmetic, one operation after the other.

The prompt is `x op a_1 op a_2 ... op a_L =`, read from left to right, modulo a
prime p; the trace holds the running values. Operands are 1 ... p-1, so every
step is a bijection of the p values and the closed form of `chains` is exact.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ttc.tasks import chains, token_task


def modular_chain(
  modulus: int,
  length: int,
  ops: str = '+-*',
  stride: int = 1,
  noise: float = 0.0,
  min_length: int | None = None,
) -> token_task.TokenTask:
  """Makes the task; value v is the number v.

  Args:
    modulus: p, a prime.
    length: operations in a problem, `L`.
    ops: which of '+', '-' and '*' occur, equally often.
    stride: write every `stride`-th value, and the last.
    noise: chance that a value in the trace is replaced by another one.
    min_length: if given, lengths are uniform in [min_length, length].
  """
  min_length = length if min_length is None else min_length
  if modulus < 2 or any(modulus % d == 0 for d in range(2, modulus)):
    raise ValueError(f'{modulus=} is not a prime.')
  if not ops or set(ops) - set('+-*') or len(set(ops)) < len(ops):
    raise ValueError(f"{ops=} must name some of '+-*', each once.")
  if not 1 <= min_length <= length:
    raise ValueError(f'{min_length=} is not in [1, {length}].')
  values = np.arange(modulus)

  def draw(key: PRNGKeyArray) -> chains.Chain:
    start_key, op_key, operand_key, length_key = jax.random.split(key, 4)
    start = jax.random.randint(start_key, (), 0, modulus)
    op = jax.random.randint(op_key, (length,), 0, len(ops))
    operand = jax.random.randint(operand_key, (length,), 1, modulus)
    num_maps = jax.random.randint(length_key, (), min_length, length + 1)
    a = operand[:, None]
    results = {'+': values + a, '-': values - a, '*': values * a}
    maps = jnp.stack([results[o] for o in ops])[op, jnp.arange(length)]
    tail = jnp.stack([modulus + op, operand], axis=-1).reshape(2 * length)
    tokens = token_task.FIRST_ID + jnp.append(start, tail)
    num_tokens = 1 + 2 * num_maps
    return chains.Chain(
      prompt=token_task.close(tokens, num_tokens, token_task.EQUALS_ID),
      prompt_length=num_tokens + 1,
      start=start,
      maps=maps % modulus,
      num_maps=num_maps,
    )

  words = tuple(str(v) for v in range(modulus))
  name = f'modular_chain_{modulus}_{length}'
  return chains.chain_task(
    name, words, tuple(ops), draw, stride=stride, noise=noise
  )
