import dataclasses
import os
import pathlib
import tempfile

import chex
import jax
import numpy as np
from absl.testing import absltest, parameterized
from gguf_files import Q, gguf, random_params, write

from ttc import models
from ttc.models import gguf_file, rope

TINY = models.TransformerConfig(
  vocab_size=40,
  num_layers=2,
  embed_dim=32,
  mlp_dim=64,
  num_heads=4,
  num_kv_heads=2,
  head_dim=16,
  max_length=128,
  norm_eps=1e-6,
)
CONFIGS = {
  'llama': TINY,
  'qwen2': dataclasses.replace(TINY, qkv_bias=True, tie_embeddings=False),
  'qwen3': dataclasses.replace(TINY, qk_norm=True, rope_theta=1e6),
}


def quantized(params, kind):
  return jax.tree.map(
    lambda leaf: (
      leaf
      if leaf.ndim == 1
      else gguf.dequantize(gguf.quantize(leaf, kind), kind)
    ),
    params,
  )


class GGUFTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = os.path.join(folder.name, 'tiny.gguf')

  @parameterized.product(
    architecture=('llama', 'qwen2', 'qwen3'),
    kind=(Q.F32, Q.F16, Q.BF16, Q.Q8_0, Q.Q4_1),
  )
  def test_round_trip(self, architecture, kind):
    config = CONFIGS[architecture]
    params = random_params(config)
    write(self.path, architecture, config, params, kind)
    got_config, got = models.load_gguf(self.path)
    self.assertEqual(dataclasses.replace(got_config, norm_eps=1e-6), config)
    self.assertAlmostEqual(got_config.norm_eps, 1e-6)
    expected = params if kind == Q.F32 else quantized(params, kind)
    chex.assert_trees_all_equal(got, expected)

  def test_layers_are_stacked_and_cast(self):
    params = random_params(TINY)
    write(self.path, 'llama', TINY, params)
    config, got = models.load_gguf(
      self.path, dtype='bfloat16', scan_layers=True
    )
    expected = params | {
      'layers': jax.tree.map(lambda *x: np.stack(x), *params['layers'])
    }
    chex.assert_trees_all_equal(
      got, jax.tree.map(lambda leaf: leaf.astype(config.dtype), expected)
    )

  def test_adjacent_pairs_on_stored_rows_give_the_same_logits(self):
    write(self.path, 'llama', TINY, random_params(TINY))
    tokens = np.random.default_rng(0).integers(40, size=(2, 12), dtype=np.int32)
    logits, rows = [], []
    for interleaved in (False, True):
      config, params = models.load_gguf(self.path, rope_interleaved=interleaved)
      model = models.transformer(config)
      run = jax.jit(models.forward, static_argnums=0)
      logits.append(run(model, params, tokens))
      rows.append(params['layers'][0]['query']['kernel'])
    np.testing.assert_allclose(*logits, atol=1e-5)
    self.assertGreater(np.abs(rows[0] - rows[1]).max(), 0.1)

  def test_sliding_window_and_llama3_scaling(self):
    scaling = models.Llama3Scaling(32.0)
    config = dataclasses.replace(
      TINY, rope_theta=5e5, sliding_window=7, rope_scaling=scaling
    )
    factors = rope.frequencies(16, 5e5) / rope.frequencies(16, 5e5, scaling)
    extra = {
      'attention.sliding_window': 7,
      'rope_freqs.weight': np.asarray(factors),
    }
    params = random_params(config)
    write(self.path, 'llama', config, params, extra=extra)
    got, _ = models.load_gguf(self.path)
    self.assertEqual(got.sliding_window, 7)
    self.assertEqual(got.rope_scaling, scaling)

  @parameterized.named_parameters(
    ('architecture', 'gpt2', {}, "'gpt2' is not one of llama, qwen2, qwen3"),
    ('yarn', 'qwen2', {'rope.scaling.type': 'yarn'}, "lacks 'qwen2.rope.scal"),
    ('other', 'qwen2', {'rope.scaling.type': 'ntk'}, "scaling 'ntk' by 1"),
    ('experts', 'qwen2', {'expert_count': 8}, 'experts of .qwen2. are not'),
    ('partial', 'llama', {'rope.dimension_count': 8}, 'rope.dimension_count=8'),
    ('layers', 'llama', {'attention.head_count_kv': [2, 1]}, 'differs between'),
    ('window', 'qwen3', {'attention.sliding_window_pattern': 6}, 'pattern'),
    (
      'tensor',
      'llama',
      {'blk.0.attn_output.bias': np.zeros(32, np.float32)},
      "'blk.0.attn_output.bias' has no place",
    ),
    (
      'factors',
      'llama',
      {'rope_freqs.weight': np.arange(1, 9, dtype=np.float32)},
      'not the scaling of Llama 3',
    ),
    (
      'shape',
      'llama',
      {'blk.1.ffn_up.weight': np.zeros((32, 64), np.float32)},
      r"'blk.1.ffn_up.weight' has shape \(32, 64\)",
    ),
  )
  def test_what_is_not_implemented_is_named(self, architecture, extra, message):
    config = CONFIGS.get(architecture, TINY)
    write(self.path, architecture, config, random_params(config), extra=extra)
    with self.assertRaisesRegex(ValueError, f'^{self.path}: .*{message}'):
      models.load_gguf(self.path)

  def test_missing_tensor_and_missing_metadata(self):
    params = random_params(TINY)
    more = dataclasses.replace(TINY, num_layers=3)
    write(self.path, 'llama', more, params)
    with self.assertRaisesRegex(
      ValueError, 'no tensor .blk.2.attn_norm.weight'
    ):
      models.load_gguf(self.path)
    writer = gguf.GGUFWriter(self.path, 'llama')
    writer.add_tensor('token_embd.weight', params['embed'])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with self.assertRaisesRegex(ValueError, "lacks 'llama.block_count'"):
      models.load_gguf(self.path)

  def test_damaged_files(self):
    with self.assertRaisesRegex(FileNotFoundError, 'tiny.gguf: no such file'):
      models.load_gguf(self.path)
    write(self.path, 'llama', TINY, random_params(TINY))
    whole = pathlib.Path(self.path).read_bytes()
    start = gguf_file.read(self.path).tensors['token_embd.weight'].offset
    for content, message in (
      (b'', 'not a GGUF file'),
      (b'PK\x03\x04' + whole[4:], 'not a GGUF file'),
      (b'GGUF' + (9).to_bytes(4, 'little') + whole[8:], 'GGUF version 9'),
      (whole[:30], 'truncated'),
      (whole[: start // 2], 'truncated'),
      (whole[:-1], 'truncated: tensor .* needs bytes up to'),
      (whole[:24] + b'\xff' * 8 + whole[32:], 'truncated or damaged'),
      (whole[:24] + (1 << 45).to_bytes(8, 'little'), 'truncated or damaged'),
    ):
      pathlib.Path(self.path).write_bytes(content)
      with self.assertRaisesRegex(ValueError, f'{self.path}: {message}') as e:
        models.load_gguf(self.path)
      self.assertNotIn('\n', str(e.exception))


if __name__ == '__main__':
  absltest.main()
