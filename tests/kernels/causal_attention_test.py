import functools
from unittest import mock

import gpu_target
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from jax._src.cudnn import fused_attention_stablehlo
from kernel_matrix import TOLERANCES

from ttc import models, sampling
from ttc.kernels import dispatch
from ttc.kernels.causal_attention import causal_attention, splash
from ttc.kernels.partial_attention import Segment
from ttc.models import layer_cache
from ttc.models.published import TINY
from ttc.types import Prompt

attend = jax.jit(
  causal_attention, static_argnames=('window', 'softcap', 'implementation')
)
CUDNN, SPLASH = '__cudnn$fmhaSoftmax', 'splash_mha'


def arguments(T, D, G, dtype=jnp.float32, B=2, K=2):
  make = lambda i, *shape: np.random.default_rng(i).normal(size=shape)
  arrays = (
    make(0, B, T, K, G, D),
    Segment(make(1, B, K, T, D), make(2, B, K, T, D)),
  )
  return jax.tree.map(lambda x: jnp.asarray(x, dtype), arrays)


def shapes(T, D, G, dtype, **sizes):
  return jax.eval_shape(lambda: arguments(T, D, G, dtype, **sizes))


def lowered(platform, query, keys, **options):
  """The program for an accelerator, as if cuDNN were there."""
  fn = functools.partial(causal_attention, **options)
  with mock.patch.object(
    fused_attention_stablehlo, 'check_cudnn_version', lambda: 91000
  ):
    if platform == 'cuda':
      return gpu_target.lower(fn, query, keys).as_text()
    traced = jax.jit(fn).trace(query, keys)
    return traced.lower(lowering_platforms=(platform,)).as_text()


class NumbersTest(parameterized.TestCase):
  @parameterized.product(
    case=(
      (128, 128, 3, {}),
      (200, 64, 2, {'window': 70}),
      (150, 64, 1, {'softcap': 2.0}),
    ),
    dtype=(jnp.float32, jnp.bfloat16),
  )
  def test_splash_is_the_reference(self, case, dtype):
    T, D, G, options = case
    rounded = arguments(T, D, G, dtype)
    exact = jax.tree.map(lambda x: x.astype(jnp.float32), rounded)
    with mock.patch.object(splash, '_TILE', 128):
      got = attend(*rounded, implementation='interpret', **options)
    self.assertEqual(got.dtype, dtype)
    want = attend(*exact, implementation='xla', **options)
    error = np.abs(np.asarray(got, np.float32) - np.asarray(want))
    limit = TOLERANCES[jnp.dtype(dtype).name]
    self.assertLessEqual(error.max(), limit.output)
    self.assertLessEqual(np.sqrt(np.mean(error**2)), limit.rms)

  @parameterized.parameters(None, 5, 20)
  def test_the_reference_is_that_of_jax(self, window):
    query, keys = arguments(20, 8, 3)
    want = jax.nn.dot_product_attention(
      query.reshape(2, 20, 6, 8),
      *(x.swapaxes(1, 2) for x in keys),
      is_causal=True,
      local_window_size=None if window is None else (window - 1, 0),
    )
    for reach in (window, window and jnp.int32(window)):
      got = causal_attention(query, keys, window=reach)
      np.testing.assert_allclose(got, want.reshape(got.shape), atol=1e-5)

  @parameterized.parameters('xla', 'interpret')
  def test_what_pads_a_sequence_changes_nothing(self, implementation):
    query, keys = arguments(200, 64, 2)
    behind = jnp.arange(200)[:, None] >= 150
    spoilt = jax.tree.map(lambda x: jnp.where(behind, 1e4, x), keys)
    one, two = (
      attend(query, k, window=70, implementation=implementation)
      for k in (keys, spoilt)
    )
    np.testing.assert_array_equal(one[:, :150], two[:, :150])

  def test_gradient_is_the_references(self):
    query, keys = arguments(128, 8, 1, B=1, K=1)

    def slope(implementation):
      loss = lambda query, keys: jnp.sum(
        jnp.sin(attend(query, keys, implementation=implementation))
      )
      return jax.grad(loss, argnums=(0, 1))(query, keys)

    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-5),
      slope('interpret'),
      slope('xla'),
    )

  def test_a_transformer_reads_its_prompts_so(self):
    model = models.transformer(TINY)
    params = jax.jit(model.init)(jax.random.key(0))
    tokens = np.random.default_rng(0).integers(0, TINY.vocab_size, (2, 130))
    prompt = Prompt(jnp.asarray(tokens, jnp.int32), jnp.array([130, 60]))

    def read(implementation):
      fixed = functools.partial(causal_attention, implementation=implementation)
      with mock.patch.object(layer_cache, 'causal_attention', fixed):
        state = jax.jit(
          lambda params, prompt: sampling.prefill(model, params, prompt, 1, 1)
        )(params, prompt)
      return state.prefix_logits

    np.testing.assert_allclose(read('interpret'), read('xla'), atol=1e-4)


