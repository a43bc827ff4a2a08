"""Runs whose directory is on a bucket leave what runs on a disk leave.

The path is one of `etils.epath`, so that every byte goes through what a bucket
offers; it leads into memory, or to a local directory where Orbax writes too.
"""

import importlib.util
import json
import pathlib

import jax
import numpy as np
import pytest
from etils import epath
from memory_bucket import make_bucket

from ttc.drivers import compare, pretrain, train_agents
from ttc.io import files, paths
from ttc.io.arrays import read_arrays

ROOT = pathlib.Path(__file__).resolve().parents[2]


def config_of(name, **changes):
  spec = importlib.util.spec_from_file_location(
    name, ROOT / f'configs/{name}.py'
  )
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return {**module.get_config().to_dict(), **changes}


def compared(workdir, cache):
  config = config_of(
    'compare',
    worlds=('table',),
    methods=('best_of_n', 'self_consistency'),
    num_problems=8,
    num_seeds=2,
    budgets=(1, 2),
    drawn=('best_of_n',),
  )
  compare.compare(config, workdir, cache)


def pretrained(workdir, cache):
  del cache
  tiny = dict.fromkeys(('length', 'warmup_steps'), 2)
  tiny |= dict.fromkeys(('embed_dim', 'mlp_dim', 'num_eval_problems'), 8)
  tiny |= {'num_layers': 1, 'num_heads': 1, 'batch_size': 4}
  tiny |= {'num_steps': 6, 'checkpoint_every': 2}
  pretrain.pretrain(config_of('pretrain_s3', **tiny), workdir)


def played(workdir, cache):
  del cache
  config = config_of(
    'agents_switch_riddle',
    total_steps=192,
    num_envs=4,
    num_steps=8,
    num_minibatches=2,
    width=4,
    eval_episodes=4,
    num_seeds=2,
    checkpoint_every=2,
  )
  train_agents.train_agents(config, workdir)


def lines(directory, name):
  found = [json.loads(x) for x in files.read_lines(directory / name)]
  return [{k: v for k, v in x.items() if k != 'seconds'} for x in found]


@pytest.mark.slow
@pytest.mark.parametrize('run', [compared, pretrained, played])
def test_a_bucket_gets_what_a_disk_gets(run, tmp_path, monkeypatch):
  pytest.importorskip('matplotlib')
  disk, bucket = tmp_path / 'disk', epath.Path(tmp_path / 'bucket')
  if run is compared:  # the others make checkpoints, by Orbax
    bucket = make_bucket(monkeypatch) / 'run'
  run(disk, tmp_path / 'cache')
  run(bucket, tmp_path / 'cache')
  names = {x.name for x in disk.iterdir()} - {'.lock'}
  assert names == {x.name for x in bucket.iterdir()}
  for name in sorted(names):
    if name.endswith('.jsonl'):
      assert lines(disk, name) == lines(bucket, name)
  for saved in disk.glob('*.npz'):
    other = read_arrays(bucket / saved.name)
    jax.tree.map(np.testing.assert_array_equal, read_arrays(saved), other)
  # Killed before its end, a run goes on from its parts.
  (name,) = {'outcomes.jsonl', 'metrics.jsonl'} & names
  whole = files.read_lines(bucket / name)
  paths.unlink(bucket / name)
  files.append_lines(bucket / name, whole[:2])
  files.append_lines(bucket / name, whole[2:3])
  run(bucket, tmp_path / 'cache')
  assert not paths.parts(bucket / name)
  assert lines(bucket, name)[:3] == lines(disk, name)[:3]
