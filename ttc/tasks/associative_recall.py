"""Associative recall: follow a map that the prompt lists as shuffled facts.

The prompt is `k_1>f(k_1) k_2>f(k_2) ... s =`, one word for each fact and the
facts in random order; the trace visits f(s), f(f(s)) and so on. Each token of
the trace is one retrieval from anywhere in the prompt, so what a decoder cannot
see it cannot answer. The map is one cycle through the nodes: guessing a visited
node does not help, and the closed form of `chains` is exact. A fact is one word
so that one layer of attention can retrieve it; with keys and values as words of
their own (Arora et al., arXiv 2312.04927) two layers have to find each other
first, which takes small models thousands of steps.
"""

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ttc.tasks import chains, token_task

_FILLERS = tuple('abcdefgh')


def associative_recall(
  num_nodes: int,
  num_hops: int = 1,
  noise: float = 0.0,
  num_fillers: int = 0,
) -> token_task.TokenTask:
  """Makes the task; value v is node v.

  Args:
    num_nodes: `Q`, at least 2: the facts of a prompt. There are `Q^2` words for
      facts.
    num_hops: how often the map is applied, each written down.
    noise: chance that a node in the trace is replaced by another one.
    num_fillers: words without meaning, one of eight, among the facts: they make
      the context long and not the task hard.
  """

  def draw(key: PRNGKeyArray) -> chains.Chain:
    start_key, cycle_key, order_key, filler_key = jax.random.split(key, 4)
    start = jax.random.randint(start_key, (), 0, num_nodes)
    cycle = jax.random.permutation(cycle_key, num_nodes)
    function = jnp.zeros_like(cycle).at[cycle].set(jnp.roll(cycle, -1))
    node = jnp.arange(num_nodes)
    facts = num_nodes * (1 + node) + function
    fillers = num_nodes * (1 + num_nodes) + jax.random.randint(
      filler_key, (num_fillers,), 0, len(_FILLERS)
    )
    words = jax.random.permutation(order_key, jnp.append(facts, fillers))
    tokens = token_task.FIRST_ID + jnp.append(words, start)
    num_tokens = jnp.int32(tokens.size)
    return chains.Chain(
      prompt=token_task.close(tokens, num_tokens, token_task.EQUALS_ID),
      prompt_length=num_tokens + 1,
      start=start,
      maps=jnp.broadcast_to(function, (num_hops, num_nodes)),
      num_maps=jnp.int32(num_hops),
    )

  nodes = tuple(map(str, range(num_nodes)))
  facts = tuple(f'{key}>{value}' for key in nodes for value in nodes)
  others = facts + _FILLERS * (num_fillers > 0)
  name = f'associative_recall_{num_nodes}_{num_hops}'
  return chains.chain_task(name, nodes, others, draw, noise=noise)