class LoweringTest(parameterized.TestCase):
  @parameterized.parameters(
    ('tpu', jnp.bfloat16, {}, SPLASH),
    ('tpu', jnp.float32, {'window': 9, 'softcap': 2.0}, SPLASH),
    ('tpu', jnp.float16, {}, None),
    ('cuda', jnp.bfloat16, {'window': 9}, CUDNN),
    ('cuda', jnp.float16, {}, CUDNN),
    ('cuda', jnp.float32, {}, None),
    ('cuda', jnp.bfloat16, {'softcap': 2.0}, None),
    ('cpu', jnp.bfloat16, {}, None),
  )
  def test_kernel_of_a_platform(self, platform, dtype, options, kernel):
    text = lowered(platform, *shapes(128, 64, 2, dtype), **options)
    for name in (SPLASH, CUDNN):
      self.assertEqual(name == kernel, name in text)

  def test_heads_that_cudnn_does_not_take(self):
    self.assertNotIn(CUDNN, lowered('cuda', *shapes(128, 36, 2, jnp.bfloat16)))

  def test_without_cudnn_the_reference_runs(self):
    arguments = shapes(128, 64, 2, jnp.bfloat16)
    with self.assertRaisesRegex(NotImplementedError, 'cuDNN'):
      gpu_target.lower(
        functools.partial(causal_attention, implementation='cudnn'), *arguments
      )
    text = gpu_target.lower(causal_attention, *arguments).as_text()
    self.assertNotIn(CUDNN, text)

  def test_each_device_has_its_sequences_and_heads(self):
    mesh = jax.sharding.AbstractMesh(
      (2, 4), ('data', 'model'), axis_types=(jax.sharding.AxisType.Auto,) * 2
    )
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    on_mesh = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole),
      shapes(128, 64, 2, jnp.bfloat16, B=6, K=8),
    )
    traced = jax.jit(causal_attention).trace(*on_mesh)
    text = traced.lower(lowering_platforms=('tpu',)).as_text()
    self.assertIn(SPLASH, text)
    self.assertIn('3x4x128x64xbf16', text)  # 3 sequences, 2 heads of 2 queries

  def test_vmap_is_one_call(self):
    query, keys = shapes(128, 64, 2, jnp.bfloat16)
    more = jax.ShapeDtypeStruct((3, *query.shape), query.dtype)
    traced = jax.jit(jax.vmap(causal_attention, (0, None))).trace(more, keys)
    text = traced.lower(lowering_platforms=('tpu',)).as_text()
    self.assertEqual(text.count('stablehlo.custom_call @tpu_custom_call'), 1)
    self.assertNotIn('stablehlo.while', text)

  def test_what_is_short_or_has_a_traced_window_is_the_references(self):
    short, long = (shapes(T, 64, 2, jnp.bfloat16) for T in (127, 128))
    self.assertNotIn(SPLASH, lowered('tpu', *short))
    with mock.patch.object(dispatch, 'say_that_none_can') as said:
      traced = jax.jit(
        lambda query, keys, window: causal_attention(query, keys, window=window)
      ).trace(*long, jnp.int32(9))
      text = traced.lower(lowering_platforms=('tpu',)).as_text()
    self.assertNotIn(SPLASH, text)
    said.assert_called_once_with('a prompt with a window known at run time')


if __name__ == '__main__':
  absltest.main()
