"""Long runs under --distributed: two processes write what one does."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUNS = {
  'compare': [
    "--config.worlds=('table',)",
    "--config.methods=('self_consistency','beam_search')",
    '--config.budgets=(1,4)',
    '--config.pool_size=8',
    '--config.num_seeds=2',
    '--config.num_problems=8',
    '--config.num_permutations=5',
    '--cache={cache}',
  ],
  'diffuse': [
    "--config.searches=('best of N','zero order')",
    '--config.budgets=(8,9)',
    '--config.num_seeds=3',
  ],
  'adapt': [
    "--config.methods=('source','batch_norm','tent(learning_rate=0.01)')",
    '--config.dataset=painted',
    "--config.corruptions=('brightness','contrast')",
    '--config.batch_size=20',
    '--config.num_items=50',
    '--config.num_clean=20',
    '--config.num_source=20',
    '--config.num_seeds=2',
    '--config.num_epochs=0.1',
    '--config.cache={cache}',
  ],
}


def start(name, workdir, cache, *flags):
  arguments = [text.format(cache=cache) for text in RUNS[name]]
  return subprocess.Popen(
    [
      sys.executable,
      str(ROOT / 'scripts' / f'{name}.py'),
      f'--workdir={workdir}',
      *arguments,
      *flags,
    ],
    cwd=ROOT,
    env=os.environ
    | {
      'JAX_PLATFORMS': 'cpu',
      'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
    },
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def start_two(name, workdir, cache):
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{free.getsockname()[1]}'
  flags = f'--distributed --num_processes=2 --coordinator={address}'.split()
  return [
    start(name, workdir, cache, *flags, f'--process_id={i}') for i in range(2)
  ]


def finish(*processes):
  for process in processes:
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output[-3000:]


def measured(workdir):
  """What each line of the journal says, but for the seconds."""
  (path,) = workdir.glob('[mo]*s.jsonl')  # metrics, or outcomes
  lines = path.read_text().splitlines()
  found = [json.loads(line) for line in lines]
  for line in found:
    line.pop('seconds', None)
  return sorted(found, key=lambda line: json.dumps(line['what']))


@pytest.mark.slow
@pytest.mark.parametrize('name', RUNS)
def test_two_processes_measure_what_one_does(name, tmp_path):
  one, two = tmp_path / 'one', tmp_path / 'two'
  finish(start(name, one, tmp_path / 'cache'))
  # What is trained first is trained by both, and saved by both together.
  finish(*start_two(name, two, tmp_path / 'cache of two'))
  assert measured(two) == measured(one)
  assert not list(two.glob('*-of-*')), 'shards that were not merged'
  assert (two / 'table.md').exists() or (two / 'compare.md').exists()
  # Again: nothing is measured twice, nothing is lost.
  finish(*start_two(name, two, tmp_path / 'cache of two'))
  assert measured(two) == measured(one)
