"""Kernels in int8: numbers, products, and the transformer on top of them."""

import dataclasses
import functools
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from configs import smollm2_arithmetic
from ttc import finetuning, models, sampling
from ttc.drivers import draw_samples, options
from ttc.drivers.evaluate_options import EvaluateOptions
from ttc.models import int8, layers
from ttc.types import Prompt

CONFIG = models.TransformerConfig(
  vocab_size=50, num_layers=2, embed_dim=16, mlp_dim=24, num_heads=4,
  num_kv_heads=2, head_dim=4, max_length=64,
)  # fmt: skip
matmul = jax.jit(layers.matmul)
quantize = jax.jit(models.quantize, static_argnums=1)
quantize_kernel = jax.jit(int8.quantize_kernel, static_argnums=1)
dequantize = jax.jit(models.dequantize)
KINDS = ('int8', 'w8a8')
ONE_QUICKLY = ('w8a8', pytest.param('int8', marks=pytest.mark.slow))
# The worked example: a row with its codes by hand.
KERNEL = jnp.array([[0.5, -1, 0.25, 0.75], [0.02, 0.01, -0.03, 0.04]])
CODES = np.array([[64, -127, 32, 95], [63, 32, -95, 127]])
X = jnp.array([1.0, -2, 3, 0.5])


@functools.cache
def params_of(scan_layers=False):
  config = dataclasses.replace(CONFIG, scan_layers=scan_layers)
  return jax.jit(models.transformer(config).init)(jax.random.key(0))


def model_of(kind, **changes):
  config = dataclasses.replace(CONFIG, quantization=kind, **changes)
  return models.transformer(config)


def normal(seed, *shape):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), 'float32')


def equal(tree, other):
  jax.tree.map(np.testing.assert_array_equal, tree, other)
  assert jax.tree.structure(tree) == jax.tree.structure(other)


def test_the_worked_example():
  q = quantize_kernel(KERNEL, 'int8')
  scale = jnp.array([0.007874016, 0.0003149606])
  np.testing.assert_allclose(q.scale, scale, rtol=1e-6)
  off = np.abs(q.values - CODES)  # one is half-way
  assert np.max(off) <= 1 and np.argwhere(off).tolist() in ([], [[1, 0]])
  got = matmul(models.W8A8Kernel(jnp.asarray(CODES, jnp.int8), scale), X)
  np.testing.assert_allclose(got, [3.634819, -0.07047182], rtol=1e-6)


def test_no_weight_is_off_by_more_than_half_a_step():
  kernel = normal(0, 3, 20, 37) * jnp.exp(normal(1, 3, 20, 1))
  q = quantize_kernel(kernel.at[1, 4].set(0.0), 'int8')
  error = jnp.abs(dequantize(q) - kernel.at[1, 4].set(0.0))
  assert np.all(error <= 0.5001 * q.scale[..., None])
  assert np.max(error / q.scale[..., None]) > 0.45  # and steps are no smaller
  assert q.scale[1, 4] == 1.0 and np.all(q.values[1, 4] == 0)
  assert np.all(np.max(np.abs(q.values), -1)[q.scale != 1.0] == 127)


def test_what_can_be_said_is_said_exactly():
  values = np.random.default_rng(0).integers(-127, 128, (6, 30))
  values[:, 0] = 127
  scale = 2.0 ** np.arange(-3, 3)
  q = quantize_kernel(jnp.asarray(values * scale[:, None], 'float32'), 'int8')
  np.testing.assert_array_equal(q.values, values)
  np.testing.assert_allclose(q.scale, scale, rtol=1e-6)


@pytest.mark.parametrize('rows', [(), (1,), (1, 1, 1), (5,), (2, 3, 4)])
def test_products_are_those_of_whole_numbers(rows):
  rng = np.random.default_rng(1)
  values = rng.integers(-127, 128, (9, 33)).astype(np.int8)
  x = rng.integers(-126, 127, (*rows, 33))
  x[..., 0] = 127  # so a row's scale is 1
  scale = rng.uniform(0.5, 2, 9).astype(np.float32)
  wanted = x @ values.T.astype(int) * scale
  for kind in (models.Int8Kernel, models.W8A8Kernel):
    got = matmul(kind(jnp.asarray(values), scale), x.astype('float32'))
    assert got.dtype == jnp.float32 and got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=2e-7, atol=1e-3)


