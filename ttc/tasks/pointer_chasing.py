"""Pointer chasing: follow a random function for a number of hops.

The prompt lists `f(0) ... f(N-1)` and a start s; the trace visits f(s), f(f(s))
and so on. Functions that are not bijections have short cycles, so guessing a
visited node beats 1 / N, and wrong paths merge with the right one. A random
CYCLE through all nodes has neither flaw: there the closed form of `chains`
is exact.
"""

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ttc.tasks import chains, token_task


def pointer_chasing(
  num_nodes: int,
  num_hops: int,
  stride: int = 1,
  noise: float = 0.0,
  is_cycle: bool = False,
) -> token_task.TokenTask:
  """Makes the task; value v is node v.

  Args:
    num_nodes: `N`, at least 2.
    num_hops: how often the function is applied.
    stride: write every `stride`-th node, and the last.
    noise: chance that a node in the trace is replaced by another one.
    is_cycle: draw one cycle through all nodes, not any function.
  """

  def draw(key: PRNGKeyArray) -> chains.Chain:
    start_key, function_key = jax.random.split(key)
    start = jax.random.randint(start_key, (), 0, num_nodes)
    if is_cycle:
      order = jax.random.permutation(function_key, num_nodes)
      function = jnp.zeros_like(order).at[order].set(jnp.roll(order, -1))
    else:
      function = jax.random.randint(function_key, (num_nodes,), 0, num_nodes)
    tokens = token_task.FIRST_ID + jnp.append(function, start)
    num_tokens = jnp.int32(num_nodes + 1)
    return chains.Chain(
      prompt=token_task.close(tokens, num_tokens, token_task.EQUALS_ID),
      prompt_length=num_tokens + 1,
      start=start,
      maps=jnp.broadcast_to(function, (num_hops, num_nodes)),
      num_maps=jnp.int32(num_hops),
    )

  words = tuple(str(v) for v in range(num_nodes))
  name = f'pointer_chasing_{num_nodes}_{num_hops}'
  return chains.chain_task(name, words, (), draw, stride=stride, noise=noise)
