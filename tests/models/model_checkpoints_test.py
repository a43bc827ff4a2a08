import dataclasses
import os
import pathlib
import tempfile

import chex
import jax
import numpy as np
from absl.testing import absltest

from ttc import models

TINY = models.TransformerConfig(
  vocab_size=11,
  num_layers=2,
  embed_dim=8,
  mlp_dim=12,
  num_heads=2,
  num_kv_heads=1,
  head_dim=4,
  rope_scaling=models.Llama3Scaling(4.0),
  sliding_window=5,
  windowed_layers=(1,),
)


class ModelCheckpointsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = os.path.join(folder.name, 'model')
    rng = np.random.default_rng(0)
    params = jax.tree.map(
      lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
      jax.eval_shape(models.transformer(TINY).init, jax.random.key(0)),
    )
    self.params = jax.device_put(params)

  def test_round_trip(self):
    models.save_checkpoint(self.path, TINY, self.params)
    config, params = models.load_checkpoint(self.path)
    self.assertEqual(config, TINY)
    chex.assert_trees_all_equal(params, self.params)

  def test_options_come_back(self):
    long = models.LongRopeScaling((1.0,), (2.0,), 16, 1.25)
    for changes in (
      {'rope_scaling': long, 'rotary_dim': 2, 'rotary_layers': (1,)},
      {'rope_scaling': models.YarnScaling(4.0, 16), 'windowed_theta': 50.0},
      {'attention_softcap': 5.0, 'activation': 'gelu_tanh', 'embed_scale': 3.0},
      {'norm_plus_one': True, 'residual_scale': 0.5, 'logits_divisor': 8.0},
    ):
      config = dataclasses.replace(TINY, **changes)
      models.save_checkpoint(self.path, config, self.params)
      self.assertEqual(models.load_checkpoint(self.path)[0], config)

  def test_saving_again_replaces(self):
    models.save_checkpoint(self.path, TINY, self.params)
    other = jax.tree.map(lambda leaf: -leaf, self.params)
    models.save_checkpoint(self.path, TINY, other)
    chex.assert_trees_all_equal(models.load_checkpoint(self.path)[1], other)

  def test_load_casts_and_changes_the_layout_of_layers(self):
    models.save_checkpoint(self.path, TINY, self.params)
    loaded = models.load(self.path, dtype='bfloat16', scan_layers=True)
    self.assertTrue(loaded.config.scan_layers)
    self.assertEqual(loaded.params['embed'].dtype, 'bfloat16')
    again = os.path.join(self.path, 'again')
    models.save_checkpoint(again, loaded.config, loaded.params)
    _, params = models.load_checkpoint(again, scan_layers=False)
    chex.assert_trees_all_equal(
      params, jax.tree.map(lambda leaf: leaf.astype('bfloat16'), self.params)
    )

  def test_damaged(self):
    with self.assertRaisesRegex(FileNotFoundError, 'transformer.json: no such'):
      models.load_checkpoint(self.path)
    models.save_checkpoint(self.path, TINY, self.params)
    os.rename(self.path + '/params', self.path + '/gone')
    with self.assertRaisesRegex(FileNotFoundError, 'params: no such'):
      models.load_checkpoint(self.path)
    for text in ('{"layers": 2}', '{"rope_scaling": [1]}'):
      (pathlib.Path(self.path) / 'transformer.json').write_text(text)
      with self.assertRaisesRegex(ValueError, 'transformer.json: not a config'):
        models.load_checkpoint(self.path)

  def test_random_parameters_of_a_saved_config(self):
    models.save_checkpoint(self.path, TINY, self.params)
    loaded = models.load(f'random:{self.path}')
    self.assertEqual(loaded.config, TINY)
    chex.assert_trees_all_equal_shapes(loaded.params, self.params)
    self.assertNotAlmostEqual(
      float(loaded.params['embed'][0, 0]), float(self.params['embed'][0, 0])
    )


if __name__ == '__main__':
  absltest.main()
