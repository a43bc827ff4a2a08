"""Graphs of agents of two models on problems of drawn difficulty.

Every graph of four nodes can be run, so the best is known.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import strategies
from ttc.strategies import Calls

NODES, MODELS, NUM_ANSWERS = 4, 2, 6
PRICES = np.array([1, 4], np.float32)
DELAYS = np.array([1, 2], np.float32)


@functools.partial(jax.jit, static_argnums=2)
def evaluate(seed, graphs, num_problems):
  """Correctness `[G, B]`, work and delay `[G]` of graphs."""
  keys = jax.random.split(
    jax.random.fold_in(jax.random.key(2000), seed), num_problems
  )
  calls = jax.vmap(draw_calls)(keys)
  run = jax.vmap(strategies.run_graph, in_axes=(None, 0, None, None, None))

  def of_graph(graph):
    costs = jnp.asarray(PRICES), jnp.asarray(DELAYS)
    out = run(graph, calls, jnp.int32(0), *costs)
    return out.answer == 0, out.work[0], out.latency[0]

  return jax.lax.map(of_graph, graphs, batch_size=64)


def draw_calls(key):
  """What a small and a large model would do on a problem of some difficulty.

  They share its difficulty and its popular wrong answers. The large model is
  the better writer by half a nat, and the better judge of what it reads.
  """
  keys = jax.random.split(key, 6)
  ease = 1.2 * jax.random.normal(keys[0])
  logits = jax.random.normal(keys[1], (NUM_ANSWERS,))
  edges = jnp.array([0.9, 1.4]) + ease
  laws = jnp.broadcast_to(logits, (MODELS, NUM_ANSWERS)).at[:, 0].set(edges)
  chance = lambda key, rates: jax.random.bernoulli(
    key, jnp.broadcast_to(jnp.array(rates), (NODES, MODELS))
  )
  return Calls(
    drafts=jax.random.categorical(keys[2], laws, shape=(NODES, MODELS)),
    accepts_right=chance(keys[3], [0.75, 0.95]),
    accepts_wrong=chance(keys[4], [0.6, 0.2]),
    follows=chance(keys[5], [0.85, 0.95]),
  )


def describe(graphs, index):
  """Each node's model, small or large, its role and its predecessors."""
  parts = []
  for i in range(NODES):
    reads = np.flatnonzero(graphs.edges[index, :i, i])
    name = 'SL'[int(graphs.models[index, i])]
    if reads.size:
      role = ('refines', 'fuses')[int(graphs.roles[index, i])]
      name += f' {role} {"+".join(str(j + 1) for j in reads)}'
    parts.append(f'{i + 1}: {name}')
  return ', '.join(parts)
