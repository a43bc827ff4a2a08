"""Saved models and adapters, as transformers and peft load them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import finetuning, models

pytestmark = pytest.mark.oracle
CONFIG = models.TransformerConfig(
  vocab_size=61,
  num_layers=2,
  embed_dim=32,
  mlp_dim=48,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
  max_length=128,
)
CASES = {
  'llama': {'rope_scaling': models.Llama3Scaling(8.0, 1.0, 4.0, 32)},
  'untied': {'tie_embeddings': False, 'rope_theta': 5e4},
  'qwen2': {'qkv_bias': True},
  'qwen3': {'qk_norm': True, 'head_dim': 12},
  'mistral': {'sliding_window': 5},
}
TOKENS = np.random.default_rng(0).integers(61, size=(2, 20), dtype=np.int32)


def noise(shapes, seed, scale=0.3):
  source = np.random.default_rng(seed)
  draw = lambda x: jnp.asarray(scale * source.normal(size=x.shape), jnp.float32)
  return jax.tree.map(draw, shapes)


def logits_of_torch(model):
  torch = pytest.importorskip('torch')
  with torch.no_grad():
    return model.eval()(torch.from_numpy(TOKENS).long()).logits.numpy()


@pytest.mark.parametrize('name', CASES)
def test_logits_of_transformers_and_of_peft(name, tmp_path):
  transformers = pytest.importorskip('transformers')
  peft = pytest.importorskip('peft')
  config = dataclasses.replace(CONFIG, **CASES[name])
  model = models.transformer(config)
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  params = noise(shapes, 1)
  models.save_safetensors(tmp_path / 'base', config, params, max_bytes=20_000)
  theirs = transformers.AutoModelForCausalLM.from_pretrained(
    tmp_path / 'base', dtype='float32'
  )
  forward = jax.jit(models.forward, static_argnums=0)
  ours = forward(model, params, TOKENS)
  np.testing.assert_allclose(ours, logits_of_torch(theirs), atol=1e-4)

  adapter = noise(finetuning.init_lora(jax.random.key(2), shapes, 3), 3)
  finetuning.save_peft(
    tmp_path / 'adapter',
    finetuning.SavedAdapter(adapter, 6.0, True, str(tmp_path / 'base')),
  )
  with_peft = peft.PeftModel.from_pretrained(theirs, tmp_path / 'adapter')
  options = {'alpha': 6.0, 'rank_stabilised': True}
  adapted = forward(
    model, finetuning.apply_lora(params, adapter, **options), TOKENS
  )
  assert np.abs(adapted - ours).max() > 0.1
  np.testing.assert_allclose(adapted, logits_of_torch(with_peft), atol=1e-4)
  # And theirs, written by themselves, read by us.
  with_peft.save_pretrained(tmp_path / 'again')
  again = finetuning.load_peft(tmp_path / 'again')
  assert again.alpha == 6.0 and again.rank_stabilised
  for key, part in adapter.items():
    for x, y in zip(part, again.adapter[key], strict=True):
      np.testing.assert_array_equal(x, y)
