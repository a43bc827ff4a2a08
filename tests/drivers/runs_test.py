import functools
import pathlib
import tempfile

import jax
from absl.testing import absltest

from ttc.drivers import runs

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
    info = runs.start_run(
      self.directory, CONFIG, base_seed=3, inputs={'data': 'abc'}
    )
    content = (self.directory / 'run.json').read_bytes()
    self.assertEqual(runs.read_run(self.directory), info)
    self.assertEqual(runs.start_run(self.directory, CONFIG, 3), info)
    self.assertEqual((self.directory / 'run.json').read_bytes(), content)
    self.assertEqual(info.jax_version, jax.__version__)
    self.assertEqual(info.base_seed, 3)

  def test_harmless_changes_resume(self):
    info = runs.start_run(self.directory, CONFIG, 0)
    moved = {**CONFIG, 'batch_size': 64, 'workdir': 'there', 'verbosity': 1}
    self.assertEqual(runs.start_run(self.directory, moved, 0), info)

  def test_a_changed_configuration_is_refused_by_name(self):
    info = runs.start_run(self.directory, CONFIG, 0)
    other = {**CONFIG, 'model': {'name': 'tiny', 'layers': 3}, 'top_p': 0.9}
    message = r'model\.layers, top_p changed.*--allow_config_change'
    with self.assertRaisesRegex(ValueError, message):
      runs.start_run(self.directory, other, 0)
    with self.assertRaisesRegex(ValueError, 'base_seed changed'):
      runs.start_run(self.directory, CONFIG, 1)
    resumed = runs.start_run(self.directory, other, 0, allow_config_change=True)
    self.assertEqual(resumed, info)

  def test_the_hash_is_of_the_meaning(self):
    shuffled = dict(reversed(CONFIG.items()))
    self.assertEqual(runs.config_hash(CONFIG), runs.config_hash(shuffled))
    self.assertNotEqual(
      runs.config_hash(CONFIG),
      runs.config_hash({**CONFIG, 'num_samples': 9}),
    )

  def test_other_weights_or_data_are_refused_by_name(self):
    start = functools.partial(runs.start_run, self.directory, CONFIG, 0)
    info = start(inputs={'weights': 'a', 'data': 'b'})
    self.assertEqual(start(inputs={'data': 'b'}), info)  # weights not read
    with self.assertRaisesRegex(ValueError, 'the weights changed'):
      start(inputs={'weights': 'c', 'data': 'b'})
    with self.assertRaisesRegex(ValueError, 'the data changed'):
      start(inputs={'data': 'c'})

  def test_before_the_first_record_anything_may_change(self):
    runs.start_run(self.directory, CONFIG, 0)
    other = {**CONFIG, 'num_samples': 9}
    info = runs.start_run(self.directory, other, 1, has_records=False)
    self.assertEqual(info.config['num_samples'], 9)
    self.assertEqual(runs.read_run(self.directory), info)

  def test_what_is_no_run_is_named(self):
    self.directory.mkdir()
    for text in ('{"run_id": 1', '[]', '{"run_id": "x"}'):
      (self.directory / 'run.json').write_text(text)
      with self.assertRaisesRegex(ValueError, r'run\.json: not a description'):
        runs.start_run(self.directory, CONFIG, 0)


if __name__ == '__main__':
  absltest.main()
