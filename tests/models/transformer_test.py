import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import models
from ttc.models import rope
from ttc.types import Prompt

TINY = models.TransformerConfig(
  vocab_size=29,
  num_layers=2,
  embed_dim=16,
  mlp_dim=24,
  num_heads=4,
  num_kv_heads=2,
  head_dim=6,
)
EVERYTHING = {
  'qkv_bias': True,
  'qk_norm': True,
  'tie_embeddings': False,
  'sliding_window': 3,
  'windowed_layers': (1,),
  'rope_scaling': models.Llama3Scaling(original_length=16),
}
GEMMA = {
  'activation': 'gelu_tanh',
  'norm_plus_one': True,
  'post_norm': True,
  'embed_scale': 4.0,
  'attention_scale': 0.3,
  'attention_softcap': 2.0,
  'final_softcap': 5.0,
  'sliding_window': 3,
  'windowed_layers': (0,),
  'windowed_theta': 50.0,
  'rope_scaling': models.YarnScaling(4.0, 4),
}
OTHERS = {
  'pre_norm': False,
  'post_norm': True,
  'full_qk_norm': True,
  'rotary_dim': 4,
  'rotary_layers': (1,),
  'residual_scale': 0.5,
  'logits_divisor': 3.0,
  'rope_scaling': models.LongRopeScaling((1.0, 2.0), (2.0, 8.0), 9, 1.5),
}


def make(seed=0, **changes):
  config = dataclasses.replace(TINY, **changes)
  model = models.transformer(config)
  # Biases and norms are not left at what they are initialised to.
  rng = np.random.default_rng(seed)
  params = jax.tree.map(
    lambda leaf: np.asarray(0.6 * rng.normal(size=leaf.shape), leaf.dtype),
    jax.eval_shape(model.init, jax.random.key(0)),
  )
  return config, model, jax.device_put(params)


EMPTY = models.Cache(
  None, np.zeros(2, np.int32), None, np.zeros((2, 1), np.int32)
)