def test_inputs_have_one_digit_or_two():
  x = normal(2, 200, 64)
  (one,), scale = int8.digits(x, 1)
  (first, second), again = int8.digits(x, 2)
  np.testing.assert_array_equal(one, first)
  np.testing.assert_array_equal(scale, again)
  top = np.max(np.abs(x), -1, keepdims=True)
  error = np.abs(x - scale[:, None] * one)
  assert 0.45 < np.max(error * 254 / top) <= 0.5001 * 2
  wide = np.asarray(first, np.float64) + np.asarray(second) / 254
  error = np.abs(x - scale[:, None] * wide) / top
  assert 0.9 < np.max(error) * 64516 <= 1.02


def test_only_weights_is_nearly_the_product_with_floats():
  kernel = quantize_kernel(normal(3, 40, 64), 'int8')
  x = normal(4, 7, 64)
  wanted = x @ dequantize(kernel).T
  near = np.abs(matmul(kernel, x) - wanted)
  assert np.max(near) < 2e-3
  far = np.abs(matmul(models.W8A8Kernel(*kernel), x) - wanted)
  assert 1e-2 < np.max(far) < 0.5
  inside = int8._inside(kernel.values, x) * kernel.scale  # on other devices
  np.testing.assert_allclose(inside, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize('platform', ['cpu', 'cuda', 'tpu'])
def test_each_platform_has_its_form(platform):
  kernel, x = quantize_kernel(KERNEL, 'int8'), jnp.ones((3, 4), 'bfloat16')

  def product(kernel):
    lowered = matmul.trace(kernel, x).lower(lowering_platforms=(platform,))
    lines = [y for y in lowered.as_text().splitlines() if 'dot_general' in y]
    return lines[0].split(' : ')[-1], len(lines)

  floats = '(tensor<3x4xbf16>, tensor<2x4xbf16>) -> tensor<3x2xf32>', 1
  whole = '(tensor<{0}x4xi8>, tensor<2x4xi8>) -> tensor<{0}x2xi32>'
  cpu = whole.format(6), 1
  assert product(kernel) == (cpu if platform == 'cpu' else floats)
  assert product(models.W8A8Kernel(*kernel)) == (whole.format(3), 1)


@pytest.mark.parametrize('kind', KINDS)
def test_channels_and_rows_scale(kind):
  kernel, x = normal(5, 8, 24), normal(6, 3, 24)
  channels, rows = 2.0 ** jnp.arange(-4, 4), 2.0 ** jnp.arange(-1, 2)
  product = lambda kernel, x: matmul(quantize_kernel(kernel, kind), x)
  base = product(kernel, x)
  scaled = product(channels[:, None] * kernel, rows[:, None] * x)
  np.testing.assert_allclose(scaled, rows[:, None] * base * channels, rtol=1e-5)
  np.testing.assert_allclose(product(-kernel, x), -base, rtol=1e-6)
  np.testing.assert_array_equal(product(kernel, 0 * x), 0.0)


@pytest.mark.parametrize('kind', KINDS)
def test_rows_do_not_see_each_other(kind):
  kernel = quantize_kernel(normal(7, 12, 32), kind)
  x = normal(8, 6, 32)
  together = matmul(kernel, x)
  for i in (0, 3):
    np.testing.assert_array_equal(matmul(kernel, x[i]), together[i])
  np.testing.assert_array_equal(matmul(kernel, x[4:]), together[4:])
  np.testing.assert_array_equal(
    jax.jit(jax.vmap(lambda x: matmul(kernel, x)))(x), together
  )


@pytest.mark.parametrize('kind', KINDS)
def test_gradients_are_those_of_floats(kind):
  kernel = quantize_kernel(normal(9, 12, 16), kind)
  x, weight = normal(10, 4, 16), normal(11, 4, 12)
  loss = lambda x: jnp.sum(weight * matmul(kernel, x))
  wanted = weight @ dequantize(kernel)
  got = jax.jit(jax.grad(loss))(x)
  np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
  of_scale = jax.jit(
    jax.grad(lambda s: jnp.sum(matmul(kernel._replace(scale=s), x)))
  )
  wanted = jnp.sum(matmul(kernel, x), 0) / kernel.scale
  np.testing.assert_allclose(of_scale(kernel.scale), wanted, rtol=1e-4)


@functools.partial(jax.jit, static_argnums=0)
def logits_of(model, params, tokens):
  zeros = jnp.zeros((1, 1), jnp.int32)
  cache = models.Cache(None, zeros[0], None, zeros)
  length = jnp.full((1, 1), tokens.size)
  features, _ = model.features(params, tokens[None, None], length, cache)
  return model.logits(params, features)[0, 0]


@pytest.mark.parametrize('kind', KINDS)
def test_the_transformer_is_that_of_the_rounded_weights(kind):
  tokens = jnp.arange(3, 12)
  q = quantize(params_of(), kind)
  got = logits_of(model_of(kind), q, tokens)
  wanted = logits_of(model_of(None), dequantize(q), tokens)
  error = np.max(np.abs(got - wanted))
  assert error < (1e-3 if kind == 'int8' else 0.2)
  if kind == 'w8a8':
    assert error > 1e-3  # inputs were rounded
  floats = logits_of(model_of(None), params_of(), tokens)
  assert 1e-3 < np.max(np.abs(got - floats)) < 0.3
  equal(model_of(kind).init(jax.random.key(0)), q)


@pytest.mark.parametrize('kind', ONE_QUICKLY)
def test_stacked_layers_are_the_same(kind):
  tokens = jnp.arange(3, 12)
  q = quantize(params_of(), kind)
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *q['layers'])
  scanned = model_of(kind, scan_layers=True)
  np.testing.assert_allclose(
    logits_of(scanned, q | {'layers': stacked}, tokens),
    logits_of(model_of(kind), q, tokens),
    atol=5e-5,
  )
  shapes = jax.eval_shape(scanned.init, jax.random.key(0))
  of = jax.eval_shape(lambda p: models.quantize(p, kind), params_of(True))
  assert jax.tree.all(jax.tree.map(lambda x, y: x.shape == y.shape, shapes, of))


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS)
def test_samples_do_not_depend_on_the_batch(kind):
  model = model_of(kind, num_layers=1)
  params = model.init(jax.random.key(0))
  tokens = jnp.array([[3, 4, 5, 6], [7, 8, 9, 0]], jnp.int32)
  keys = jax.random.split(jax.random.key(1), 2)

  def draw(rows, count):
    prompt = Prompt(tokens[rows], jnp.array([4, 3])[rows])
    fn = functools.partial(
      sampling.generate,
      num_samples=count,
      model=model,
      capacity=6,
      stop=sampling.stop_rules(CONFIG.vocab_size),
    )
    return jax.jit(fn)(params, keys[rows], prompt).tokens

  both = draw(jnp.arange(2), 3)
  np.testing.assert_array_equal(draw(jnp.arange(1), 1)[0, 0], both[0, 0])
  np.testing.assert_array_equal(draw(jnp.array([1]), 3)[0], both[1])


