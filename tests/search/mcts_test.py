"""Tree search on tables whose trees can be enumerated."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling, search
from ttc.types import FinishReason, Prompt

SIZE, LENGTH, WIDTH = 3, 2, 2
TABLE = models.table_model(SIZE).init(jax.random.key(2))
LAW = np.asarray(jax.nn.softmax(TABLE), np.float64)
REWARD = np.array([0.1, 0.9, 0.3, 0.0, 0.6, 1.0, 0.8, 0.2, 0.5])  # of 3 a + b
VALUES = np.array([LAW[a] @ REWARD[3 * a : 3 * a + 3] for a in range(SIZE)])


def keys_of(seed, count):
  return jax.random.split(jax.random.key(seed), count)


def prompt_of(count):
  return Prompt(jnp.zeros((count, 1), jnp.int32), jnp.ones((count,), jnp.int32))


def steps_of(length=LENGTH, size=SIZE, eos_ids=(), **changes):
  """Each token is a step."""
  return search.StepSampler(
    model=models.table_model(size),
    stop=sampling.stop_rules(size, eos_ids),
    eos_ids=eos_ids,
    capacity=length,
    max_steps=length,
    max_step_tokens=1,
  )._replace(**changes)


def exact_values(prompt, responses):
  """The reward of whole responses, its expectation for those of one token."""
  del prompt
  first, second = responses.tokens[..., 0], responses.tokens[..., 1]
  whole = jnp.asarray(REWARD, jnp.float32)[SIZE * first + second]
  value = jnp.asarray(VALUES, jnp.float32)[first]
  return jnp.where(responses.lengths == LENGTH, whole, value)


@jax.jit
def search_all(keys, c_init, num_simulations):
  """Expands all nodes, then goes on visiting the ends."""
  return search.mcts(
    TABLE,
    keys,
    prompt_of(len(keys)),
    steps_of(),
    exact_values,
    2 + WIDTH,  # one more than there are
    WIDTH,
    prior='drawn',
    c_init=c_init,
    num_simulations=num_simulations,
  )


def drawn_value(tree, b, node, backup):
  """The exact value of a node of a drawn tree."""
  first = int(tree.first_child[b, node])
  if first == 0:
    return float(tree.scores[b, node])
  children = range(first, first + WIDTH)
  priors = np.array([tree.priors[b, c] for c in children])
  values = np.array([drawn_value(tree, b, c, backup) for c in children])
  return backup(priors, values)


def mean_value(tree):
  return np.asarray(tree.value_sums[:, 0] / tree.visits[:, 0])


def test_the_books_balance():
  """Visits and values of a node are its own and its children's."""
  output = search_all(keys_of(0, 500), 1.25, 40)
  tree = jax.device_get(output.tree)
  calls = np.asarray(output.search.verifier_calls)
  np.testing.assert_array_equal(
    tree.visits[:, 0], calls + np.asarray(output.num_simulations)
  )
  np.testing.assert_array_equal(output.num_simulations, 40)
  for b in range(500):
    for node in range(tree.visits.shape[1]):
      first = tree.first_child[b, node]
      if first:
        children = slice(first, first + WIDTH)
        own = 0 if node == 0 else 1
        assert tree.visits[b, node] == own + tree.visits[b, children].sum()
        total = own * tree.scores[b, node] + tree.value_sums[b, children].sum()
        assert tree.value_sums[b, node] == pytest.approx(total, abs=1e-4)
        np.testing.assert_array_equal(tree.parents[b, children], node)
        assert tree.priors[b, children].sum() == pytest.approx(1, abs=1e-6)
      elif tree.parents[b, node] >= 0:
        visits = tree.visits[b, node]
        total = visits * tree.scores[b, node]
        assert tree.value_sums[b, node] == pytest.approx(total, abs=1e-4)
        assert visits >= 1
  # A twin is drawn and paid for, not searched.
  is_twin = (tree.priors == 0) & (tree.parents >= 0)
  assert 0.1 < is_twin.mean() and np.all(tree.visits[is_twin] == 1)
  np.testing.assert_array_equal(output.search.tokens, calls)
  np.testing.assert_array_equal(output.search.depth, calls // WIDTH)


def test_exploring_evenly_values_converge_to_the_policys():
  """Visits follow the prior, so the mean is the drawn tree's expectation.

  Its mean over trees is the exact value of the policy.
  """
  trials = 500
  output = search_all(keys_of(1, trials), 1e4, 2000)
  got = mean_value(output.tree)
  tree = jax.device_get(output.tree)
  expected = [
    drawn_value(tree, b, 0, lambda p, v: p @ v) for b in range(trials)
  ]
  # Six draws and rounding to whole visits among 2000.
  np.testing.assert_allclose(got, expected, atol=5e-3)
  exact = LAW[0] @ VALUES
  error = got.std() / trials**0.5
  assert abs(got.mean() - exact) < 4 * error + 1e-3
  assert error < 0.015


def test_searching_values_converge_to_the_best_leaf():
  """The mean over trees has the law of the best of the drawn leaves."""
  trials = 500
  output = search_all(keys_of(2, trials), 1.25, 2000)
  got = mean_value(output.tree)
  tree = jax.device_get(output.tree)
  best = lambda p, v: v[p > 0].max()
  expected = [drawn_value(tree, b, 0, best) for b in range(trials)]
  # An end that is worse by d gets about c P / (d sqrt(2000)) of the visits.
  np.testing.assert_allclose(got, expected, atol=0.05)
  exact = 0.0
  for a, b in itertools.product(range(SIZE), repeat=2):
    groups = [a, b] if a != b else [a]
    for draws in itertools.product(range(SIZE), repeat=2 * len(groups)):
      probability = LAW[0, a] * LAW[0, b]
      leaves = []
      for i, group in enumerate(groups):
        for token in draws[2 * i : 2 * i + 2]:
          probability *= LAW[group, token]
          leaves.append(REWARD[SIZE * group + token])
      exact += probability * max(leaves)
  error = np.std(expected) / trials**0.5
  assert abs(np.mean(expected) - exact) < 4 * error


EOS, V = 4, 5  # words 0 to 3


def count_ones(prompt, responses):
  del prompt
  return jnp.mean(responses.tokens == 1, axis=-1)


WORDS = models.table_model(V).init(jax.random.key(0))


@functools.partial(jax.jit, static_argnums=(1, 2), static_argnames='rollout')
def search_words(keys, num_expansions, width, budget, rollout=False):
  """A table that ends at EOS or is cut after 6 tokens; answers with token 0."""
  prompt = prompt_of(len(keys))
  output = search.mcts(
    WORDS,
    keys,
    prompt,
    steps_of(6, V, (EOS,)),
    count_ones,
    num_expansions,
    width,
    rollout=rollout,
    budget=budget,
  )
  answer_fn = lambda prompt, samples: samples.tokens[..., 0]
  chosen = search.select_leaf(
    output.search, prompt, answer_fn, search.select_best
  )
  return output, chosen


@pytest.mark.slow
def test_width_one_is_a_plain_sample():
  keys = keys_of(4, 64)
  output, chosen = search_words(keys, 6, 1, 100)
  samples = sampling.generate(
    WORDS,
    keys,
    prompt_of(64),
    1,
    model=models.table_model(V),
    capacity=6,
    stop=sampling.stop_rules(V, [EOS]),
  )
  last = np.asarray(samples.lengths[:, 0]) - 1
  rows = np.arange(64)
  leaves = output.search.leaves
  np.testing.assert_array_equal(leaves.tokens[rows, last], samples.tokens[:, 0])
  np.testing.assert_array_equal(
    leaves.finish_reasons[rows, last], samples.finish_reasons[:, 0]
  )
  np.testing.assert_allclose(
    leaves.log_probs[rows, last], samples.log_probs[:, 0], rtol=1e-6
  )
  np.testing.assert_array_equal(output.search.tokens, samples.lengths[:, 0])
  finished = samples.finish_reasons[:, 0] == FinishReason.STOP
  answers = np.where(finished, samples.tokens[:, 0, 0], -1)
  np.testing.assert_array_equal(chosen.answer, answers)
  assert 0 < finished.mean() < 1


@pytest.mark.slow
def test_rollouts_are_fair_samples_and_finished_ones_answer():
  trials, width = 4000, 2
  output, chosen = search_words(keys_of(5, trials), 1, width, 100, rollout=True)
  world = models.enumerate_sequences(WORDS, 0, EOS, 6)
  law = np.exp(np.asarray(world.log_probs, np.float64))
  leaves = output.search.leaves
  rewards = np.mean(world.tokens == 1, axis=1)
  got = np.asarray(output.search.step_scores[:, :width, 0])
  error = np.sqrt(law @ (rewards - law @ rewards) ** 2 / got.size)
  assert abs(got.mean() - law @ rewards) < 4 * error
  spread = np.sqrt(law @ world.lengths**2 - (law @ world.lengths) ** 2)
  assert (
    abs(np.mean(output.search.tokens) / width - law @ world.lengths)
    < 4 * spread / (trials * width) ** 0.5
  )
  np.testing.assert_array_equal(
    np.sum(leaves.lengths, axis=1), output.search.tokens
  )
  # The best of the two that has an end, as best-of-2.
  ended = np.asarray(leaves.finish_reasons) == FinishReason.STOP
  scores = np.where(ended, got, -1)
  best = np.asarray(leaves.tokens)[np.arange(trials), scores.argmax(1), 0]
  np.testing.assert_array_equal(
    chosen.answer, np.where(ended.any(axis=1), best, -1)
  )


def test_unfinished_nodes_are_no_answers_and_twins_have_one_vote():
  output, chosen = search_words(keys_of(6, 128), 24, 2, 2)
  leaves = jax.device_get(output.search.leaves)
  last = np.take_along_axis(
    leaves.tokens, np.maximum(leaves.lengths - 1, 0)[..., None], axis=2
  )[..., 0]
  stopped = leaves.finish_reasons == FinishReason.STOP
  assert np.all(last[stopped] == EOS)
  np.testing.assert_array_equal(chosen.answer >= 0, stopped.any(axis=1))
  assert 0.1 < np.mean(stopped.any(axis=1)) < 0.95
  for b in range(128):
    rows = leaves.tokens[b][stopped[b]]
    assert len(np.unique(rows, axis=0)) == len(rows)
  # The prior is the policy's, among the distinct children.
  tree = jax.device_get(output.tree)
  law = np.asarray(jax.nn.softmax(WORDS[0]))[leaves.tokens[:, :2, 0]]
  is_twin = leaves.tokens[:, 0, 0] == leaves.tokens[:, 1, 0]
  share = np.where(is_twin, 1.0, law[:, 0] / law.sum(axis=1))
  np.testing.assert_allclose(tree.priors[:, 1], share, atol=1e-5)
  assert 0.1 < is_twin.mean() < 0.9


def test_a_budget_in_responses():
  keys = keys_of(7, 128)
  for budget in (2, 4):
    output = search_words(keys, 24, 2, budget)[0].search
    stopped = output.leaves.finish_reasons == FinishReason.STOP
    lengths = np.where(stopped, output.leaves.lengths, 0).sum(axis=1)
    count = np.sum(stopped, axis=1)
    mean = np.where(count > 0, lengths / np.maximum(count, 1), 6)
    tokens = np.asarray(output.tokens)
    assert np.all(tokens < 6 * budget + 2)  # the last expansion overruns it
    # The mean moves while the search runs, so this is no identity.
    assert 0.75 < tokens.mean() / (budget * mean.mean()) < 1.25


@pytest.mark.slow
def test_optimal_values_lead_to_the_optimum():
  """64 draws miss a token of this table with probability below 1e-6."""
  best = REWARD.argmax()

  def optimal(prompt, responses):
    del prompt
    first, second = responses.tokens[..., 0], responses.tokens[..., 1]
    right = first == best // SIZE
    right &= (responses.lengths == 1) | (second == best % SIZE)
    return right.astype(jnp.float32)

  run = lambda keys: search.mcts(
    TABLE, keys, prompt_of(16), steps_of(), optimal, LENGTH, 64
  )
  output = jax.jit(run)(keys_of(8, 16)).search
  place = jnp.argmax(
    output.step_scores[..., 0] * (output.leaves.lengths == 2), 1
  )
  got = np.asarray(output.leaves.tokens)[np.arange(16), place]
  np.testing.assert_array_equal(got, [[best // SIZE, best % SIZE]] * 16)
  np.testing.assert_array_equal(output.depth, LENGTH)


@pytest.mark.slow
def test_nodes_of_a_transformer_are_remembered():
  """Log-probabilities of the leaves are those of the plain forward pass."""
  model = models.transformer(
    models.TransformerConfig(
      vocab_size=V,
      num_layers=2,
      embed_dim=16,
      mlp_dim=16,
      num_heads=2,
      num_kv_heads=1,
      head_dim=8,
    )
  )
  params = model.init(jax.random.key(0))
  prompt = Prompt(jnp.array([[1, 2, 0], [2, 1, 1]]), jnp.array([2, 3]))
  steps = steps_of(6, V, (EOS,), model=model, max_step_tokens=2)
  run = lambda keys: search.mcts(params, keys, prompt, steps, count_ones, 12, 3)
  leaves = jax.device_get(jax.jit(run)(keys_of(9, 2)).search.leaves)
  count, rows = 0, leaves.tokens.shape[1]
  for b in range(2):
    given = prompt.tokens[b, : prompt.lengths[b]]
    given = jnp.broadcast_to(given, (rows, given.size))
    joined = jnp.concatenate([given, leaves.tokens[b]], axis=1)
    logits = jax.jit(models.forward, static_argnums=0)(model, params, joined)
    law = jax.nn.log_softmax(logits)[:, given.shape[1] - 1 : -1]
    tokens = jnp.asarray(leaves.tokens[b])
    scores = jnp.take_along_axis(law, tokens[..., None], -1)[..., 0]
    inside = np.arange(6) < leaves.lengths[b][:, None]
    scores = np.where(inside, scores, 0.0)
    np.testing.assert_allclose(leaves.log_probs[b], scores, atol=1e-5)
    count += len(np.unique(leaves.tokens[b], axis=0))
  assert count > 20
