"""The benchmark of the kernels runs, on tiny sizes and without a GPU."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest
from absl.testing import absltest

SCRIPT = pathlib.Path(__file__).parents[2] / 'scripts' / 'bench_kernels.py'


class BenchKernelsTest(absltest.TestCase):
  @pytest.mark.slow
  def test_check(self):
    with tempfile.TemporaryDirectory() as directory:
      out = pathlib.Path(directory, 'out.json')
      run = subprocess.run(
        [sys.executable, SCRIPT, '--check', f'--out={out}'],
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
      self.assertEqual(out.with_suffix('.md').read_text(), run.stdout[:-1])
    self.assertLen(report['cases'], 5)
    self.assertEqual(report['cases'][-1]['contenders']['ttc xla']['output'], 0)
    for case in report['cases']:
      self.assertGreater(case['contenders']['ttc xla']['seconds'], 0)
    self.assertIn('no GPU kernel: this is a cpu', run.stdout)


if __name__ == '__main__':
  absltest.main()