@pytest.mark.parametrize('kind', ONE_QUICKLY)
def test_an_adapter_lies_beside(kind):
  q = quantize(params_of(), kind)
  adapter = finetuning.init_lora(jax.random.key(2), q, rank=2)
  adapter = jax.tree.map(lambda x: x + 0.1, adapter)
  tokens = jnp.arange(3, 12)

  def logits(base, kind, adapter):
    adapted = finetuning.apply_lora(base, adapter)
    return logits_of(model_of(kind), adapted, tokens)

  got = logits(q, kind, adapter)
  wanted = logits(dequantize(q), None, adapter)
  assert np.max(np.abs(got - wanted)) < (0.05 if kind == 'int8' else 0.5)
  loss = lambda adapter, *base: jnp.sum(logits(*base, adapter) ** 2)
  grad = jax.jit(jax.grad(loss), static_argnums=2)
  mine = grad(adapter, q, kind)
  theirs = grad(adapter, dequantize(q), None)
  flat = lambda tree: np.concatenate([x.ravel() for x in jax.tree.leaves(tree)])
  assert np.corrcoef(flat(mine), flat(theirs))[0, 1] > 0.98
  with pytest.raises(ValueError, match='apply_lora keeps it beside'):
    finetuning.merge_lora(q, adapter)


