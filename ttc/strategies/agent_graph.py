r"""Agent graphs: who works on whose words, learned by policy gradient.

Agent-REINFORCE, "generalizing test-time compute-optimal scaling as an
optimizable graph", 2511.00086. The nodes of a directed acyclic graph are calls
of models. A node has a role, to refine the answer of one predecessor or to fuse
those of all, and a model; an edge says that the words of one node are read by
another. Edges are Bernoulli, roles and models categorical, all independent, and

.. math:: \max_\theta E_{G \sim P_\theta}[u(G)], \qquad
    u = \text{accuracy} - \lambda \, \text{latency}

is climbed with the score function. The paper lets a language model turn
feedback into updates; here the feedback is the utility itself, as in its
REINFORCE: a leave-one-out baseline, an entropy bonus, Adam. The order of the
nodes makes every graph acyclic, and the last node answers.

Every graph is a mask of the same maximal graph, so one program runs them all.
`enumerate_graphs` and `log_prob` give the exact optimum and gradient where
there are few. Costs `S` evaluations per step. Axes: `N` nodes, `M` models, `S`
graphs.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

REFINE, FUSE = 0, 1  # roles


class Graph(NamedTuple):
  """Calls of models; what stands on or below the diagonal is ignored."""

  edges: Bool[Array, 'N N']  # from row to column
  roles: Int[Array, ' N']
  models: Int[Array, ' N']


class GraphLaw(NamedTuple):
  """Logits of independent choices."""

  edges: Float[Array, 'N N']  # on and below the diagonal without effect
  roles: Float[Array, 'N 2']
  models: Float[Array, 'N M']


class Calls(NamedTuple):
  """What each node would do on ONE problem, whichever model it is given."""

  drafts: Int[Array, 'N M']  # its answer without a predecessor
  accepts_right: Bool[Array, 'N M']  # it keeps a right answer that it refines
  accepts_wrong: Bool[Array, 'N M']  # it keeps a wrong one
  follows: Bool[Array, 'N M']  # as fuser it takes the majority, else a draft


class GraphRun(NamedTuple):
  """The answer of a graph to one problem, and what it cost."""

  answer: Int[Array, '']
  work: Num[Array, '']  # of all calls that the last node depends on
  latency: Num[Array, '']  # of the longest chain of calls


class Trained(NamedTuple):
  """What training came to; `K` steps."""

  laws: GraphLaw  # after each step, `[K, ...]`
  graphs: Graph  # all that were evaluated, `[K, S, ...]`
  utilities: Float[Array, 'K S']  # as they were seen


UtilityFn = Callable[[PRNGKeyArray, Graph], Float[Array, '']]


def uniform_law(num_nodes: int, num_models: int) -> GraphLaw:
  """All graphs are as likely."""
  return GraphLaw(
    jnp.zeros((num_nodes, num_nodes)),
    jnp.zeros((num_nodes, 2)),
    jnp.zeros((num_nodes, num_models)),
  )


def sample_graph(key: PRNGKeyArray, law: GraphLaw) -> Graph:
  """Draws a graph; the key is consumed."""
  edge_key, role_key, model_key = jax.random.split(key, 3)
  edges = jax.random.bernoulli(edge_key, jax.nn.sigmoid(law.edges))
  return Graph(
    jnp.triu(edges, 1),
    jax.random.categorical(role_key, law.roles),
    jax.random.categorical(model_key, law.models),
  )


def log_prob(law: GraphLaw, graph: Graph) -> Float[Array, '']:
  """Log-probability of a graph."""
  sign = jnp.where(graph.edges, 1.0, -1.0)
  edges = jnp.triu(jax.nn.log_sigmoid(sign * law.edges), 1)
  of = lambda logits, choice: jnp.take_along_axis(
    jax.nn.log_softmax(logits), choice[:, None], axis=1
  )
  return (
    jnp.sum(edges)
    + jnp.sum(of(law.roles, graph.roles))
    + jnp.sum(of(law.models, graph.models))
  )


def entropy(law: GraphLaw) -> Float[Array, '']:
  """Of the law, in nats."""
  p = jax.nn.sigmoid(law.edges)
  edges = -p * jax.nn.log_sigmoid(law.edges) - (1 - p) * jax.nn.log_sigmoid(
    -law.edges
  )
  of = lambda logits: (
    -jnp.sum(jax.nn.softmax(logits) * jax.nn.log_softmax(logits))
  )
  return jnp.sum(jnp.triu(edges, 1)) + of(law.roles) + of(law.models)


def mode(law: GraphLaw) -> Graph:
  """The most likely graph."""
  return Graph(
    jnp.triu(law.edges > 0, 1),
    jnp.argmax(law.roles, axis=1),
    jnp.argmax(law.models, axis=1),
  )


def enumerate_graphs(num_nodes: int, num_models: int) -> Graph:
  """All graphs, `[G, ...]` with `G = 2^(N (N - 1) / 2 + N) M^N`.

  Raises:
    ValueError: if they are more than a million.
  """
  num_edges = num_nodes * (num_nodes - 1) // 2
  sizes = (2,) * num_edges + (2,) * num_nodes + (num_models,) * num_nodes
  if np.prod(sizes, dtype=float) > 1e6:
    raise ValueError(f'{np.prod(sizes, dtype=float):.0f} graphs are too many')
  choices = np.indices(sizes).reshape(len(sizes), -1).T
  edges = np.zeros((len(choices), num_nodes, num_nodes), bool)
  edges[:, *np.triu_indices(num_nodes, 1)] = choices[:, :num_edges]
  return Graph(
    jnp.asarray(edges),
    jnp.asarray(choices[:, num_edges : num_edges + num_nodes]),
    jnp.asarray(choices[:, num_edges + num_nodes :]),
  )


def graph_index(graph: Graph, num_models: int) -> Int[Array, '']:
  """Place of a graph in `enumerate_graphs`."""
  rows, columns = np.triu_indices(graph.roles.shape[0], 1)
  digits = [(graph.edges[i, j], 2) for i, j in zip(rows, columns, strict=True)]
  digits += [(role, 2) for role in graph.roles]
  digits += [(model, num_models) for model in graph.models]
  index = jnp.int32(0)
  for digit, base in digits:
    index = base * index + digit
  return index


def run_graph(
  graph: Graph,
  calls: Calls,
  gold: Int[Array, ''],
  prices: Num[Array, ' M'],
  delays: Num[Array, ' M'],
) -> GraphRun:
  """Runs a graph on one problem.

  A node without predecessors gives a draft. One that refines reads its latest
  predecessor and keeps that answer or gives its own draft; whether it keeps it
  may depend on whether it is right. One that fuses gives the plurality of its
  predecessors, the earliest on ties, or fails to and gives its draft.

  Args:
    graph: who reads whom.
    calls: what the models would do.
    gold: the right answer.
    prices: of a call of each model.
    delays: of a call of each model.

  Returns:
    The answer of the last node.
  """
  num_nodes = graph.roles.shape[0]
  edges = jnp.triu(graph.edges, 1)
  answers, ends = [], []
  for i in range(num_nodes):
    model = graph.models[i]
    draft, end = calls.drafts[i, model], delays[model]
    if i == 0:
      answers.append(draft)
      ends.append(end)
      continue
    reads, before = edges[:i, i], jnp.stack(answers)
    latest = before[i - 1 - jnp.argmax(reads[::-1])]
    keeps = jnp.where(
      latest == gold,
      calls.accepts_right[i, model],
      calls.accepts_wrong[i, model],
    )
    votes = jnp.sum((before[:, None] == before) & reads, axis=1)
    plurality = before[jnp.argmax(jnp.where(reads, votes, -1))]
    refined = jnp.where(keeps, latest, draft)
    fused = jnp.where(calls.follows[i, model], plurality, draft)
    worked = jnp.where(graph.roles[i] == REFINE, refined, fused)
    answers.append(jnp.where(jnp.any(reads), worked, draft))
    ends.append(end + jnp.max(jnp.where(reads, jnp.stack(ends), 0)))
  needed = [jnp.bool_(True)]  # from the last node back
  for i in reversed(range(num_nodes - 1)):
    needed.insert(0, jnp.any(edges[i, i + 1 :] & jnp.stack(needed)))
  work = jnp.sum(jnp.where(jnp.stack(needed), prices[graph.models], 0))
  return GraphRun(answers[-1], work, ends[-1])


def policy_gradient(
  law: GraphLaw, graphs: Graph, utilities: Float[Array, ' S']
) -> GraphLaw:
  r"""REINFORCE with the leave-one-out baseline, from `S` graphs.

  .. math:: \frac{1}{S} \sum_s \Big(u_s - \frac{1}{S - 1} \sum_{t \ne s} u_t
      \Big) \nabla \log P_\theta(G_s)

  Unbiased if the graphs were drawn independently from the law.
  """
  num_graphs = utilities.shape[0]
  advantage = (utilities - jnp.mean(utilities)) * num_graphs / (num_graphs - 1)
  surrogate = lambda law: jnp.mean(
    advantage * jax.vmap(log_prob, in_axes=(None, 0))(law, graphs)
  )
  return jax.grad(surrogate)(law)


def reinforce(
  key: PRNGKeyArray,
  law: GraphLaw,
  utility_fn: UtilityFn,
  num_steps: int,
  num_graphs: int,
  *,
  learning_rate: float = 0.4,
  entropy_weight: float = 0.02,
) -> Trained:
  """Climbs the expected utility; `num_steps * num_graphs` evaluations.

  Args:
    key: random key, consumed.
    law: where to begin, see `uniform_law`.
    utility_fn: `(key, graph) -> utility`, noisy or not.
    num_steps: updates; static.
    num_graphs: `S`, evaluations of a step, at least 2; static.
    learning_rate: of Adam. This and the next are the best of those tried on
      problems like those of `ttc/testbeds/agent_graphs.py`.
    entropy_weight: utility that a nat of entropy is worth.

  Returns:
    The laws, and all that was evaluated, in order.

  Raises:
    ValueError: if the baseline has nothing to be computed from.
  """
  if num_graphs < 2:
    raise ValueError(f'num_graphs must be at least 2, got {num_graphs}')
  optimizer = optax.adam(learning_rate)

  def step(carry, key):
    law, state = carry
    graph_keys, utility_keys = jax.random.split(key, (2, num_graphs))
    graphs = jax.vmap(sample_graph, in_axes=(0, None))(graph_keys, law)
    utilities = jax.vmap(utility_fn)(utility_keys, graphs)
    gradient = policy_gradient(law, graphs, utilities)
    descent = jax.tree.map(
      lambda g, h: -(g + entropy_weight * h), gradient, jax.grad(entropy)(law)
    )
    updates, state = optimizer.update(descent, state)
    law = jax.tree.map(jnp.add, law, updates)
    return (law, state), Trained(law, graphs, utilities)

  start = law, optimizer.init(law)
  return jax.lax.scan(step, start, jax.random.split(key, num_steps))[1]
