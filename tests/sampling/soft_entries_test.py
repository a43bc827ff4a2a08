"""Rows that hold input embeddings: extend, fork, score and sample."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling
from ttc.types import Prompt

B, R, T, CAPACITY = 2, 3, 4, 10
PROMPT = Prompt(
  jax.random.randint(jax.random.key(1), (B, 5), 0, 23), jnp.array([5, 2])
)
TOKENS = jax.random.randint(jax.random.key(2), (B, R, T), 0, 23)
COUNTS = jnp.array([[4, 0, 2], [1, 3, 4]])
FOLLOW = jax.random.randint(jax.random.key(3), (B, R, T), 0, 23)
THREE = jnp.full((B, R), 3, jnp.int32)
STOP = sampling.stop_rules(23, [0])

prefill = jax.jit(sampling.prefill, static_argnums=(0, 3, 4))
extend = jax.jit(sampling.extend, static_argnums=0)
fork = jax.jit(sampling.fork, static_argnums=0)
score = jax.jit(sampling.score, static_argnums=0)
sample = jax.jit(sampling.sample, static_argnums=0)


@functools.partial(jax.jit, static_argnums=0)
def embedded_forward(model, params, whole):
  zeros = jnp.zeros((1, 1), jnp.int32)
  cache = models.Cache(None, zeros[0], None, zeros)
  features, _ = model.features(
    params, whole[None, None], zeros + len(whole), cache
  )
  return model.logits(params, features[0, 0])


@functools.cache
def make(scan_layers=False):
  model = models.transformer(
    models.TransformerConfig(
      vocab_size=23,
      num_layers=2 if scan_layers else 1,
      embed_dim=16,
      mlp_dim=16,
      num_heads=2,
      num_kv_heads=1,
      head_dim=8,
      scan_layers=scan_layers,
    )
  )
  return model, jax.jit(model.init)(jax.random.key(0))


def begin(model, params, soft, counts):
  """Rows that begin with the first `counts` of some embeddings."""
  state = prefill(model, params, PROMPT, R, CAPACITY)
  return extend(model, params, state, soft, counts)


def begin_with_tokens(model, params):
  """Rows that begin with the tokens, and could hold embeddings."""
  none = jnp.zeros((B, R, T, 16))
  state = begin(model, params, none, jnp.zeros_like(COUNTS))
  return extend(model, params, state, TOKENS, COUNTS)


@pytest.mark.parametrize(
  'scan_layers', [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_embeddings_of_tokens_are_the_tokens(scan_layers):
  model, params = make(scan_layers)
  embedded = models.embed(model, params, TOKENS)
  by_token = begin_with_tokens(model, params)
  by_embedding = begin(model, params, embedded, COUNTS)
  np.testing.assert_array_equal(by_embedding.lengths, by_token.lengths)
  assert not np.any(by_embedding.tokens)
  np.testing.assert_allclose(
    score(model, params, by_embedding, FOLLOW, THREE),
    score(model, params, by_token, FOLLOW, THREE),
    atol=1e-5,
  )
  keys = jax.random.split(jax.random.key(4), B)
  got, want = (
    sample(model, params, keys, state, STOP)
    for state in (by_embedding, by_token)
  )
  np.testing.assert_array_equal(got.generation.tokens, want.generation.tokens)
  np.testing.assert_allclose(
    got.generation.log_probs, want.generation.log_probs, atol=1e-5
  )
  # Entries are counted, and are no part of the responses.
  assert int(got.counters.soft_entries) == int(COUNTS.sum())
  assert int(want.counters.soft_entries) == 0
  assert int(got.counters.tokens) == int(want.counters.tokens)
  assert int(got.counters.row_steps) == int(want.counters.row_steps)


def test_rows_may_be_cut_inside_and_written_over():
  model, params = make()
  embed = functools.partial(models.embed, model, params)
  parents = jnp.array([[2, 0, 0], [1, 2, 2]])
  cut = jnp.array([[1, 3, 9], [2, 0, 4]])

  def go_on(state, last):
    state = fork(model, state, parents, cut)
    state = extend(model, params, state, last, THREE)
    return state, score(model, params, state, FOLLOW, THREE)

  _, want = go_on(begin_with_tokens(model, params), FOLLOW)
  soft = begin(model, params, embed(TOKENS), COUNTS)
  state, got = go_on(soft, FOLLOW)
  np.testing.assert_allclose(got, want, atol=1e-5)
  # What is soft are the entries that were kept, none of the tokens.
  kept = np.minimum(np.take_along_axis(COUNTS, parents, 1), cut)
  np.testing.assert_array_equal(state.soft.is_soft.sum(-1), kept)
  behind = np.arange(CAPACITY) - kept[..., None]
  np.testing.assert_array_equal(
    np.asarray(state.tokens)[(behind >= 0) & (behind < 3)],
    np.asarray(FOLLOW)[..., :3].ravel(),
  )
  # And embeddings behind embeddings, after the cut.
  _, got = go_on(soft, embed(FOLLOW))
  np.testing.assert_allclose(got, want, atol=1e-5)


def test_embeddings_of_no_token_are_one_forward_pass():
  model, params = make()
  embed = functools.partial(models.embed, model, params)
  soft = jax.random.normal(jax.random.key(5), (B, R, T, 16))
  state = begin(model, params, soft, COUNTS)
  got = score(model, params, state, FOLLOW, THREE)
  for b, r in [(0, 0), (1, 1)]:
    prompt = PROMPT.tokens[b, : PROMPT.lengths[b]]
    parts = embed(prompt), soft[b, r, : COUNTS[b, r]], embed(FOLLOW[b, r])
    whole = jnp.concatenate(parts)
    whole = jnp.pad(whole, ((0, 16 - len(whole)), (0, 0)))
    logits = jax.nn.log_softmax(embedded_forward(model, params, whole))
    at = len(prompt) + COUNTS[b, r] - 1 + np.arange(3)
    want = logits[at, FOLLOW[b, r, :3]]
    np.testing.assert_allclose(got[b, r, :3], want, atol=1e-5)


def test_models_that_read_ids_refuse():
  table = models.table_model(23)
  weights = jnp.zeros((23, 23))
  with pytest.raises(ValueError, match='token ids only'):
    models.embed(table, weights, TOKENS)
  state = prefill(table, weights, PROMPT, R, CAPACITY)
  soft = jnp.zeros((B, R, T, 16))
  with pytest.raises(ValueError, match='token ids only'):
    extend(table, weights, state, soft, COUNTS)


def test_speculation_refuses():
  model, params = make()
  state = prefill(model, params, PROMPT, R, CAPACITY)
  soft = begin(model, params, jnp.zeros((B, R, T, 16)), COUNTS)
  keys = jax.random.split(jax.random.key(0), B)
  with pytest.raises(ValueError, match='embeddings in place of tokens'):
    sampling.speculative_sample(
      model, model, params, params, keys, soft, state, STOP, num_drafted=2
    )