def test_counts_are_of_weights():
  count = models.num_params(params_of())
  assert models.num_params(quantize(params_of(), 'int8')) == count
  kernels = jax.tree.leaves(quantize(params_of(), 'int8'))
  assert sum(x.nbytes for x in kernels) < 1.6 * count


@pytest.mark.parametrize(
  'stacked', [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_loading_is_quantising_what_was_loaded(tmp_path, stacked):
  pytest.importorskip('safetensors')
  models.save_safetensors(tmp_path / 'hf', CONFIG, params_of())
  models.save_checkpoint(tmp_path / 'own', CONFIG, params_of())
  config = dataclasses.replace(CONFIG, quantization='int8', scan_layers=stacked)
  for path in (tmp_path / 'hf', tmp_path / 'own'):
    got = models.load(str(path), quantization='int8', scan_layers=stacked)
    floats = models.load(str(path), scan_layers=stacked)
    assert got.config == dataclasses.replace(floats.config, quantization='int8')
    equal(got.params, models.quantize(floats.params, 'int8'))
  half = models.load(
    str(tmp_path / 'hf'), quantization='int8', dtype='bfloat16'
  )  # from the file's float32
  equal(half.params['embed'], quantize_kernel(params_of()['embed'], 'int8'))
  models.save_checkpoint(tmp_path / 'q', config, got.params)
  again = models.load(str(tmp_path / 'q'), scan_layers=stacked)
  assert again.config == config
  equal(again.params, got.params)
  other = models.load(str(tmp_path / 'q'), quantization='w8a8')
  assert isinstance(other.params['embed'], models.W8A8Kernel)
  models.save_safetensors(tmp_path / 'out', config, got.params)
  floats = models.load(str(tmp_path / 'out'), scan_layers=stacked)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-6),
    floats.params,
    dequantize(got.params),
  )
  random = models.load(f'random:{tmp_path / "hf"}', quantization='w8a8')
  assert isinstance(random.params['embed'], models.W8A8Kernel)


def test_nan_is_not_lost():
  q = quantize_kernel(KERNEL, 'int8')
  for kernel in (q, models.W8A8Kernel(*q)):
    assert np.all(np.isnan(matmul(kernel, X.at[1].set(jnp.nan))))
  assert np.isnan(quantize_kernel(KERNEL.at[0, 0].set(jnp.nan), 'int8')[1][0])


def test_all_tables_are_kernels_and_give_the_dtype_asked_for():
  assert int8.is_kernel('unembed') and int8.is_kernel('layers.0.query.kernel')
  assert not int8.is_kernel('layers.0.query.bias')
  table = quantize_kernel(KERNEL, 'int8')
  assert int8.lookup(table, jnp.array([1]), jnp.bfloat16).dtype == jnp.bfloat16


def test_evaluate_loads_what_was_asked_for(monkeypatch):
  asked = []
  monkeypatch.setattr(models, 'load', lambda *_, **given: asked.append(given))
  for kind in ('none', 'w8a8'):
    config = smollm2_arithmetic.get_config().to_dict()
    chosen = options.parse(EvaluateOptions, config | {'quantization': kind})
    with pytest.raises(AttributeError):  # nothing was loaded
      draw_samples.Opened.of(chosen)
  assert [given['quantization'] for given in asked] == [None, 'w8a8']


