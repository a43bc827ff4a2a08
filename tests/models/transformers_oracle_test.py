"""Logits against those of transformers, on checkpoints that it writes itself.

Needs torch and transformers, which nothing in the library does.
"""

import dataclasses
import tempfile

import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import models

pytestmark = pytest.mark.oracle

TINY = {
  'vocab_size': 61,
  'hidden_size': 32,
  'intermediate_size': 48,
  'num_hidden_layers': 3,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'max_position_embeddings': 256,
  'rms_norm_eps': 1e-5,
}
LLAMA3 = {
  'rope_type': 'llama3',
  'rope_theta': 10_000.0,
  'factor': 8.0,
  'low_freq_factor': 1.0,
  'high_freq_factor': 4.0,
  'original_max_position_embeddings': 32,
}
WINDOWS = {
  'use_sliding_window': True,
  'sliding_window': 6,
  'max_window_layers': 1,
}
MIXTURE = {
  'num_experts': 5,
  'num_experts_per_tok': 2,
  'moe_intermediate_size': 20,
  'shared_expert_intermediate_size': 28,
  'pad_token_id': None,
}
LAST = {'layers': (2,)}
LAYERS = {'decoder_sparse_step': 2, 'num_hidden_layers': 4}


class TransformersOracleTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('llama', 'Llama', {}),
    ('llama_tied', 'Llama', {'tie_word_embeddings': True}),
    ('llama_head_dim', 'Llama', {'head_dim': 12}),
    ('llama3_scaling', 'Llama', {'rope_parameters': LLAMA3}),
    ('mistral', 'Mistral', {'sliding_window': None}),
    ('mistral_window', 'Mistral', {'sliding_window': 5}),
    ('qwen2', 'Qwen2', {}),
    ('qwen2_tied', 'Qwen2', {'tie_word_embeddings': True}),
    ('qwen2_windows', 'Qwen2', WINDOWS),
    ('qwen3', 'Qwen3', {'head_dim': 12}),
    ('qwen3_tied', 'Qwen3', {'head_dim': 8, 'tie_word_embeddings': True}),
    ('qwen3_windows', 'Qwen3', {'head_dim': 8, **WINDOWS}),
    ('mixtral', 'Mixtral', {'num_local_experts': 5}),
    ('mixtral_window', 'Mixtral', {'sliding_window': 5, 'head_dim': 12}),
    ('qwen2_moe', 'Qwen2Moe', MIXTURE),
    ('qwen2_moe_layers', 'Qwen2Moe', {**MIXTURE, 'mlp_only_layers': [1]}),
    ('qwen2_moe_windows', 'Qwen2Moe', {**MIXTURE, **WINDOWS}),
    ('qwen2_moe_normalised', 'Qwen2Moe', {**MIXTURE, 'norm_topk_prob': True}),
    ('qwen3_moe', 'Qwen3Moe', {**MIXTURE, 'norm_topk_prob': True}),
    ('qwen3_moe_head_dim', 'Qwen3Moe', {**MIXTURE, 'head_dim': 12}),
    ('qwen3_moe_windows', 'Qwen3Moe', {**MIXTURE, **WINDOWS}),
    ('qwen3_moe_layers', 'Qwen3Moe', {**MIXTURE, **LAYERS}),
    ('olmoe', 'Olmoe', MIXTURE),
    ('olmoe_clipped', 'Olmoe', {**MIXTURE, 'clip_qkv': 0.7}),
  )
  def test_logits(self, family, changes):
    torch = pytest.importorskip('torch')
    transformers = pytest.importorskip('transformers')
    torch.manual_seed(0)
    config = getattr(transformers, f'{family}Config')(**TINY | changes)
    theirs = getattr(transformers, f'{family}ForCausalLM')(config).eval()
    with torch.no_grad():
      for parameter in theirs.parameters():  # norms and biases too
        parameter.copy_(0.4 * torch.randn_like(parameter))
    tokens = np.random.default_rng(0).integers(61, size=(2, 40), dtype=np.int32)
    with torch.no_grad():
      expected = theirs(torch.from_numpy(tokens).long()).logits.numpy()

    with tempfile.TemporaryDirectory() as path:
      theirs.save_pretrained(path, max_shard_size='30KB')
      loaded = models.load(path)
      stacked = loaded  # unless layers are equal
      if not changes.keys() & {'mlp_only_layers', 'decoder_sparse_step'}:
        stacked = models.load(path, scan_layers=True)
    self.assertIsNone(loaded.tokenizer)
    for model, params in (loaded[:2], stacked[:2]):
      forward = jax.jit(models.forward, static_argnums=0)
      got = forward(model, params, tokens)
      np.testing.assert_allclose(got, expected, atol=5e-5)
    self.assertGreater(np.std(expected), 0.5)

  @parameterized.named_parameters(
    ('mixtral', {}, {}),
    ('qwen2_moe', {'qkv_bias': True}, {'shared_mlp_dim': 20, **LAST}),
    ('qwen3_moe', {'qk_norm': True}, LAST),
    ('olmoe', {'full_qk_norm': True, 'clip_qkv': 1.5}, {'normalise': False}),
  )
  def test_what_we_save(self, changes, of_experts):
    torch = pytest.importorskip('torch')
    transformers = pytest.importorskip('transformers')
    experts = models.Experts(5, 2, 20, normalise=True)
    config = models.TransformerConfig(
      vocab_size=61,
      num_layers=3,
      embed_dim=32,
      mlp_dim=48,
      num_heads=4,
      num_kv_heads=2,
      head_dim=8,
      tie_embeddings=False,
      experts=dataclasses.replace(experts, **of_experts),
      **changes,
    )
    model = models.transformer(config)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
      lambda x: rng.normal(size=x.shape).astype(np.float32) / 3,
      jax.eval_shape(model.init, jax.random.key(0)),
    )
    tokens = rng.integers(61, size=(2, 20), dtype=np.int32)
    expected = jax.jit(models.forward, static_argnums=0)(model, params, tokens)
    with tempfile.TemporaryDirectory() as path:
      models.save_safetensors(path, config, params)
      theirs = transformers.AutoModelForCausalLM.from_pretrained(path)
    with torch.no_grad():
      got = theirs(torch.from_numpy(tokens).long()).logits.numpy()
    np.testing.assert_allclose(got, expected, atol=5e-5)


if __name__ == '__main__':
  absltest.main()
