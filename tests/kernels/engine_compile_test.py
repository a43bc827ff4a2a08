"""The engine's own programs copy no cache in their loops, on one chip and four.

As `tpu_compile_test`, and with the CUDA wheels of the extra `kernels-aot` for
an H200.
"""

import dataclasses
import functools
import importlib.util
import math
import re
from unittest import mock

import gpu_target
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from jax._src.cudnn import fused_attention_stablehlo
from tpu_target import (
  compiled,
  copies,
  results,
  topology,
  vector_memory,
)

from ttc import models, sampling
from ttc.types import Prompt

pytestmark = [
  pytest.mark.aot,
  pytest.mark.skipif(
    importlib.util.find_spec('libtpu') is None, reason='libtpu not installed'
  ),
]

LAYERS, N, P, S, T = 2, 16, 4096, 1024, 32
CONFIG = models.TransformerConfig(
  vocab_size=1024,
  num_layers=LAYERS,
  embed_dim=1024,
  mlp_dim=2048,
  num_heads=16,
  num_kv_heads=8,
  head_dim=128,
  max_length=8192,
  qk_norm=True,
  dtype='bfloat16',
)
MODELS = {
  'dense': models.transformer(CONFIG),
  'sparse': models.transformer(CONFIG, models.SparseAttention()),
}
# So many that no stack of caches fits on the chip.
_SCANNED = dataclasses.replace(CONFIG, num_layers=28, scan_layers=True)
SCANNED = {
  'dense': models.transformer(_SCANNED),
  'sparse': models.transformer(_SCANNED, models.SparseAttention()),
}
# What makes an array of the size of a cache beside the cache itself.
SLICED = ('copy', 'copy-start', 'transpose', 'dynamic-slice')
CACHE = N * CONFIG.num_kv_heads * S * CONFIG.head_dim  # keys of one layer
PROMPT = CONFIG.num_kv_heads * P * CONFIG.head_dim  # and of the prompt
LAID_OUT = ('copy', 'copy-start', 'transpose')
COLLECTIVES = ('all-gather', 'all-gather-start', 'all-to-all')


def program(model, verb, P=P):
  """A verb as a function of parameters and state, and the shapes of those."""
  struct = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.int32)
  params = jax.eval_shape(model.init, jax.random.key(0))
  prompt = Prompt(struct(1, P), struct(1))
  prefill = lambda params, prompt: sampling.prefill(model, params, prompt, N, S)
  if verb == 'prefill':
    return prefill, (params, prompt)
  state = jax.eval_shape(prefill, params, prompt)
  if verb == 'fork':
    return functools.partial(sampling.fork, model), (state, struct(1, N))
  if verb == 'sample':
    stop = sampling.stop_rules(CONFIG.vocab_size, [0])
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    return (
      lambda params, state, keys: sampling.sample(
        model, params, keys, state, stop
      ),
      (params, state, keys),
    )
  read = functools.partial(getattr(sampling, verb), model)
  return read, (params, state, struct(1, N, T), struct(1, N))


def on_four_chips(arguments, chip):
  """Parameters and caches over the axis `model` of four chips."""
  devices = np.array(topology(chip).devices[:4]).reshape(1, 4)
  mesh = jax.sharding.Mesh(devices, ('data', 'model'))
  whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  put = lambda x, sharding: jax.ShapeDtypeStruct(
    x.shape, x.dtype, sharding=sharding
  )
  spread = lambda x: jax.tree.map(put, x, models.cache_shardings(x, mesh))

  def place(x):
    if isinstance(x, sampling.DecodeState):
      x = jax.tree.map(lambda leaf: put(leaf, whole), x)
      return x._replace(prefix=spread(x.prefix), suffix=spread(x.suffix))
    if isinstance(x, dict):
      return jax.tree.map(put, x, models.param_shardings(x, mesh))
    return jax.tree.map(lambda leaf: put(leaf, whole), x)

  return tuple(map(place, arguments))


