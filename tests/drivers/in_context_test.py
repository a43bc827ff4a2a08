"""In-context learners, trained as the script does."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ttc.drivers.in_context import in_context

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = {
  'tasks': 'templates',
  'memory': 'transformer',
  'num_tasks': 4,
  'length': 5,
  'width': 8,
  'num_layers': 1,
  'num_steps': 6,
  'batch_size': 4,
  'easy_steps': 2,
  'unpermuted': 0.5,
  'warmup_steps': 1,
  'num_seeds': 2,
  'checkpoint_every': 3,
  'num_eval': 4,
}
REGRESSION = {
  **{k: x for k, x in TINY.items() if k not in ('num_tasks', 'easy_steps')},
  'tasks': 'subspace',
  'memory': 'regressor',
  'min_length': 2,
  'unpermuted': 0.0,
}


@pytest.mark.parametrize(
  'config', [pytest.param(TINY, marks=pytest.mark.slow), REGRESSION]
)
def test_learners_are_trained_measured_and_drawn(config, tmp_path):
  pytest.importorskip('matplotlib')
  in_context(config, tmp_path)
  rows = [
    json.loads(line)
    for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()
  ]
  assert [row['step'] for row in rows] == list(range(1, 7))
  assert np.isfinite([row['loss'] for row in rows]).all()
  assert np.shape([row['loss'] for row in rows]) == (6, 2)
  found = json.loads((tmp_path / 'evaluation.json').read_text())
  positions = found.pop('positions')
  for values in found.values():
    assert np.shape(values) == (len(positions), 2)
  assert (tmp_path / 'positions.png').stat().st_size > 1000
  assert (tmp_path / 'loss.png').stat().st_size > 1000


@pytest.mark.parametrize(
  ('changed', 'says'),
  [
    ({'memory': 'gru'}, "config.memory='gru' must be one of transformer, lstm"),
    ({'tasks': 'cifar'}, "config.tasks='cifar' must be one of templates"),
    ({'tasks': 'subspace'}, "memory='transformer' learns templates, painted"),
    ({'memory': 'regressor'}, "memory='regressor' learns isotropic, subspace"),
    ({'num_tasks': 0}, 'config.num_tasks=0 must be a whole number from 1 to'),
    ({'num_tasks': None}, 'config.num_tasks is missing'),
    ({'max_length': 4}, 'length=5 is longer than config.max_length=4'),
    ({'width': 9}, 'config.width=9 is not a multiple of config.num_heads=2'),
    ({'easy_steps': 6}, 'config.easy_steps=6 leaves nothing'),
    ({'easy_steps': 0}, 'config.unpermuted=0.5 needs config.easy_steps above'),
    ({'min_length': 2}, 'config.min_length is no option of transformer'),
  ],
)
def test_bad_options_are_refused(changed, says, tmp_path):
  config = {k: x for k, x in {**TINY, **changed}.items() if x is not None}
  with pytest.raises(ValueError, match=says):
    in_context(config, tmp_path)


def test_bad_options_of_a_regressor_are_refused(tmp_path):
  with pytest.raises(ValueError, match='min_length=7 must be at most config'):
    in_context({**REGRESSION, 'min_length': 7}, tmp_path)
  with pytest.raises(ValueError, match='num_tasks is no option of regressor'):
    in_context({**REGRESSION, 'num_tasks': 7}, tmp_path)


_DEVICES = """
import jax, numpy as np
from jax.sharding import AxisType
from ttc.drivers import in_context, options
from ttc.drivers.in_context_options import InContextOptions, make_study
config = {CONFIG}
chosen = options.parse(InContextOptions, config)
study = make_study(chosen)
ends = []
for n in (1, 4):
  mesh = jax.make_mesh((n,), ('data',), axis_types=(AxisType.Auto,),
                       devices=jax.devices()[:n])
  state = in_context.init_seeds(chosen, study)
  for state, losses in in_context.train_seeds(chosen, study, state, mesh):
    pass
  ends.append((state.params, losses))
for a, b in zip(*map(jax.tree.leaves, ends)):
  np.testing.assert_allclose(a, b, atol=1e-4)
print('equal')
"""


@pytest.mark.slow
@pytest.mark.parametrize('config', [TINY, REGRESSION])
def test_one_device_is_four(config, on_four_devices):
  code = _DEVICES.replace('{CONFIG}', repr(config))
  assert on_four_devices(code) == 'equal'


@pytest.mark.slow
def test_killed_and_resumed_is_uninterrupted(tmp_path):
  config = {**TINY, 'num_steps': 60, 'easy_steps': 20}
  in_context(config, tmp_path / 'whole')
  code = (
    'import json, sys\n'
    'from ttc.drivers.in_context import in_context\n'
    'in_context(json.loads(sys.argv[1]), sys.argv[2])\n'
  )
  env = {**os.environ, 'PYTHONPATH': str(ROOT)}
  command = [sys.executable, '-c', code, json.dumps(config)]
  metrics, kills = tmp_path / 'cut' / 'metrics.jsonl', 0
  for _ in range(20):
    process = subprocess.Popen([*command, str(tmp_path / 'cut')], env=env)
    before = lines_in(metrics)
    while process.poll() is None:
      time.sleep(0.02)
      if kills < 2 and lines_in(metrics) > before + 9:
        process.send_signal(signal.SIGKILL)
        kills += 1
        process.wait()
    if process.returncode == 0:
      break
  assert kills > 0
  for name in ('metrics.jsonl', 'evaluation.json'):
    whole, cut = (tmp_path / run / name for run in ('whole', 'cut'))
    assert whole.read_text() == cut.read_text()


def lines_in(path):
  return len(path.read_text().splitlines()) if path.exists() else 0
