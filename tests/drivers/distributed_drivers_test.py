"""Runs under --distributed: two processes write what one does, or one line."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from ttc.drivers.diffuse import diffuse

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

SHORT = {
  'bed': 'rare',
  'searches': ('best of N',),
  'budgets': (8, 9),
  'num_seeds': 2,
}


def start(name, workdir, arguments):
  return subprocess.Popen(
    [
      sys.executable,
      str(ROOT / 'scripts' / f'{name}.py'),
      f'--workdir={workdir}',
      *arguments,
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


def start_two(name, workdir, arguments, odd=()):
  """Two processes; the second has some arguments of its own."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{free.getsockname()[1]}'
  flags = f'--distributed --num_processes=2 --coordinator={address}'.split()
  return [
    start(name, workdir, [*arguments, *more, *flags, f'--process_id={i}'])
    for i, more in enumerate([(), odd])
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


def test_two_processes_search_as_one_does(tmp_path):
  pytest.importorskip('matplotlib')
  one, two = tmp_path / 'one', tmp_path / 'two'
  diffuse(SHORT, one)
  arguments = [f'--config.{name}={value}' for name, value in SHORT.items()]
  finish(*start_two('diffuse', two, arguments))
  assert len(measured(one)) == 2 and measured(two) == measured(one)
  assert (two / 'table.md').read_text() == (one / 'table.md').read_text()


def test_processes_that_disagree_are_one_line(tmp_path):
  odd = ['--config.num_seeds=3']
  processes = start_two('diffuse', tmp_path / 'run', [], odd)
  outputs = [process.communicate(timeout=500)[0] for process in processes]
  says = 'diffuse: processes [1] have other arguments than process 0'
  assert outputs[0].splitlines()[-1] == says  # behind what jax logs
  assert 'diffuse: ' not in outputs[1]
  assert not any('Traceback' in output for output in outputs)
  assert [process.returncode for process in processes] == [1, 1]
  assert not (tmp_path / 'run').exists()


@pytest.mark.slow
@pytest.mark.parametrize('name', RUNS)
def test_two_processes_measure_what_one_does(name, tmp_path):
  one, two = tmp_path / 'one', tmp_path / 'two'
  arguments = lambda cache: [
    x.format(cache=tmp_path / cache) for x in RUNS[name]
  ]
  finish(start(name, one, arguments('cache')))
  # What is trained first is trained by both, and saved by both together.
  finish(*start_two(name, two, arguments('cache of two')))
  assert measured(two) == measured(one)
  assert not list(two.glob('*-of-*')), 'shards that were not merged'
  assert (two / 'table.md').exists() or (two / 'compare.md').exists()
  # Again: nothing is measured twice, nothing is lost.
  finish(*start_two(name, two, arguments('cache of two')))
  assert measured(two) == measured(one)
