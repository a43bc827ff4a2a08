"""EcoTTA: it begins as the source, and drifts are each part's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest

from ttc.adaptation import adapter
from ttc.adaptation.ecotta import (
  MetaNetwork,
  apply_with_meta,
  ecotta,
  start_meta,
  warm_up,
)
from ttc.models.vision import convnet

NETWORK = convnet(3, (4, 6), (1, 2))


def setting():
  key = jax.random.key(0)
  labels = jnp.arange(12, dtype=jnp.int32) % 3
  noise = 0.3 * jax.random.uniform(key, (12, 8, 8, 1), jnp.float32)
  bright = jnp.arange(8) // 3 == labels[:, None]  # a third of the columns
  images = noise + 0.7 * bright[:, None, :, None]
  variables = jax.jit(NETWORK.init)(key, images)
  return adapter.Source(variables, images, labels)


def learned_meta(source):
  """Meta networks that do change something."""
  meta = start_meta(NETWORK, source.variables, jax.random.key(1), source.images)
  noise = lambda x: x + 0.1 * jax.random.normal(jax.random.key(2), x.shape)
  return [
    part | {'params': jax.tree.map(noise, part['params'])} for part in meta
  ]


class EcoTTATest(absltest.TestCase):
  def test_at_first_nothing_is_changed(self):
    source = setting()
    meta = start_meta(
      NETWORK, source.variables, jax.random.key(1), source.images
    )
    seen, drift = apply_with_meta(
      NETWORK, source.variables, meta, source.images, 'source'
    )
    plain = jax.jit(NETWORK.apply)(source.variables, source.images)
    np.testing.assert_allclose(seen.logits, plain.logits, atol=2e-5)
    self.assertLess(float(drift), 1e-4)

  @pytest.mark.slow
  def test_a_drift_moves_its_own_part_only(self):
    source = setting()
    meta = learned_meta(source)

    def drift_of(number, params):
      own = [m | {'params': p} for m, p in zip(meta, params, strict=True)]
      run = lambda meta: apply_with_meta(
        NETWORK, source.variables, meta, source.images, 'batch'
      )[1]
      # One part's term: the sum less the sum with this part held still.
      held = list(own)
      held[number] = jax.lax.stop_gradient(own[number])
      return run(own) - run(held)

    params = [part['params'] for part in meta]
    for number in (0, 1):
      grads = jax.grad(lambda p, n=number: drift_of(n, p))(params)
      size = lambda tree: max(
        float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(tree)
      )
      self.assertGreater(size(grads[number]), 1e-4)
      self.assertEqual(size(grads[1 - number]), 0)

  def test_drift_is_the_mean_distance_of_each_part(self):
    source = setting()
    meta = learned_meta(source)
    given, frozen = [], []

    def between(stage, before, after):
      went_on = MetaNetwork().apply(
        meta[stage], before, after, 'batch', None, mutable=['moments']
      )[0]
      given.append(went_on)
      frozen.append(after)
      return went_on

    NETWORK.apply(source.variables, source.images, between=between)
    wanted = sum(
      np.abs(np.asarray(a) - np.asarray(b)).mean()
      for a, b in zip(given, frozen, strict=True)
    )
    _, drift = apply_with_meta(
      NETWORK, source.variables, meta, source.images, 'batch'
    )
    self.assertAlmostEqual(float(drift), wanted, places=5)

  def test_only_sure_images_and_drift_are_learned_from(self):
    source = setting()
    meta = learned_meta(source)
    method = ecotta(NETWORK, meta, optax.sgd(0.1), strength=0.0, threshold=1e-3)
    state = method.init(source, jax.random.key(0))
    batch = adapter.Batch(source.images, jnp.ones(12, bool))
    _, after = jax.jit(method.update)(state, batch, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, state.meta, after.meta)

  def test_the_warm_up_learns_the_source(self):
    source = setting()
    loss = lambda meta: float(
      jnp.mean(
        optax.softmax_cross_entropy_with_integer_labels(
          apply_with_meta(
            NETWORK, source.variables, meta, source.images, 'batch'
          )[0].logits,
          source.labels,
        )
      )
    )
    start = start_meta(
      NETWORK, source.variables, jax.random.key(1), source.images
    )
    meta = jax.jit(
      lambda: warm_up(
        NETWORK, source, jax.random.key(1), num_steps=60, batch_size=12
      )
    )()
    self.assertLess(loss(meta), loss(start) - 0.1)
    for part, first in zip(meta, start, strict=True):
      for branch in ('conv', 'norm_branch'):
        for new, old in zip(
          jax.tree.leaves(part['params'][branch]),
          jax.tree.leaves(first['params'][branch]),
          strict=True,
        ):
          self.assertGreater(float(jnp.abs(new - old).max()), 1e-5)
    moved = meta[0]['batch_stats']['norm_out']['mean']
    self.assertGreater(float(jnp.abs(moved).max()), 1e-3)


if __name__ == '__main__':
  absltest.main()
