"""scripts/pretrain.py as a user runs it."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

from ttc import models

ROOT = pathlib.Path(__file__).resolve().parents[2]


def script(workdir, *options):
  tiny = {
    'length': 2,
    'num_layers': 1,
    'embed_dim': 8,
    'mlp_dim': 8,
    'num_heads': 1,
    'num_steps': 20,
    'warmup_steps': 2,
    'batch_size': 4,
    'checkpoint_every': 10,
    'num_eval_problems': 8,
  }
  command = [sys.executable, str(ROOT / 'scripts' / 'pretrain.py')]
  command += [f'--config={ROOT / "configs" / "pretrain_s3.py"}']
  command += [f'--config.{name}={value}' for name, value in tiny.items()]
  paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
  return subprocess.Popen(
    [*command, f'--workdir={workdir}', *options],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env={**os.environ, 'PYTHONPATH': paths},
  )


@pytest.fixture(scope='module')
def runs():
  """All runs of the script at once: starting it is most of the time."""
  with tempfile.TemporaryDirectory() as name:
    directory = pathlib.Path(name)
    processes = {
      'good': script(directory / 'good'),
      'noise': script(directory / 'bad', '--config.noise=1.5'),
      'misspelt': script(directory / 'bad', '--config.lenght=3'),
    }
    outputs = {name: p.communicate() for name, p in processes.items()}
    codes = {name: p.returncode for name, p in processes.items()}
    yield directory, codes, outputs


def test_script_writes_a_model_and_metrics(runs):
  directory, codes, outputs = runs
  out, err = outputs['good']
  assert codes['good'] == 0, err
  assert 'closed form' in out
  lines = (directory / 'good' / 'metrics.jsonl').read_text().splitlines()
  assert [json.loads(line)['step'] for line in lines] == list(range(1, 21))
  loaded = models.load(str(directory / 'good' / 'model'))
  assert loaded.config.embed_dim == 8


@pytest.mark.parametrize(
  ('run', 'says'),
  [
    ('noise', 'config.noise'),
    ('misspelt', 'length'),
  ],
)
def test_script_refuses_with_a_clear_line(runs, run, says):
  _, codes, outputs = runs
  out, err = outputs[run]
  assert codes[run] != 0
  assert 'Traceback' not in err
  assert says in err, err
  assert not out