def textbook(config, params, tokens):
  """Features of one sequence, token by token and head by head."""
  c, x = config, np.asarray(params['embed'], np.float64)[tokens]
  x = x * (c.embed_scale or 1)
  num_tokens, group = len(tokens), c.num_heads // c.num_kv_heads
  scale = c.attention_scale or 1 / np.sqrt(c.head_dim)
  cap = lambda y: c.attention_softcap * np.tanh(y / c.attention_softcap)

  def heads_of(linear):
    return linear['kernel'].reshape(-1, c.head_dim, c.embed_dim)

  def norm(x, scale, has=True):
    if not has:
      return x
    rms = np.sqrt((x**2).mean(-1, keepdims=True) + c.norm_eps)
    return x / rms * (scale['scale'] + c.norm_plus_one)

  def turn(x, i):
    dim = c.rotary_dim or c.head_dim
    if not c.rotary or (c.rotary_layers and i not in c.rotary_layers):
      return x
    if c.windowed_theta and i in c.windowed_layers:
      frequency, factor = rope.frequencies(dim, c.windowed_theta), 1
    else:
      scaling = c.rope_scaling
      frequency = rope.frequencies(dim, c.rope_theta, scaling, c.max_length)
      factor = rope.attention_factor(scaling) or 1
    turns = np.arange(num_tokens)[:, None] * np.asarray(frequency, np.float64)
    first, second = np.split(x[:, :dim], 2, axis=-1)
    turned = (first + 1j * second) * np.exp(1j * turns) * factor
    return np.concatenate([turned.real, turned.imag, x[:, dim:]], axis=-1)

  def activation(x):
    if c.activation == 'silu':
      return x / (1 + np.exp(-x))
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

  for i, p in enumerate(params['layers']):
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), p)
    h = norm(x, p.get('attention_norm'), c.pre_norm)
    q, k, v = (h @ p[name]['kernel'].T for name in ('query', 'key', 'value'))
    q = norm(q, p.get('query_norm'), c.full_qk_norm)
    k = norm(k, p.get('key_norm'), c.full_qk_norm)
    q, k, v = (y.reshape(num_tokens, -1, c.head_dim) for y in (q, k, v))
    outputs = []
    for head in range(c.num_heads):
      of_q = turn(q[:, head], i)
      of_k, of_v = turn(k[:, head // group], i), v[:, head // group]
      rows = []
      for t in range(num_tokens):
        seen = np.arange(t + 1 if c.causal else num_tokens)
        if c.sliding_window and i in c.windowed_layers:
          seen = seen[seen > t - c.sliding_window]
        logits = of_k[seen] @ of_q[t] * scale
        logits *= np.log(len(seen)) if c.log_length_scale else 1
        weights = np.exp(cap(logits) if c.attention_softcap else logits)
        rows.append(weights @ of_v[seen] / weights.sum())
      outputs.append(np.stack(rows))
    y = np.concatenate(outputs, axis=-1) @ p['output']['kernel'].T
    y = norm(y, p.get('attention_post_norm'), c.post_norm)
    x = x + c.residual_scale * y
    h = norm(x, p.get('mlp_norm'), c.pre_norm)
    gate = h @ p['gate']['kernel'].T
    up = h @ p['up']['kernel'].T
    y = (activation(gate) * up) @ p['down']['kernel'].T
    y = norm(y, p.get('mlp_post_norm'), c.post_norm)
    x = x + c.residual_scale * y
  return norm(x, {'scale': np.asarray(params['final_norm'], np.float64)})


forward = jax.jit(models.forward, static_argnums=0)
encode_prompt = jax.jit(models.encode_prompt, static_argnums=0)


def random_tokens(*shape, seed=7):
  rng = np.random.default_rng(seed)
  return rng.integers(TINY.vocab_size, size=shape, dtype=np.int32)


def stacked(params):
  layers = jax.tree.map(lambda *leaves: np.stack(leaves), *params['layers'])
  return params | {'layers': layers}


class TransformerTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('everything', EVERYTHING),
    ('gemma', GEMMA),
    ('others_scanned', OTHERS | {'scan_layers': True}),
  )
  def test_incremental_equals_full(self, changes):
    self.assert_incremental(changes)

  @parameterized.named_parameters(
    ('llama', {}),
    ('interleaved', {'rope_interleaved': True}),
    ('everything_scanned', EVERYTHING | {'scan_layers': True}),
  )
  @pytest.mark.slow
  def test_incremental_equals_full_too(self, changes):
    self.assert_incremental(changes)

  def assert_incremental(self, changes):
    _, model, params = make(**changes)
    B, N, P, T = 2, 3, 5, 6
    prompt_lengths = np.array([5, 2])
    prompt = Prompt(random_tokens(B, P), prompt_lengths)
    response = random_tokens(B, N, T, seed=8)

    # The same rows in one piece; what stands behind the end is not seen.
    rows = np.zeros((B, N, P + T), np.int32)
    for b, n in np.ndindex(B, N):
      real = prompt.tokens[b, : prompt_lengths[b]]
      rows[b, n, : real.size + T] = np.concatenate([real, response[b, n]])
    whole = forward(model, params, np.asarray(rows.reshape(B * N, P + T)))
    whole = np.asarray(whole).reshape(B, N, P + T, TINY.vocab_size)

    prefix, logits = encode_prompt(model, params, prompt)
    np.testing.assert_allclose(
      logits, whole[np.arange(B), 0, prompt_lengths - 1], atol=1e-4
    )
    # One token, then three of which rows take two or three, then the rest.
    cache = models.Cache(
      prefix,
      jnp.asarray(prompt_lengths),
      model.make_suffix(B, N, T + 2),
      np.zeros((B, N), np.int32),
    )
    taken = np.zeros((B, N), np.int32)
    step = jax.jit(model.features)
    for count in (
      [[1, 1, 1], [1, 1, 1]],
      [[2, 3, 2], [3, 3, 2]],
      [[3, 2, 3], [2, 2, 3]],
    ):
      count, size = np.array(count), np.max(count)
      index = np.minimum(taken[..., None] + np.arange(size), T - 1)
      tokens = np.take_along_axis(response, index, axis=-1)
      features, cache = step(params, tokens, count, cache)
      got = model.logits(params, features)
      position = prompt_lengths[:, None, None] + taken[..., None]
      position = np.minimum(position + np.arange(size), P + T - 1)
      expected = np.take_along_axis(whole, position[..., None], axis=2)
      counts = (np.arange(size) < count[..., None])[..., None]
      np.testing.assert_allclose(
        np.where(counts, got, 0), np.where(counts, expected, 0), atol=1e-4
      )
      taken += count
    np.testing.assert_array_equal(cache.suffix_lengths, T)

  @parameterized.named_parameters(
    ('llama', {}),
    ('everything', EVERYTHING),
    ('gemma', GEMMA),
    ('others', OTHERS),
  )
  def test_scanned_equals_unrolled(self, changes):
    _, model, params = make(**changes)
    _, scanned, shapes = make(**changes, scan_layers=True)
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes, stacked(params))
    tokens = random_tokens(2, 9)
    np.testing.assert_allclose(
      forward(scanned, stacked(params), tokens),
      forward(model, params, tokens),
      atol=1e-4,
    )

  @parameterized.parameters(False, True)
  def test_padding_of_prompts_is_ignored(self, scan_layers):
    _, model, params = make(scan_layers=scan_layers)
    tokens, lengths = random_tokens(3, 8), np.array([8, 5, 1])
    padding = np.arange(8) >= lengths[:, None]
    other = np.where(padding, random_tokens(3, 8, seed=9), tokens)
    run = lambda tokens: encode_prompt(model, params, Prompt(tokens, lengths))
    np.testing.assert_array_equal(run(tokens)[1], run(other)[1])
    wider = np.pad(tokens, ((0, 0), (0, 4)))
    np.testing.assert_allclose(run(tokens)[1], run(wider)[1], atol=1e-5)

  def test_is_causal(self):
    _, model, params = make()
    tokens = random_tokens(1, 9)
    changed = np.array(tokens)
    changed[0, 5] ^= 1
    before = np.asarray(forward(model, params, tokens))
    after = np.asarray(forward(model, params, changed))
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    self.assertTrue(
      np.all(np.any(np.not_equal(before[:, 5:], after[:, 5:]), axis=-1))
    )

  def test_window_limits_what_is_seen(self):
    # Through L layers a window of w reaches (w - 1) L tokens back, not further.
    _, model, params = make(sliding_window=3)
    reach = (3 - 1) * TINY.num_layers
    tokens = random_tokens(1, reach + 4)
    changed = np.array(tokens)
    changed[0, 1] ^= 1
    before = np.asarray(forward(model, params, tokens)[0])
    after = np.asarray(forward(model, params, changed)[0])
    np.testing.assert_array_equal(before[reach + 2 :], after[reach + 2 :])
    self.assertTrue(np.any(np.not_equal(before[reach + 1], after[reach + 1])))

  def test_window_longer_than_the_text_changes_nothing(self):
    _, model, params = make()
    _, windowed, _ = make(sliding_window=9)
    tokens = random_tokens(2, 9)
    np.testing.assert_allclose(
      forward(model, params, tokens),
      forward(windowed, params, tokens),
      atol=1e-5,
    )

  def test_rows_beyond_num_tokens_are_written_nowhere(self):
    _, model, params = make()
    suffix = model.make_suffix(1, 2, 4)
    cache = models.Cache(
      None, np.zeros(1, np.int32), suffix, np.array([[4, 1]])
    )
    _, cache = jax.jit(model.features)(
      params, random_tokens(1, 2, 2), np.array([[0, 1]]), cache
    )
    np.testing.assert_array_equal(cache.suffix_lengths, [[4, 2]])
    for segment in cache.suffix:
      written = np.any(np.asarray(segment.k[0]) != 0, axis=(1, 3))  # [N, S]
      expected = [[False] * 4, [False, True, False, False]]
      np.testing.assert_array_equal(written, expected)

  def test_bfloat16_is_near_float32(self):
    _, model, params = make()
    _, half, _ = make(dtype='bfloat16')
    rounded = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), params)
    tokens = random_tokens(1, 6)
    got = forward(half, rounded, tokens)
    self.assertEqual(got.dtype, jnp.float32)
    expected = forward(model, params, tokens)
    # 8 bits of mantissa through 2 layers, against logits of order 10.
    self.assertLess(jnp.mean(jnp.abs(got - expected)), 0.3)

  def test_gradient_is_finite_and_reaches_every_parameter(self):
    _, model, params = make(qkv_bias=True, qk_norm=True, tie_embeddings=False)
    tokens = random_tokens(2, 6)

    def loss(params):
      log_probs = jax.nn.log_softmax(forward(model, params, tokens))
      return -jnp.mean(
        jnp.take_along_axis(log_probs[:, :-1], tokens[:, 1:, None], axis=-1)
      )

    gradient = jax.jit(jax.grad(loss))(params)
    chex.assert_tree_all_finite(gradient)
    for layer in gradient['layers']:
      layer['key'].pop('bias')  # moves all logits of a query alike, up to rope
    for leaf in jax.tree.leaves(gradient):
      self.assertGreater(jnp.max(jnp.abs(leaf)), 1e-6)

  @parameterized.parameters(
    {'rotary': False},
    {'log_length_scale': True},
    {'rotary': False, 'causal': False},
    {'rotary': False, 'causal': False, 'log_length_scale': True},
    {'causal': False, 'many_rows': True, 'scan_layers': True},
    GEMMA,
    OTHERS,
    OTHERS | {'max_length': 9, 'scan_layers': True},
    {'causal': False, 'attention_softcap': 1.0},
  )
  def test_is_the_textbooks(self, **changes):
    config, model, params = make(**changes)
    tokens, lengths = random_tokens(2, 7), np.array([7, 4])
    features, _ = jax.jit(model.features)(
      params, tokens[:, None], lengths[:, None], EMPTY
    )
    if config.scan_layers:
      at = lambda i: jax.tree.map(lambda leaf: leaf[i], params['layers'])
      params = params | {'layers': [at(i) for i in range(config.num_layers)]}
    for row, got, n in zip(tokens, features[:, 0], lengths, strict=True):
      expected = textbook(config, params, row[:n])
      np.testing.assert_allclose(got[:n], expected, atol=2e-4)

  def test_reads_sets_without_positions_and_mask(self):
    _, model, params = make(rotary=False, causal=False)
    tokens, order = random_tokens(1, 8), np.random.default_rng(0).permutation(8)
    run = lambda x: forward(model, params, x)[0]
    np.testing.assert_allclose(
      run(tokens[:, order]), run(tokens)[order], atol=1e-4
    )

  def test_a_set_is_read_in_one_piece(self):
    _, model, params = make(causal=False)
    cache = EMPTY._replace(suffix=model.make_suffix(2, 1, 4))
    with self.assertRaisesRegex(ValueError, 'causal=False reads whole'):
      jax.jit(model.features)(
        params, random_tokens(2, 1, 1), np.ones((2, 1), np.int32), cache
      )
    with self.assertRaisesRegex(ValueError, 'sliding_window=3 needs causal'):
      dataclasses.replace(TINY, causal=False, sliding_window=3)

  def test_logits_are_divided_and_capped(self):
    _, plain, params = make()
    _, capped, _ = make(logits_divisor=2.0, final_softcap=30.0)
    features = jax.random.normal(jax.random.key(0), (5, TINY.embed_dim))
    expected = plain.logits(params, features) / 2
    got = capped.logits(params, features)
    np.testing.assert_allclose(got, 30 * np.tanh(expected / 30), rtol=1e-5)

  def test_embeddings_in_place_of_tokens_are_scaled_already(self):
    _, model, params = make(embed_scale=4.0)
    tokens = random_tokens(2, 5)
    tokens = jnp.asarray(tokens)
    embedded = models.embed(model, params, tokens)
    np.testing.assert_array_equal(embedded, 4 * params['embed'][tokens])
    run = jax.jit(models.read, static_argnums=0)
    np.testing.assert_array_equal(
      run(model, params, embedded), run(model, params, tokens)
    )

  def test_what_goes_with_nothing_else_is_refused(self):
    attention = models.block_topk(budget=64)
    for changes, says in (
      ({'attention_softcap': 5.0}, 'no soft-cap; the config has attention_s'),
      ({'sliding_window': 5}, 'its own window'),
    ):
      config = dataclasses.replace(TINY, **changes)
      with self.assertRaisesRegex(ValueError, says):
        models.transformer(config, attention=attention)
    for changes, says in (
      ({'rotary_dim': 5}, 'rotary_dim=5 is not an even number of the 6'),
      ({'rotary_dim': 8}, 'rotary_dim=8 is not an even'),
      ({'rotary_layers': (2,)}, r'rotary_layers=\(2,\) must be ascending'),
      (
        {'sliding_window': 3, 'windowed_layers': (1, 0)},
        r'windowed_layers=\(1, 0\) must be ascending layers of the 2',
      ),
      (
        {'rope_scaling': models.YarnScaling(2.0, 64), 'rope_theta': 1.0},
        'rope_theta=1.0 cannot be scaled by yarn',
      ),
      ({'windowed_theta': 5.0}, 'windowed_theta needs sliding_window'),
      ({'pre_norm': False}, 'pre_norm=False needs post_norm=True'),
      ({'activation': 'relu'}, "activation='relu' is not 'silu' or 'gelu_t"),
      ({'rope_scaling': OTHERS['rope_scaling']}, '2 divisors .* the 3 pairs'),
    ):
      with self.assertRaisesRegex(ValueError, says):
        dataclasses.replace(TINY, **changes)

  def test_num_params_of_smollm2(self):
    config = models.TransformerConfig(
      vocab_size=49152,
      num_layers=30,
      embed_dim=576,
      mlp_dim=1536,
      num_heads=9,
      num_kv_heads=3,
      head_dim=64,
      scan_layers=True,
    )
    shapes = jax.eval_shape(models.transformer(config).init, jax.random.key(0))
    self.assertEqual(models.num_params(shapes), 134_515_008)

  def test_impossible_shapes_are_refused(self):
    with self.assertRaisesRegex(ValueError, 'num_heads=4 is not a multiple'):
      dataclasses.replace(TINY, num_kv_heads=3)
    with self.assertRaisesRegex(ValueError, 'head_dim=5 is odd'):
      dataclasses.replace(TINY, head_dim=5)


if __name__ == '__main__':
  absltest.main()
