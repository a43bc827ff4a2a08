"""Generative retrieval, against enumeration on a table of next codes."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling, search
from ttc.types import Prompt

V, M, ITEMS = 5, 3, 20
RNG = np.random.default_rng(0)
EVERY = np.array(list(itertools.product(range(V), repeat=M)))
WORDS = EVERY[RNG.choice(len(EVERY), ITEMS, replace=False)]
TRIE = search.build_trie(WORDS, V)
TABLE = jax.random.normal(jax.random.key(1), (V, V))
PROMPT = Prompt(jnp.array([[0], [3]]), jnp.array([1, 1]))
MODEL = models.table_model(V)


@functools.cache
def retrieve(width, constrain=True, renormalise=True):
  run = functools.partial(
    search.trie_beam_search,
    MODEL,
    word_length=M,
    width=width,
    constrain=constrain,
    renormalise=renormalise,
  )
  return jax.device_get(jax.jit(run)(TABLE, PROMPT, TRIE))


def log_prob(start, word, renormalise):
  """By the definition, without the trie."""
  total, before = 0.0, start
  for t, code in enumerate(word):
    weights = np.exp(np.asarray(TABLE[before], np.float64))
    same = np.all(WORDS[:, :t] == word[:t], axis=1)
    legal = sorted(set(WORDS[same, t])) if renormalise else range(V)
    total += np.log(weights[code] / weights[list(legal)].sum())
    before = code
  return total


@pytest.mark.parametrize('renormalise', [True, False])
def test_a_beam_as_wide_as_the_corpus_returns_all_with_exact_log_probs(
  renormalise,
):
  out = retrieve(ITEMS + 3, renormalise=renormalise)
  for start, items, words, log_probs in zip((0, 3), *out, strict=True):
    assert sorted(items[:ITEMS]) == list(range(ITEMS))
    np.testing.assert_array_equal(words[:ITEMS], WORDS[items[:ITEMS]])
    exact = [log_prob(start, WORDS[i], renormalise) for i in items[:ITEMS]]
    np.testing.assert_allclose(log_probs[:ITEMS], exact, atol=1e-5)
    assert np.all(np.diff(log_probs[:ITEMS]) <= 0)
    np.testing.assert_array_equal(items[ITEMS:], -1)
    np.testing.assert_array_equal(log_probs[ITEMS:], -np.inf)
    total = np.exp(log_probs).sum()
    assert abs(total - 1) < 1e-5 if renormalise else total < 0.5


def test_a_narrow_beam_keeps_the_best_beginnings():
  width = 4
  out = retrieve(width)
  for start, items, log_probs in zip((0, 3), out.items, out[2], strict=True):
    beams = [()]
    for t in range(1, M + 1):
      grown = {tuple(w[:t]) for w in WORDS if tuple(w[: t - 1]) in beams}
      # The probability of a beginning is that of all words that have it.
      mass = lambda beginning, t=t, start=start: sum(
        np.exp(log_prob(start, w, True))
        for w in WORDS
        if tuple(w[:t]) == beginning
      )
      beams = sorted(grown, key=mass, reverse=True)[:width]
    assert [tuple(WORDS[i]) for i in items] == beams
    exact = [log_prob(start, word, True) for word in beams]
    np.testing.assert_allclose(log_probs, exact, atol=1e-5)


def test_without_the_trie_all_words_come_and_the_illegal_are_told():
  out = retrieve(V**M, constrain=False)
  for row in range(2):
    assert len({tuple(word) for word in out.words[row]}) == V**M
    assert abs(np.exp(out.log_probs[row]).sum() - 1) < 1e-5
    assert np.sum(out.items[row] >= 0) == ITEMS
    legal = out.items[row] >= 0
    np.testing.assert_array_equal(
      out.words[row, legal], WORDS[out.items[row, legal]]
    )


@pytest.mark.slow
def test_log_probs_are_those_of_the_engine():
  """A transformer, whose memory must follow the beams."""
  config = models.TransformerConfig(V, 1, 8, 8, 2, 1, 4, max_length=16)
  model = models.transformer(config)
  params = jax.tree.map(lambda x: 3 * x, model.init(jax.random.key(2)))
  prompt = Prompt(jnp.array([[1, 2, 0], [4, 3, 3]]), jnp.array([2, 3]))

  @jax.jit
  def run(params):
    out = search.trie_beam_search(
      model, params, prompt, TRIE, M, 6, renormalise=False
    )
    state = sampling.prefill(model, params, prompt, 6, M)
    count = jnp.full((2, 6), M)
    scores = sampling.score(model, params, state, out.words, count)
    return out, jnp.sum(scores, axis=-1)

  out, expected = jax.device_get(run(params))
  np.testing.assert_allclose(out.log_probs, expected, atol=1e-4)
  assert np.all(out.items >= 0)
  assert np.ptp(out.log_probs) > 0.5


def test_a_trie_that_cannot_be_is_refused():
  with pytest.raises(ValueError, match=r'code 5 must lie in 0\.\.4'):
    search.build_trie(np.array([[0, 5]]), V)
  with pytest.raises(ValueError, match=r'items \[0, 2\] have the same word'):
    search.build_trie(np.array([[0, 1], [1, 1], [0, 1]]), V)
  trie = search.build_trie(np.array([[2, 1], [0, 1], [2, 0]]), 3)
  assert trie.next_node.tolist() == [
    [1, -1, 2],
    [-1, 3, -1],
    [4, 5, -1],
    [-1] * 3,
    [-1] * 3,
    [-1] * 3,
  ]
  assert trie.items.tolist() == [-1, -1, -1, 1, 2, 0]


def test_reranking_permutes_what_was_retrieved():
  items = jnp.array([[7, 3, 9, -1]])
  log_probs = jnp.log(jnp.array([[0.5, 0.3, 0.1, 0.0]]))
  relevance = jnp.array([[0.1, 0.8, 0.4, 1.0]])
  order = lambda alpha: search.rerank(items, log_probs, relevance, alpha)
  assert order(0.0).items.tolist() == [[3, 9, 7, -1]]
  assert order(1.0).items.tolist() == [[7, 3, 9, -1]]
  half = order(0.5)
  assert half.items.tolist() == [[3, 7, 9, -1]]
  expected = np.sqrt([0.3 * 0.8, 0.5 * 0.1, 0.1 * 0.4])
  np.testing.assert_allclose(np.exp(half.scores[0, :3]), expected, rtol=1e-5)
  assert half.scores[0, 3] == -jnp.inf
  flat = search.rerank(items, log_probs, jnp.zeros((1, 4)))
  np.testing.assert_array_equal(flat.items, items)
