"""Adapters: what they add, what they leave alone, one per context."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import finetuning, models

CONFIG = models.TransformerConfig(
  vocab_size=11,
  num_layers=2,
  embed_dim=16,
  mlp_dim=24,
  num_heads=2,
  num_kv_heads=1,
  head_dim=8,
)
TOKENS = jnp.arange(14).reshape(2, 7) % 11


def random_adapter(key, params, rank=3):
  adapter = finetuning.init_lora(key, params, rank)
  leaves, tree = jax.tree.flatten(adapter)
  keys = jax.random.split(key, len(leaves))
  noise = [
    0.3 * jax.random.normal(k, x.shape)
    for k, x in zip(keys, leaves, strict=True)
  ]
  return jax.tree.unflatten(tree, noise)


def make(scanned):
  config = dataclasses.replace(CONFIG, scan_layers=scanned)
  model = models.transformer(config)
  params = jax.jit(model.init)(jax.random.key(0))
  return model, params, random_adapter(jax.random.key(1), params)


@pytest.fixture(scope='module')
def setup():
  return make(True)


def test_begins_unchanged_and_within_the_bound_of_kaiming(setup):
  model, params, _ = setup
  adapter = finetuning.init_lora(jax.random.key(2), params, 4)
  down = next(k for k in adapter if 'down' in k)
  assert adapter[down].a.shape[-2:] == (24, 4)
  assert adapter[down].b.shape[-2:] == (4, 16)
  assert float(jnp.abs(adapter[down].a).max()) <= 24**-0.5
  assert float(jnp.abs(adapter[down].a).max()) > 0.8 * 24**-0.5
  forward = jax.jit(functools.partial(models.forward, model, tokens=TOKENS))
  np.testing.assert_array_equal(
    forward(finetuning.apply_lora(params, adapter)), forward(params)
  )


@pytest.mark.parametrize('scanned', [True, False])
def test_applied_is_merged_and_unmerged_is_the_base(scanned):
  model, params, adapter = make(scanned)
  scale = {'alpha': 5.0, 'rank_stabilised': True}
  merged = finetuning.merge_lora(params, adapter, **scale)
  applied = finetuning.apply_lora(params, adapter, **scale)
  forward = jax.jit(functools.partial(models.forward, model, tokens=TOKENS))
  np.testing.assert_allclose(forward(merged), forward(applied), atol=2e-5)
  assert np.abs(forward(merged) - forward(params)).max() > 0.1
  back = finetuning.merge_lora(
    merged, adapter, alpha=-5.0, rank_stabilised=True
  )
  for x, y in zip(*map(jax.tree.leaves, (back, params)), strict=True):
    np.testing.assert_allclose(x, y, atol=1e-6)


def test_kernel_of_numpy(setup):
  _, params, adapter = setup
  merged = finetuning.merge_lora(params, adapter, alpha=5.0)
  pick = lambda tree: np.asarray(tree['layers']['up']['kernel'][1])
  a, b = (np.asarray(x[1]) for x in adapter['layers.up.kernel'])
  np.testing.assert_allclose(
    pick(merged), pick(params) + 5.0 / 3.0 * (a @ b).T, atol=1e-5
  )


def test_one_adapter_per_context_by_vmap(setup):
  model, params, first = setup
  second = random_adapter(jax.random.key(7), params)
  both = jax.tree.map(lambda *x: jnp.stack(x), first, second)
  forward = lambda adapter, tokens: models.forward(
    model, finetuning.apply_lora(params, adapter), tokens[None]
  )
  together = jax.jit(jax.vmap(forward))(both, TOKENS)
  forward = jax.jit(forward)
  for i, adapter in enumerate([first, second]):
    np.testing.assert_allclose(
      together[i], forward(adapter, TOKENS[i]), atol=2e-5
    )


def test_gradients_of_applied_and_merged_agree_to_adapter_and_base(setup):
  model, params, adapter = setup

  def loss(params, adapter, put):
    logits = models.forward(model, put(params, adapter), TOKENS)
    return jnp.mean(jax.nn.logsumexp(logits, -1) - logits[..., 3])

  grad = jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=2)
  applied = grad(params, adapter, finetuning.apply_lora)
  merged = grad(params, adapter, finetuning.merge_lora)
  for x, y in zip(*map(jax.tree.leaves, (applied, merged)), strict=True):
    np.testing.assert_allclose(x, y, atol=2e-5)
  assert all(float(jnp.abs(x).max()) > 0 for x in jax.tree.leaves(applied))


def test_refuses_what_has_no_kernel():
  params = jax.eval_shape(models.transformer(CONFIG).init, jax.random.key(0))
  with pytest.raises(ValueError, match="'q_proj' is no kernel"):
    finetuning.init_lora(jax.random.key(0), params, 2, ['query', 'q_proj'])
  mixture = {'layers': {'mixture': {'gates': params['embed']}}}
  with pytest.raises(ValueError, match=r"'layers\.mixture\.gates' have no ad"):
    finetuning.init_lora(jax.random.key(0), mixture, 2)
  with pytest.raises(ValueError, match='rank=0 must be at least 1'):
    finetuning.init_lora(jax.random.key(0), params, 0)
  with pytest.raises(ValueError, match='which is no weight'):
    finetuning.merge_lora(
      params,
      {'layers.9.query.kernel': finetuning.LowRank(*[jnp.ones((1, 1))] * 2)},
    )
