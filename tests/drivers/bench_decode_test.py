"""The benchmark runs, on a tiny model and without peers."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest
from absl.testing import absltest

SCRIPT = pathlib.Path(__file__).parents[2] / 'scripts' / 'bench_decode.py'


class BenchDecodeTest(absltest.TestCase):
  @pytest.mark.slow
  def test_check(self):
    with tempfile.TemporaryDirectory() as directory:
      out = pathlib.Path(directory, 'out.json')
      run = subprocess.run(
        [sys.executable, SCRIPT, '--check', '--peers=', f'--out={out}'],
        env=os.environ
        | {
          'JAX_PLATFORMS': 'cpu',
          'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
        },
        capture_output=True,
        text=True,
        check=False,
      )
      self.assertEqual(run.returncode, 0, run.stderr)
      report = json.loads(out.read_text())
    self.assertIn('| N | ttc tokens/s | compile s |', run.stdout)
    self.assertEqual([r['num_samples'] for r in report['results']], [1, 3])
    self.assertLen(report['results'][0]['seconds']['ttc'], 2)


if __name__ == '__main__':
  absltest.main()
