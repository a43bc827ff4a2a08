"""The benchmark of experts runs, on a tiny model and without a peer."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / 'scripts' / 'bench_experts.py'


@pytest.mark.slow
def test_check(tmp_path):
  out = tmp_path / 'out.json'
  run = subprocess.run(
    [sys.executable, SCRIPT, '--check', '--nopeer', f'--out={out}'],
    env=os.environ
    | {
      'JAX_PLATFORMS': 'cpu',
      'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
    },
    capture_output=True,
    text=True,
    check=False,
  )
  assert run.returncode == 0, run.stderr
  report = json.loads(out.read_text())
  assert '| N | ttc tokens/s | compile s |' in run.stdout
  assert '| E | k | rows |' in run.stdout
  one, three = report['results']
  assert one['experts_touched'] == 2  # of one token, exactly
  assert one['expert_bytes'] == one['expert_bytes_bound']
  assert 2 <= three['experts_touched'] <= 6
  assert one['all_expert_bytes'] == 4 * 2 * 8 * 3 * 16 * 16
  assert [case['chosen'] for case in report['products']] == ['pairs', 'dense']
