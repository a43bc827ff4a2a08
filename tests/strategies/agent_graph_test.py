"""Graphs by hand, and the policy gradient against all graphs at once."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc.strategies import agent_graph
from ttc.strategies.agent_graph import FUSE, REFINE, Calls, Graph

NODES, MODELS = 3, 2
GRAPHS = agent_graph.enumerate_graphs(NODES, MODELS)
NUM_GRAPHS = 2**3 * 2**3 * 2**3
UTILITIES = jnp.asarray(
  np.random.default_rng(0).random(NUM_GRAPHS), jnp.float32
)
log_probs = jax.jit(jax.vmap(agent_graph.log_prob, in_axes=(None, 0)))


def some_law(seed=0):
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32),
    agent_graph.uniform_law(NODES, MODELS),
  )


def utility_of(graph):
  return UTILITIES[agent_graph.graph_index(graph, MODELS)]


def expected_utility(law):
  return jnp.sum(jnp.exp(log_probs(law, GRAPHS)) * UTILITIES)


exact = jax.jit(jax.value_and_grad(expected_utility))


def test_all_graphs_are_there_once_and_have_probability_one():
  assert GRAPHS.roles.shape[0] == NUM_GRAPHS
  index = jax.jit(jax.vmap(lambda g: agent_graph.graph_index(g, MODELS)))
  np.testing.assert_array_equal(index(GRAPHS), np.arange(NUM_GRAPHS))
  log_p = log_probs(some_law(), GRAPHS)
  np.testing.assert_allclose(jnp.sum(jnp.exp(log_p)), 1.0, atol=1e-5)
  entropy = -jnp.sum(jnp.exp(log_p) * log_p)
  np.testing.assert_allclose(
    agent_graph.entropy(some_law()), entropy, atol=1e-4
  )
  uniform = agent_graph.uniform_law(NODES, MODELS)
  np.testing.assert_allclose(
    agent_graph.entropy(uniform), math.log(NUM_GRAPHS), atol=1e-5
  )
  best = agent_graph.graph_index(agent_graph.mode(some_law()), MODELS)
  assert int(best) == int(jnp.argmax(log_p))


def test_all_sample_reinforce_is_the_exact_gradient():
  """Each graph weighted by its probability: sum_G p u grad log p."""
  law = some_law()
  weights = jnp.exp(log_probs(law, GRAPHS)) * UTILITIES
  score = jax.grad(lambda law: jnp.sum(weights * log_probs(law, GRAPHS)))(law)
  for got, expected in zip(score, exact(law)[1], strict=True):
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_the_estimator_is_unbiased():
  """2000 batches of 4 graphs, each within five standard errors of the mean."""
  law = some_law()

  @jax.jit
  @jax.vmap
  def estimate(key):
    draw = jax.vmap(agent_graph.sample_graph, in_axes=(0, None))
    graphs = draw(jax.random.split(key, 4), law)
    utilities = jax.jit(jax.vmap(utility_of))(graphs)
    return agent_graph.policy_gradient(law, graphs, utilities)

  batches = estimate(jax.random.split(jax.random.key(0), 2000))
  for got, expected in zip(batches, exact(law)[1], strict=True):
    error = np.std(got, axis=0) / math.sqrt(2000)
    assert np.all(np.abs(got.mean(axis=0) - expected) <= 5 * error + 1e-7)


def test_training_climbs():
  """The best graph has no edge, and all models are 1, or none is."""

  def train(key, sign):
    return agent_graph.reinforce(
      key,
      agent_graph.uniform_law(NODES, MODELS),
      lambda key, graph: (
        sign * jnp.sum(graph.models == 1) - jnp.sum(graph.edges)
      ),
      50,
      8,
    )

  signs = jnp.array([1.0, -1.0])
  keys = jax.random.split(jax.random.key(1), 2)
  trained = jax.jit(jax.vmap(train))(keys, signs)
  law = jax.tree.map(lambda x: x[:, -1], trained.laws)
  graphs = jax.vmap(agent_graph.mode)(law)
  assert not np.any(graphs.edges)
  np.testing.assert_array_equal(graphs.models, [[1] * NODES, [0] * NODES])
  utilities = trained.utilities
  assert utilities.shape == (2, 50, 8)
  assert utilities[:, -10:].mean() > utilities[:, :10].mean() + 1.0


# Drafts of three nodes by two models; the right answer is 0. Model 0 keeps
# right answers only, model 1 only wrong ones; both follow a majority.
CALLS = Calls(
  drafts=jnp.array([[1, 0], [2, 0], [1, 3]]),
  accepts_right=jnp.array([[True, False]] * 3),
  accepts_wrong=jnp.array([[False, True]] * 3),
  follows=jnp.array([[True, True]] * 3),
)
run = jax.jit(
  lambda graph, calls: agent_graph.run_graph(
    graph, calls, jnp.int32(0), jnp.array([1, 10]), jnp.array([2, 3])
  )
)


def graph_of(edges, roles, models):
  matrix = np.zeros((3, 3), bool)
  for i, j in edges:
    matrix[i, j] = True
  return Graph(*map(jnp.asarray, (matrix, roles, models)))


@pytest.mark.parametrize(
  ('edges', 'roles', 'models', 'expected'),
  [
    ([], [REFINE] * 3, [0, 0, 0], (1, 1, 2)),  # the last alone
    ([(0, 1)], [REFINE] * 3, [0, 0, 1], (3, 10, 3)),  # nobody reads node 1
    ([(2, 0), (2, 1)], [REFINE] * 3, [0, 0, 1], (3, 10, 3)),  # below: ignored
    # A right answer is kept by model 0, and a wrong one is not.
    ([(1, 2)], [REFINE] * 3, [0, 1, 0], (0, 11, 5)),
    ([(1, 2)], [REFINE] * 3, [0, 0, 0], (1, 2, 4)),
    # Model 1: the wrong answer 2 is kept, the right one replaced by 3.
    ([(1, 2)], [REFINE] * 3, [0, 0, 1], (2, 11, 5)),
    ([(1, 2)], [REFINE] * 3, [0, 1, 1], (3, 20, 6)),
    # It refines the latest of two; both count.
    ([(0, 2), (1, 2)], [REFINE] * 3, [0, 1, 0], (0, 12, 5)),
    # A fuser of two that differ takes the earliest.
    ([(0, 2), (1, 2)], [REFINE, REFINE, FUSE], [0, 0, 0], (1, 3, 4)),
    ([(0, 2), (1, 2)], [REFINE, REFINE, FUSE], [1, 1, 0], (0, 21, 5)),
    # A chain: each waits for the one before.
    ([(0, 1), (1, 2)], [REFINE, FUSE, FUSE], [1, 0, 0], (0, 12, 7)),
  ],
)
def test_graphs_by_hand(edges, roles, models, expected):
  got = run(graph_of(edges, roles, models), CALLS)
  assert tuple(int(x) for x in got) == expected


def test_a_fuser_that_fails_gives_its_draft():
  calls = CALLS._replace(follows=jnp.zeros_like(CALLS.follows))
  graph = graph_of([(0, 2), (1, 2)], [REFINE, REFINE, FUSE], [1, 1, 0])
  assert int(run(graph, calls).answer) == 1


def test_wrong_input_is_refused():
  with pytest.raises(ValueError, match='graphs are too many'):
    agent_graph.enumerate_graphs(5, 3)
  with pytest.raises(ValueError, match='num_graphs must be at least 2, got 1'):
    agent_graph.reinforce(
      jax.random.key(0),
      agent_graph.uniform_law(2, 2),
      lambda key, graph: jnp.float32(0),
      1,
      1,
    )