def test_what_is_refused():
  with pytest.raises(ValueError, match=r"quantization='int4' is not one of"):
    models.quantize(params_of(), 'int4')
  with pytest.raises(ValueError, match="'int8' of a mixture of experts"):
    models.quantize({'layers': [{'mixture': {'gates': KERNEL}}]}, 'int8')
  with pytest.raises(ValueError, match=r"quantization='int4' is not one of"):
    dataclasses.replace(CONFIG, quantization='int4')
  with pytest.raises(ValueError, match="quantization='int8' of a mixture"):
    dataclasses.replace(
      CONFIG, quantization='int8', experts=models.Experts(4, 2, 8, True)
    )


@pytest.mark.parametrize('rows', [(1, 1), (3,), (2, 3)])
def test_bfloat16_on_a_cpu_is_summed_in_float32(rows):
  kernel, x = normal(12, 20, 48).astype('bfloat16'), normal(13, *rows, 48)
  x = x.astype('bfloat16')
  wanted = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64).T
  for dtype, tolerance in ((None, 2**-8), (jnp.float32, 1e-5)):
    got = jax.jit(functools.partial(layers.matmul, dtype=dtype))(kernel, x)
    assert got.dtype == (dtype or jnp.bfloat16) and got.shape == wanted.shape
    error = np.abs(np.asarray(got, np.float64) - wanted)
    assert np.max(error / np.maximum(np.abs(wanted), 1)) < tolerance


def test_scales_lie_with_their_channels():
  model = model_of('int8', vocab_size=52, num_kv_heads=4)
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  mesh = jax.sharding.AbstractMesh((2, 4), ('data', 'model'))
  shardings = models.param_shardings(shapes, mesh)
  of = lambda kernel: [x.spec for x in kernel]
  layer = shardings['layers'][0]
  assert of(layer['query']['kernel']) == [P('model', None), P('model')]
  assert of(layer['down']['kernel']) == [P(None, 'model'), P(None)]
  assert of(shardings['embed']) == [P('model', None), P('model')]
  assert layer['attention_norm']['scale'].spec == P(None)


SHARDED = """
  import dataclasses
  import jax, jax.numpy as jnp, numpy as np
  from jax.sharding import PartitionSpec as P
  from ttc import models

  def logits(params):
    zeros = jnp.zeros((1, 1), jnp.int32)
    cache = models.Cache(None, zeros[0], None, zeros)
    inputs = jnp.arange(3, 12)[None, None]
    features, _ = model.features(params, inputs, zeros + 9, cache)
    return model.logits(params, features)

  for kind in ('int8', 'w8a8'):
    model = models.transformer(models.TransformerConfig(
      vocab_size=52, num_layers=2, embed_dim=16, mlp_dim=24, num_heads=4,
      num_kv_heads=4, head_dim=4, quantization=kind))
    params = model.init(jax.random.key(0))
    sharded = models.shard(params, jax.make_mesh((2, 4), ('data', 'model')))
    layer = sharded['layers'][0]
    for name in ('query', 'up'):
      kernel = layer[name]['kernel']
      assert kernel.values.sharding.spec == P('model', None)
      assert kernel.scale.sharding.spec == P('model')
    assert layer['down']['kernel'].values.sharding.spec == P(None, 'model')
    assert layer['down']['kernel'].scale.sharding.spec == P(None)
    assert sharded['embed'].scale.sharding.spec == P('model')
    wanted = jax.jit(logits)(params)
    np.testing.assert_allclose(jax.jit(logits)(sharded), wanted, atol=2e-5)
"""


@pytest.mark.slow
def test_sharded_over_eight_devices():
  flags = '--xla_force_host_platform_device_count=8'
  path = os.pathsep.join(filter(None, sys.path))
  run = subprocess.run(
    [sys.executable, '-c', textwrap.dedent(SHARDED)],
    env=os.environ
    | {'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': path},
    capture_output=True,
    text=True,
    check=False,
  )
  assert run.returncode == 0, run.stderr
