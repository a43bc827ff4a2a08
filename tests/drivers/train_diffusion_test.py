"""Denoisers, trained as the script does."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc.drivers.train_diffusion import train_diffusion
from ttc.drivers.train_diffusion_options import averaged
from ttc.io.arrays import read_arrays
from ttc.testbeds import trained_denoisers

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = {
  'data': 'painted',
  'network': 'unet',
  'target': 'velocity',
  'width': 8,
  'num_steps': 4,
  'batch_size': 4,
  'warmup_steps': 1,
  'checkpoint_every': 2,
  'sampling_steps': 2,
  'num_eval': 10,
}
VIDEO = {**TINY, 'data': 'painted_bouncing', 'network': 'dit', 'depth': 1}


@pytest.mark.parametrize(
  'config', [pytest.param(TINY, marks=pytest.mark.slow), VIDEO]
)
def test_a_denoiser_is_trained_measured_and_drawn(config, tmp_path):
  pytest.importorskip('matplotlib')
  train_diffusion(config, tmp_path, 'by a test')
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [row['step'] for row in rows] == [1, 2, 3, 4]
  found = json.loads((tmp_path / 'evaluation.json').read_text())
  assert 0 <= found['nearest_label'] <= 1
  video = config['data'] == 'painted_bouncing'
  assert (tmp_path / 'samples.gif').exists() == video
  for name in ('samples.png', 'loss.png'):
    assert (tmp_path / name).stat().st_size > 1000
  model = trained_denoisers.load_model(tmp_path / 'model.npz')
  assert model.about['command'] == 'by a test'
  assert model.shape == (28, 28, 4 if video else 1)
  assert model.context == (4 if video else 0)


@pytest.mark.parametrize(
  ('changed', 'says'),
  [
    ({'data': 'cifar'}, "config.data='cifar' must be one of fashion_mnist"),
    ({'network': 'mlp'}, "config.network='mlp' must be one of unet, dit"),
    ({'target': 'score'}, "config.target='score' must be one of noise"),
    ({'warmup_steps': 4}, 'config.warmup_steps=4 leaves nothing'),
    ({'width': 9}, 'config.width=9 is not a multiple of 8'),
    ({'num_steps': 0}, 'config.num_steps=0 must be a whole number from 1'),
    ({'ema': 1.0}, 'config.ema=1.0 must be a finite number'),
  ],
)
def test_bad_options_are_refused(changed, says, tmp_path):
  with pytest.raises(ValueError, match=says):
    train_diffusion({**TINY, **changed}, tmp_path)


def test_averages_begin_with_what_there_is_and_get_longer():
  optimizer = averaged(0.9)
  params = {'w': jnp.zeros(2)}
  state = optimizer.init(params)
  want, decays = np.zeros(2), []
  for i in range(200):
    updates = {'w': jnp.full(2, 1.0)}
    updates, state = optimizer.update(updates, state, params)
    params = jax.tree.map(jnp.add, params, updates)
    decays.append(min(0.9, (1 + i) / (10 + i)))
    want = decays[-1] * want + (1 - decays[-1]) * np.asarray(params['w'])
  np.testing.assert_allclose(state.params['w'], want, rtol=1e-5)
  assert decays[0] == 0.1 and decays[-1] == 0.9
  # Behind what grows by 1 a step the average is 1 / (1 - decay) - 1 late.
  np.testing.assert_allclose(state.params['w'], 200 - 9, rtol=1e-3)


def test_models_that_come_with_the_package():
  names = trained_denoisers.model_names()
  assert 'fashion_flow_unet' in names
  for name in names:
    model = trained_denoisers.load_model(name)
    assert model.about['seconds'] > 60
    assert model.about['command'].startswith('scripts/train_diffusion.py')
    size = (ROOT / 'ttc/diffusion/learned' / f'{name}.npz').stat().st_size
    assert size < 600_000


def test_what_is_no_model_is_refused(tmp_path):
  with pytest.raises(ValueError, match="model 'nothing' is not known"):
    trained_denoisers.load_model('nothing')
  with pytest.raises(ValueError, match='no such file'):
    trained_denoisers.load_model(tmp_path / 'x.npz')
  (tmp_path / 'x.npz').write_bytes(b'nothing')
  with pytest.raises(ValueError, match='not a file of arrays'):
    trained_denoisers.load_model(tmp_path / 'x.npz')
  np.savez(tmp_path / 'y.npz', about=np.array('{}'))
  with pytest.raises(ValueError, match='not a saved model'):
    trained_denoisers.load_model(tmp_path / 'y.npz')


@pytest.mark.slow
def test_killed_and_resumed_is_uninterrupted(tmp_path):
  config = {**TINY, 'num_steps': 60, 'checkpoint_every': 5}
  train_diffusion(config, tmp_path / 'whole')
  code = (
    'import json, sys\n'
    'from ttc.drivers.train_diffusion import train_diffusion\n'
    'train_diffusion(json.loads(sys.argv[1]), sys.argv[2])\n'
  )
  env = {**os.environ, 'PYTHONPATH': str(ROOT)}
  command = [sys.executable, '-c', code, json.dumps(config)]
  metrics, kills = tmp_path / 'cut' / 'metrics.jsonl', 0
  for _ in range(10):
    process = subprocess.Popen([*command, str(tmp_path / 'cut')], env=env)
    before = lines_in(metrics)
    while process.poll() is None:
      time.sleep(0.01)
      if kills < 2 and lines_in(metrics) > before + 9:
        process.send_signal(signal.SIGKILL)
        kills += 1
        process.wait()
    if process.returncode == 0:
      break
  assert kills > 0
  whole, cut = (
    read_arrays(tmp_path / run / 'model.npz')['params']
    for run in ('whole', 'cut')
  )
  jax.tree.map(np.testing.assert_array_equal, whole, cut)
  losses = [
    [json.loads(x)['loss'] for x in lines.read_text().splitlines()]
    for lines in (tmp_path / 'whole' / 'metrics.jsonl', metrics)
  ]
  assert losses[0] == losses[1] and len(losses[0]) == 60


def lines_in(path):
  return len(path.read_text().splitlines()) if path.exists() else 0
