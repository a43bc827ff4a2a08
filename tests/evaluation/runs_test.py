import pathlib
import tempfile
import zlib

import jax
import numpy as np
from absl.testing import absltest

from ttc import evaluation

CONFIG = {
  'model': {'name': 'tiny', 'layers': 2},
  'num_samples': 8,
  'batch_size': 4,
  'workdir': 'here',
}


class StartRunTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.directory = pathlib.Path(
      self.enter_context(tempfile.TemporaryDirectory()), 'run'
    )

  def test_the_first_start_is_what_later_ones_find(self):
    info = evaluation.start_run(
      self.directory, CONFIG, base_seed=3, dataset={'name': 'gsm8k'}
    )
    content = (self.directory / 'run.json').read_bytes()
    self.assertEqual(evaluation.read_run(self.directory), info)
    self.assertEqual(evaluation.start_run(self.directory, CONFIG, 3), info)
    self.assertEqual((self.directory / 'run.json').read_bytes(), content)
    self.assertEqual(info.jax_version, jax.__version__)
    self.assertEqual(info.base_seed, 3)

  def test_harmless_changes_resume(self):
    info = evaluation.start_run(self.directory, CONFIG, 0)
    moved = {**CONFIG, 'batch_size': 64, 'workdir': 'there', 'verbosity': 1}
    self.assertEqual(evaluation.start_run(self.directory, moved, 0), info)

  def test_a_changed_configuration_is_refused_by_name(self):
    info = evaluation.start_run(self.directory, CONFIG, 0)
    other = {**CONFIG, 'model': {'name': 'tiny', 'layers': 3}, 'top_p': 0.9}
    message = r'model\.layers, top_p changed.*--allow_config_change'
    with self.assertRaisesRegex(ValueError, message):
      evaluation.start_run(self.directory, other, 0)
    with self.assertRaisesRegex(ValueError, 'base_seed changed'):
      evaluation.start_run(self.directory, CONFIG, 1)
    resumed = evaluation.start_run(
      self.directory, other, 0, allow_config_change=True
    )
    self.assertEqual(resumed, info)

  def test_the_hash_is_of_the_meaning(self):
    shuffled = dict(reversed(CONFIG.items()))
    self.assertEqual(
      evaluation.config_hash(CONFIG), evaluation.config_hash(shuffled)
    )
    self.assertNotEqual(
      evaluation.config_hash(CONFIG),
      evaluation.config_hash({**CONFIG, 'num_samples': 9}),
    )


class SeedsTest(absltest.TestCase):
  def test_problem_key_is_the_published_recipe(self):
    expected = jax.random.fold_in(
      jax.random.key(7), np.uint32(zlib.crc32(b'aime/3'))
    )
    self.assertEqual(evaluation.problem_key(7, 'aime/3'), expected)

  def test_sample_seed_is_the_key_itself(self):
    key = jax.random.fold_in(evaluation.problem_key(7, 'aime/3'), 5)
    high, low = np.asarray(jax.random.key_data(key)).tolist()
    self.assertEqual(evaluation.sample_seed(7, 'aime/3', 5), (high << 32) | low)

  def test_seeds_differ(self):
    seeds = {
      evaluation.sample_seed(base, item, index)
      for base in (0, 1)
      for item in ('a', 'b', 'c')
      for index in range(4)
    }
    self.assertLen(seeds, 24)