class EngineTest(parameterized.TestCase):
  @parameterized.product(
    model=('dense', 'sparse'),
    verb=('prefill', 'sample', 'extend', 'score', 'fork'),
  )
  def test_no_cache_is_copied_in_a_loop(self, model, verb):
    text = compiled('v5e', *program(MODELS[model], verb))
    loops, _, _ = text.partition('\nENTRY ')
    self.assertEmpty(copies(loops, CACHE))
    if verb == 'sample':
      self.assertNotEmpty(vector_memory(loops))  # kernels, not the reference

  @parameterized.product(
    model=('dense', 'sparse'), verb=('sample', 'extend', 'score')
  )
  def test_four_chips_exchange_activations_only(self, model, verb):
    function, arguments = program(MODELS[model], verb)
    text = compiled('v5e', function, on_four_chips(arguments, 'v5e'))
    loops, _, _ = text.partition('\nENTRY ')
    self.assertEmpty(copies(loops, CACHE // 4))
    # The largest thing gathered is what one layer hands on.
    self.assertEmpty(copies(text, 2 * N * T * CONFIG.embed_dim, COLLECTIVES))
    if verb == 'sample':
      self.assertNotEmpty(vector_memory(loops))
      reduced = [x for x in copies(loops, 1, ('all-reduce',)) if 'Block/' in x]
      self.assertLen(reduced, 2 * LAYERS)  # Megatron's two per layer

  @parameterized.product(
    model=('dense', 'sparse'),
    scanned=(False, True),
    verb=('sample', 'extend', 'score', 'fork'),
    platform=('tpu', 'cuda'),
  )
  def test_what_is_as_large_as_a_cache_is_a_cache(
    self, model, scanned, verb, platform
  ):
    """That of the state, as nobody gives his away here; and none in a loop.

    A fork makes responses of others, a quarter at a time on a TPU.
    """
    models_ = SCANNED if scanned else MODELS
    function, arguments = program(models_[model], verb)
    if platform == 'tpu':
      text = compiled('v5e', function, arguments)
    else:
      text = gpu_target.compile_(function, *arguments).hlo
    loops, _, entry = text.partition('\nENTRY ')
    largest = CACHE if verb == 'fork' else PROMPT
    self.assertEmpty(copies(loops, largest, SLICED))
    (state,) = [x for x in arguments if isinstance(x, sampling.DecodeState)]
    caches = jax.tree.leaves((state.prefix, state.suffix))
    made = results(entry, SLICED)
    made = [shape for shape in made if math.prod(shape) >= PROMPT]
    self.assertLessEqual(len(made), len(caches))
    shapes = [[n for n in x.shape if n > 1] for x in caches]
    for shape in made:
      self.assertIn(shape, shapes)


class PrefillTest(parameterized.TestCase):
  """A prompt is read by what jax ships, and no `[T, T]` exists.

  Keys and values are laid out for the cache, and nothing else is as large.
  """

  @parameterized.product(scanned=(False, True), T=(8192, 16_384))
  def test_on_a_tpu_it_is_splash(self, scanned, T):
    model = SCANNED['dense'] if scanned else MODELS['dense']
    text = compiled('v5e', *program(model, 'prefill', T))
    self.check(text, r'%splash_mha\S* = .* custom-call\(', scanned, T)

  @parameterized.product(scanned=(False, True), T=(8192, 16_384))
  def test_on_a_gpu_it_is_cudnn(self, scanned, T):
    """Whose plan needs a device: the call is as far as a compiler gets."""
    model = SCANNED['dense'] if scanned else MODELS['dense']
    with mock.patch.object(
      fused_attention_stablehlo, 'check_cudnn_version', lambda: 91_000
    ):
      function, arguments = program(model, 'prefill', T)
      text = gpu_target.compile_(function, *arguments).hlo
    self.check(text, 'custom_call_target="__cudnn[$]fmhaSoftmax"', scanned, T)

  def check(self, text, kernel, scanned, T):
    layers = 1 if scanned else LAYERS
    self.assertLen(re.findall(kernel, text), layers)
    squares = [x for x in results(text) if sum(n >= T for n in x) > 1]
    self.assertEmpty(squares)
    shape = sorted((CONFIG.num_kv_heads, T, CONFIG.head_dim))
    laid_out = [x for x in results(text, LAID_OUT) if sorted(x) == shape]
    self.assertLessEqual(len(laid_out), 2 * layers)


if __name__ == '__main__':
  absltest.main()
