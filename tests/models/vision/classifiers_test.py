"""What every classifier of images promises, and its published size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc.models import vision

KEY = jax.random.key(0)
GREY = {'mean': (0.3,), 'std': (0.4,)}
# Name, network, channels, side and number of parameters.
SIZES = [
  ('convnet', vision.convnet, 1, 28, 70_330),
  ('resnet8', vision.resnet, 3, 32, 78_042),
  (
    'wrn_16_1',
    functools.partial(vision.wide_resnet, depth=16, width=1),
    3, 32, 175_066,
  ),
  (
    'wrn_40_2',
    functools.partial(vision.wide_resnet, depth=40, width=2),
    3, 32, 2_243_546,
  ),
  (
    'wrn_28_10',
    functools.partial(vision.wide_resnet, depth=28, width=10),
    3, 32, 36_479_194,
  ),
  (
    'resnet50',
    functools.partial(vision.resnet50, num_classes=1000),
    3, 224, 25_557_032,
  ),
  ('vit', vision.vit, 1, 28, 205_066),
]  # fmt: skip
SMALL = {
  'convnet': vision.convnet(3, (4, 8), (1, 2)),
  'resnet': vision.resnet(3, **GREY),
  'resnet_gn': vision.resnet(3, norm='group', **GREY),
  'wide': vision.wide_resnet(3, 10, **GREY),
  'vit': vision.vit(3, width=8, depth=2, num_heads=2),
}
NAMES = [(name, name) for name in SMALL]
IMAGES = jax.random.uniform(KEY, (5, 8, 8, 1))


@functools.cache
def variables_of(name):
  return jax.jit(SMALL[name].init)(KEY, IMAGES[:1])


@functools.cache
def apply_fn(name, moments):
  """One program for each number of rows."""
  network, variables = SMALL[name], variables_of(name)
  return jax.jit(
    lambda images, mask: network.apply(variables, images, moments, mask)
  )


class ClassifierTest(parameterized.TestCase):
  @parameterized.named_parameters(SIZES)
  def test_published_size(self, make, channels, side, num_params):
    network = make()
    images = jax.ShapeDtypeStruct((2, side, side, channels), jnp.float32)
    variables = jax.eval_shape(network.init, KEY, images)
    leaves = jax.tree.leaves(variables['params'])
    self.assertEqual(sum(leaf.size for leaf in leaves), num_params)
    self.assertEqual('batch_stats' in variables, network.normalises_batches)
    seen = jax.eval_shape(network.apply, variables, images)
    self.assertEqual(seen.logits.shape, (2, network.num_classes))
    self.assertEqual(seen.logits.dtype, jnp.float32)

  @parameterized.named_parameters(NAMES)
  def test_the_contract(self, name):
    network, variables = SMALL[name], variables_of(name)
    seen = apply_fn(name, 'source')(IMAGES, None)
    head = variables['params']['head']
    wanted = seen.features @ head['kernel'] + head['bias']
    np.testing.assert_allclose(seen.logits, wanted, atol=1e-5)
    names = set(variables['params'])
    self.assertNotEmpty(names & set(network.last_stage))
    self.assertNotIn('head', network.last_stage)
    if network.normalises_batches:
      moments = jax.tree.structure(seen.moments)
      self.assertEqual(moments, jax.tree.structure(variables['batch_stats']))
    else:
      self.assertEmpty(jax.tree.leaves(seen.moments))

  @parameterized.named_parameters(NAMES)
  def test_stages_may_be_put_between(self, name):
    network, stages = SMALL[name], []

    def between(stage, given, came_out):
      stages.append(stage)
      return came_out

    variables = variables_of(name)
    jax.eval_shape(
      lambda: network.apply(variables, IMAGES, 'source', None, between)
    )
    self.assertEqual(stages, list(range(network.num_stages)))

  @parameterized.named_parameters(NAMES)
  def test_only_batch_moments_mix_images(self, name):
    alone = apply_fn(name, 'batch')(IMAGES[:3], None).logits
    among = apply_fn(name, 'batch')(IMAGES, None).logits[:3]
    is_same = bool((abs(alone - among) < 1e-4).all())
    self.assertEqual(is_same, not SMALL[name].normalises_batches)
    alone = apply_fn(name, 'source')(IMAGES[:1], None).logits
    among = apply_fn(name, 'source')(IMAGES, None).logits[:1]
    np.testing.assert_allclose(alone, among, atol=1e-5)

  @parameterized.named_parameters(NAMES)
  def test_rows_that_fill_up_do_not_count(self, name):
    filled = jnp.concatenate([IMAGES[:3], jnp.full((2, 8, 8, 1), 0.9)])
    masked = apply_fn(name, 'batch')(filled, jnp.arange(5) < 3)
    plain = apply_fn(name, 'batch')(IMAGES[:3], None)
    np.testing.assert_allclose(
      masked.logits[:3], plain.logits, rtol=1e-4, atol=1e-4
    )
    for a, b in zip(
      jax.tree.leaves(masked.moments), jax.tree.leaves(plain.moments),
      strict=True,
    ):  # fmt: skip
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

  def test_bad_depths_are_named(self):
    with self.assertRaisesRegex(ValueError, 'depth 9: 6n'):
      vision.resnet(depth=9)
    with self.assertRaisesRegex(ValueError, 'WRN-28-0: depth 6n'):
      vision.wide_resnet(depth=28, width=0)
    with self.assertRaisesRegex(ValueError, '3 heads of width 64'):
      vision.vit(num_heads=3)


if __name__ == '__main__':
  absltest.main()
