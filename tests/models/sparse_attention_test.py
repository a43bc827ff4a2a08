"""Sparse decoding against dense decoding and against its own definition."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import models, sampling
from ttc.kernels import block_topk
from ttc.models import sparse_attention
from ttc.types import Prompt

CONFIG = models.TransformerConfig(
  vocab_size=23,
  num_layers=2,
  embed_dim=16,
  mlp_dim=32,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
)
RULES = {
  'mean_pool': block_topk.mean_pool,
  'moba': block_topk.moba,
  'quest': block_topk.quest,
  'nsa': block_topk.nsa,
  'oracle': block_topk.oracle,
  'lightning_indexer': block_topk.lightning_indexer,
  'sink_window': block_topk.sink_window,
  'random_blocks': block_topk.random_blocks,
}
B, N, P, T = 2, 3, 21, 27
PROMPT = Prompt(
  jax.random.randint(jax.random.key(1), (B, P), 0, 23), jnp.array([21, 10])
)
TOKENS = jax.random.randint(jax.random.key(2), (B, N, T), 0, 23)
PARAMS = jax.jit(models.transformer(CONFIG).init)(jax.random.key(0))
# Sharper than at initialisation, so that what is attended to matters.
PARAMS['layers'] = [
  {**layer, 'query': jax.tree.map(lambda x: 4 * x, layer['query'])}
  for layer in PARAMS['layers']
]

prefill = jax.jit(sampling.prefill, static_argnums=(0, 3, 4))
extend = jax.jit(sampling.extend, static_argnums=0)
fork = jax.jit(sampling.fork, static_argnums=0)
score = jax.jit(sampling.score, static_argnums=0)
score_stepwise = jax.jit(sampling.score_stepwise, static_argnums=0)
sample = jax.jit(sampling.sample, static_argnums=(0, 5))


def make(scan_layers=False, **kwargs):
  config = dataclasses.replace(CONFIG, scan_layers=scan_layers)
  params = PARAMS
  if scan_layers:
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *PARAMS['layers'])
    params = {**PARAMS, 'layers': stacked}
  attention = models.SparseAttention(**kwargs) if kwargs else None
  return models.transformer(config, attention), params


def draw(model, params):
  stop = sampling.stop_rules(23, [0])
  keys = jax.random.split(jax.random.key(4), B)
  state = prefill(model, params, PROMPT, N, T)
  return sample(model, params, keys, state, stop).generation


@functools.cache
def dense_samples():
  return draw(*make())


class SparseDecodingTest(parameterized.TestCase):
  def test_budget_of_the_context_is_dense(self):
    self.assert_dense('quest')

  @parameterized.parameters(sorted(RULES.keys() - {'quest', 'sink_window'}))
  @pytest.mark.slow
  def test_budget_of_the_context_is_dense_for_every_rule(self, rule):
    self.assert_dense(rule)

  def assert_dense(self, rule):
    model, params = make(
      rule=RULES[rule],
      block_size=16 if rule == 'nsa' else 4,
      budget=P + T,
      local=3,
    )
    dense = dense_samples()
    sparse = draw(model, params)
    np.testing.assert_array_equal(dense.tokens, sparse.tokens)
    np.testing.assert_allclose(dense.log_probs, sparse.log_probs, atol=2e-5)

  @pytest.mark.slow
  def test_refill_and_layers_by_scan(self):
    """Summaries survive slot refill, and scanned layers are the same ones."""
    kwargs = dict(block_size=4, budget=12, sink=1, local=2)
    model, params = make(True, **kwargs)
    stop = sampling.stop_rules(23, [0, 5, 9])
    keys = jax.random.split(jax.random.key(4), B)
    run = lambda rows: sample(
      model, params, keys, prefill(model, params, PROMPT, rows, T), stop, 6
    )
    one, two = run(6), run(2)
    np.testing.assert_array_equal(one.generation.tokens, two.generation.tokens)
    np.testing.assert_allclose(
      one.generation.log_probs, two.generation.log_probs, atol=2e-5
    )
    plain, _ = make(False, **kwargs)
    other = sample(
      plain, PARAMS, keys, prefill(plain, PARAMS, PROMPT, 6, T), stop, 6
    )
    np.testing.assert_array_equal(
      one.generation.tokens, other.generation.tokens
    )

  def test_a_cut_row_goes_on_as_if_never_longer(self):
    model, params = make(
      rule=block_topk.quest, block_size=4, budget=12, local=2
    )
    begin = prefill(model, params, PROMPT, N, T)
    lengths = jnp.array([[13, 6, 1], [8, 0, 11]])
    long = extend(model, params, begin, TOKENS[..., :20], jnp.full((B, N), 20))
    cut = fork(model, long, jnp.tile(jnp.arange(N), (B, 1)), lengths)
    short = extend(model, params, begin, TOKENS[..., :20], lengths)
    follow, count = TOKENS[..., 20:], jnp.full((B, N), 6)
    one = score_stepwise(model, params, cut, follow[..., :6], count)
    two = score_stepwise(model, params, short, follow[..., :6], count)
    np.testing.assert_allclose(one, two, atol=2e-6)

  def test_idle_rows_keep_their_summaries(self):
    model, params = make(block_size=4, budget=12, local=2)
    state = prefill(model, params, PROMPT, N, T)
    tokens, some = TOKENS[..., :9], jnp.full((B, N), 9)
    state = extend(model, params, state, tokens, some)
    idle = extend(model, params, state, tokens[..., :1], jnp.zeros_like(some))
    for one, two in zip(
      jax.tree.leaves(state), jax.tree.leaves(idle), strict=True
    ):
      np.testing.assert_array_equal(one, two)

  def test_what_is_not_chosen_does_not_matter(self):
    """Sink and window only: the middle of the prompt may be anything."""
    # One layer, so that no other token carries the news of the changed one.
    one_layer = models.transformer(
      dataclasses.replace(CONFIG, num_layers=1),
      models.SparseAttention(
        block_topk.sink_window, 4, 12, sink=4, local=5, dense_layers=()
      ),
    )
    params = {**PARAMS, 'layers': PARAMS['layers'][:1]}
    changed = PROMPT.tokens.at[:, 6].set(22 - PROMPT.tokens[:, 6])
    results = []
    for tokens in (PROMPT.tokens, changed, PROMPT.tokens.at[:, 2].add(1) % 23):
      prompt = Prompt(tokens, PROMPT.lengths)
      state = prefill(one_layer, params, prompt, N, T)
      state = extend(
        one_layer, params, state, TOKENS[..., :9], jnp.full((B, N), 9)
      )
      ones = jnp.ones((B, N), jnp.int32)
      results.append(
        score(one_layer, params, state, TOKENS[..., 9:10], ones)[..., 0]
      )
    np.testing.assert_array_equal(results[0], results[1])
    self.assertGreater(np.abs(results[0] - results[2]).min(), 0)

  def test_equals_attention_to_the_chosen_tokens(self):
    """Against a literal definition in float64, with all rows different."""
    K, G, D, size = 2, 2, 8, 4
    rng = np.random.default_rng(0)
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
    attention = models.SparseAttention(
      block_size=size, budget=12, sink=2, local=3
    )
    prompt_lengths, lengths = np.array([21, 10]), np.array([[1, 8, 17]] * B)
    query = 3 * normal(B, N, K, G, D)
    prefix = [normal(B, K, P, D), normal(B, K, P, D)]
    suffix = [normal(B, N, K, 28, D), normal(B, N, K, 28, D)]
    pool = jax.jit(block_topk.pool_keys, static_argnums=2)
    for mode in ('sparse', 'dense'):
      got = jax.jit(sparse_attention.attend_sparsely, static_argnums=0)(
        dataclasses.replace(attention, prefix=mode),
        query,
        sparse_attention.Summarised(
          *prefix, pool(prefix[0], prompt_lengths[:, None], size)
        ),
        prompt_lengths,
        sparse_attention.Summarised(
          *suffix, pool(suffix[0], lengths[..., None], size)
        ),
        lengths,
      )
      for b, n, k in np.ndindex(B, N, K):
        parts = [prefix[0][b, k, : prompt_lengths[b]]]
        parts.append(suffix[0][b, n, k, : lengths[b, n]])
        values = [prefix[1][b, k, : prompt_lengths[b]]]
        values.append(suffix[1][b, n, k, : lengths[b, n]])
        total = sum(map(len, parts))
        blocks, begin = [], 0  # token positions of each block
        for i, part in enumerate(parts):
          if i or mode == 'sparse':
            blocks += [
              begin + np.arange(s, min(s + size, len(part)))
              for s in range(0, len(part), size)
            ]
          begin += len(part)
        keys, values = np.concatenate(parts), np.concatenate(values)
        mean_query = query[b, n, k].mean(0)
        scores = [
          np.inf
          if t[0] < 2 or t[-1] >= total - 3
          else mean_query @ keys[t].mean(0)
          for t in blocks
        ]
        best = np.argsort(scores)[::-1][: attention.num_blocks]
        read = np.concatenate([blocks[i] for i in best])
        if mode == 'dense':
          read = np.concatenate([np.arange(prompt_lengths[b]), read])
        for g in range(G):
          weights = np.exp(
            np.float64(query[b, n, k, g] @ keys[read].T) / D**0.5
          )
          want = weights @ values[read] / weights.sum()
          np.testing.assert_allclose(got[b, n, k, g], want, atol=1e-5)


class SparseAttentionConfigTest(absltest.TestCase):
  def test_values_that_mean_nothing(self):
    for kwargs, message in (
      (dict(block_size=0), 'block_size=0 must be at least 1'),
      (dict(local=0), 'local=0 must be at least 1'),
      (dict(budget=16, local=64), 'budget=16 is less than'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        models.SparseAttention(**kwargs)
    windowed = dataclasses.replace(CONFIG, sliding_window=4)
    with self.assertRaisesRegex(ValueError, 'sliding_window=4'):
      models.transformer(windowed, models.block_topk())

  def test_equal_choices_are_one_model(self):
    self.assertIs(
      models.transformer(CONFIG, models.block_topk(budget=64)),
      models.transformer(CONFIG, models.block_topk(budget=64)),
    )


if __name__ == '__main__':
  absltest.main()
