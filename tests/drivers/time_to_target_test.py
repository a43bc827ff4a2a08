import dataclasses
import pathlib
import tempfile

import jax
import numpy as np
import pytest
from absl.testing import absltest

from ttc.drivers import time_to_target as driver
from ttc.drivers.journal import Journal
from ttc.testbeds import optimizers
from ttc.testbeds.training_workloads import student

TINY = driver.TimeToTargetOptions(
  ('student',), ('adamw', 'heavy_ball'), 1, 2, 2, 2, False, 0
)


class TimeToTargetTest(absltest.TestCase):
  @pytest.mark.slow
  def test_goes_on_and_gives_the_same(self):
    directory = tempfile.TemporaryDirectory()
    self.addCleanup(directory.cleanup)
    workdir = pathlib.Path(directory.name)
    text = driver.time_to_target(TINY, workdir)
    self.assertIn('| heavy_ball |', text)
    self.assertTrue((workdir / 'profiles.png').exists())
    lines = (workdir / 'journal.jsonl').read_text()
    self.assertLen(lines.splitlines(), 5)  # a target, two of two trials
    self.assertEqual(driver.time_to_target(TINY, workdir), text)
    self.assertEqual((workdir / 'journal.jsonl').read_text(), lines)
    for line in Journal(workdir / 'journal.jsonl').lines()[1:]:
      self.assertLen(line['errors'], 20)
      self.assertEqual(line['steps'][-1], student().num_steps)
      self.assertGreater(line['seconds'][0], line['compile_seconds'])
      self.assertTrue(np.all(np.diff(line['seconds']) > 0))

  def test_submissions_are_paired_and_spaces_are_kept_to(self):
    for submission in optimizers.BY_HAND:
      hyper = jax.vmap(lambda k, s=submission: optimizers.draw_hyper(s, k))(
        jax.random.split(jax.random.key(0), 64)
      )
      for name, (low, high) in submission.space.items():
        with self.subTest(f'{submission.name} {name}'):
          self.assertGreaterEqual(float(hyper[name].min()), 0.999 * low)
          self.assertLessEqual(float(hyper[name].max()), 1.001 * high)
          middle = np.log(hyper[name]).mean()
          third = (np.log(high) - np.log(low)) / 6
          self.assertAlmostEqual(
            middle, (np.log(low) + np.log(high)) / 2, delta=third
          )

  def test_wrong_input(self):
    for change, words in (
      ({'workloads': ('students',)}, "--workloads: 'students' is unknown"),
      ({'submissions': ('adam',)}, "--submissions: 'adam' is unknown"),
      ({'num_trials': 0}, '--num_trials=0'),
      ({'generations': -1}, '--generations=-1'),
    ):
      with self.assertRaisesRegex(ValueError, words):
        driver.check(dataclasses.replace(TINY, **change))


if __name__ == '__main__':
  absltest.main()
