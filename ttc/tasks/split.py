"""Train and test problems, told apart by a hash of the prompt.

A generator with random keys repeats itself; a split by key would leak. A split
by the prompt cannot: a problem is a test problem wherever it is drawn.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.tasks import token_task


def is_test(
  prompt: Int[Array, ' Tp'], fraction: float | Float[Array, '']
) -> Bool[Array, '']:
  """Returns whether a prompt belongs to the test problems.

  32-bit FNV-1a over the tokens, then the finaliser of MurmurHash3. Padding is
  skipped, so the verdict does not depend on how far a prompt is padded.

  Args:
    prompt: token ids, padded on the right.
    fraction: the share of all prompts that are test problems, in [0, 1].
  """

  def step(state, token):
    mixed = (state ^ token) * jnp.uint32(0x01000193)
    return jnp.where(token == token_task.PAD_ID, state, mixed), None

  state, _ = jax.lax.scan(
    step, jnp.uint32(0x811C9DC5), prompt.astype(jnp.uint32)
  )
  state = (state ^ (state >> 16)) * jnp.uint32(0x85EBCA6B)
  state = (state ^ (state >> 13)) * jnp.uint32(0xC2B2AE35)
  state = state ^ (state >> 16)
  # 24 bits are exact in float32.
  return (state >> 8).astype(jnp.float32) * 2.0**-24 < fraction


def on_split(
  task: token_task.TokenTask,
  split: Literal['train', 'test'],
  test_fraction: float = 0.1,
) -> token_task.TokenTask:
  """Restricts a task to one side of the split, by drawing again.

  The problems have the task's own law, conditioned on the split. A draw takes
  1 / share tries on average, and under `vmap` as many as the unluckiest needs.

  Args:
    task: the task, left as it is.
    split: which problems to generate.
    test_fraction: see `is_test`; inside (0, 1).

  Returns:
    The task with another `generate`. It does not return if there is no prompt
    on that side, which only a family of a few prompts can bring about.

  Raises:
    ValueError: if one side is empty by definition.
  """
  if not 0.0 < test_fraction < 1.0:
    raise ValueError(f'{test_fraction=} leaves a split empty.')

  def generate(key: PRNGKeyArray) -> token_task.Problem:
    def draw(state):
      key, task_key = jax.random.split(state[0])
      return key, task.generate(task_key)

    def is_other_side(state):
      return is_test(state[1].prompt, test_fraction) != (split == 'test')

    return jax.lax.while_loop(is_other_side, draw, draw((key,)))[1]

  return task._replace(generate=generate)
