"""Trainings of several processes, and such that are told to stop.

Two processes with a device each run the program of one process with two: all
that they write is equal, bit for bit.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import io
from ttc.drivers import command, resuming

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAININGS = {
  'train_agents': [
    f'--config={ROOT}/configs/agents_switch_riddle.py',
    '--config.total_steps=1920',
    '--config.num_envs=8',
    '--config.num_steps=16',
    '--config.num_epochs=1',
    '--config.width=4',
    '--config.memory_width=4',
    '--config.checkpoint_every=3',
    '--config.eval_episodes=4',
    '--config.num_seeds=2',
  ],
  'meta_train': [
    f'--config={ROOT}/configs/meta_bandit.py',
    '--config.rule_width=4',
    '--config.num_predictions=2',
    '--config.environment=bandit(num_arms=3)',
    '--config.levels=bandit_tasks(num_arms=3)',
    '--config.low=1',
    '--config.high=3',
    '--config.num_envs=2',
    '--config.eval_episodes=4',
    '--config.num_updates=60',
    '--config.checkpoint_every=3',
    '--config.num_pairs=4',
  ],
  'train_diffusion': [
    f'--config={ROOT}/configs/train_diffusion.py',
    '--config.data=painted',
    '--config.network=dit',
    '--config.width=8',
    '--config.depth=1',
    '--config.num_steps=60',
    '--config.batch_size=4',
    '--config.warmup_steps=1',
    '--config.checkpoint_every=3',
    '--config.sampling_steps=2',
    '--config.num_eval=10',
  ],
  'pretrain': [
    f'--config={ROOT}/configs/pretrain_s3.py',
    '--config.length=2',
    '--config.num_layers=1',
    '--config.embed_dim=8',
    '--config.mlp_dim=8',
    '--config.num_heads=1',
    '--config.num_steps=60',
    '--config.warmup_steps=2',
    '--config.batch_size=4',
    '--config.checkpoint_every=3',
    '--config.num_eval_problems=8',
  ],
  'finetune': [
    f'--config={ROOT}/configs/finetune_s3.py',
    '--config.pretrain_steps=3',
    '--config.task_length=2',
    '--config.num_updates=40',
    '--config.num_prompts=4',
    '--config.group_size=2',
    '--config.checkpoint_every=4',
    '--config.num_eval_items=4',
    '--config.num_eval_samples=2',
  ],
}


def start(name, workdir, *flags, devices=1):
  some = f'--xla_force_host_platform_device_count={devices}'
  environment = os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
    'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} {some}',
  }
  script = str(ROOT / 'scripts' / f'{name}.py')
  return subprocess.Popen(
    [sys.executable, script, f'--workdir={workdir}', *TRAININGS[name], *flags],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


def start_two(name, workdir):
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{free.getsockname()[1]}'
  flags = f'--distributed --num_processes=2 --coordinator={address}'.split()
  return [
    start(name, workdir, *flags, f'--process_id={index}') for index in range(2)
  ]


def end(*processes):
  """Statuses and errors of processes that end by themselves."""
  errors = [process.communicate(timeout=600)[1] for process in processes]
  return [process.returncode for process in processes], errors


def finish(*processes):
  statuses, errors = end(*processes)
  assert not any(statuses), errors[0][-3000:]


def wait_for_lines(workdir):
  """Until something has been trained."""
  deadline = time.monotonic() + 300
  while not (workdir / 'metrics.jsonl').exists():
    assert time.monotonic() < deadline
    time.sleep(0.05)


def found(workdir):
  """All that a training leaves, but for seconds and pictures."""
  left = {}
  for path in sorted(workdir.glob('*.jsonl')):
    lines = map(json.loads, path.read_text().splitlines())
    clocks = ('s', 'seconds')
    left[path.name] = [
      {k: x for k, x in line.items() if k not in clocks} for line in lines
    ]
  for path in sorted(workdir.glob('*.npz')):
    with np.load(path) as arrays:
      left[path.name] = {
        k: arrays[k].tobytes() for k in arrays.files if k != 'about'
      }
  for path in sorted(workdir.rglob('*.safetensors')):
    left[path.name] = path.read_bytes()
  return left


@pytest.mark.slow
@pytest.mark.parametrize('name', TRAININGS)
def test_two_processes_train_what_two_devices_do(name, tmp_path):
  one, two = tmp_path / 'one', tmp_path / 'two'
  finish(start(name, one, devices=2))
  finish(*start_two(name, two))
  left = found(one)
  assert left['metrics.jsonl']
  assert found(two) == left
  pictures = lambda path: {x.name for x in path.glob('*.png')}
  assert pictures(two) == pictures(one)


@pytest.mark.slow
@pytest.mark.parametrize('name', TRAININGS)
def test_told_to_stop_a_training_ends_as_if_it_was_not(name, tmp_path):
  whole, told = tmp_path / 'whole', tmp_path / 'told'
  finish(start(name, whole))
  process = start(name, told)
  wait_for_lines(told)
  process.send_signal(signal.SIGTERM)
  (status,), (error,) = end(process)
  assert status == command.STOPPED, error[-3000:]
  assert error.endswith('; the same command goes on from here\n')
  assert f'\n{name}: stopped at ' in error
  assert len(found(told)['metrics.jsonl']) < len(found(whole)['metrics.jsonl'])
  finish(start(name, told))
  assert found(told) == found(whole)


@pytest.mark.slow
def test_one_process_is_told_or_killed_and_all_end(tmp_path):
  name, workdir = 'pretrain', tmp_path / 'run'
  finish(start(name, tmp_path / 'whole', devices=2))
  processes = start_two(name, workdir)
  wait_for_lines(workdir)
  processes[1].send_signal(signal.SIGTERM)
  statuses, errors = end(*processes)
  assert statuses == [command.STOPPED] * 2, errors[0][-3000:]
  processes = start_two(name, workdir)
  lines = len(found(workdir)['metrics.jsonl'])
  deadline = time.monotonic() + 300
  while len(found(workdir)['metrics.jsonl']) == lines:  # it goes on
    assert time.monotonic() < deadline
    time.sleep(0.05)
  processes[0].kill()
  began = time.monotonic()
  statuses, errors = end(*processes)
  assert time.monotonic() - began < 60
  assert statuses == [-signal.SIGKILL, 3], errors[1][-3000:]
  assert errors[1].endswith('pretrain: another process ended; so does this\n')
  finish(*start_two(name, workdir))
  assert found(workdir) == found(tmp_path / 'whole')


def run_steps(workdir, stop_at=0):
  """Doubles and adds a draw; SIGTERM comes in the middle of a step."""
  before = signal.getsignal(signal.SIGTERM)
  try:
    with resuming.open_run(workdir, 'step') as run:
      state = run.start(lambda: {'key': jax.random.key(0), 'x': jnp.zeros(2)})
      for step in range(run.done + 1, 9):
        key, draw = jax.random.split(state['key'])
        state = {'key': key, 'x': 2 * state['x'] + jax.random.normal(draw)}
        if step == stop_at:
          os.kill(os.getpid(), signal.SIGTERM)
        if run.is_told() or step % 4 == 0:
          run.save(step, state)
    return run.done, np.asarray(state['x'])
  finally:
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_is_a_checkpoint_more(tmp_path):
  done, whole = run_steps(tmp_path / 'whole')
  assert done == 0
  with pytest.raises(command.Stopped, match=r'stopped at step 6$'):
    run_steps(tmp_path / 'told', stop_at=6)
  checkpoints = io.open_checkpoints(tmp_path / 'told' / 'checkpoints')
  assert list(checkpoints.all_steps()) == [4, 6]
  checkpoints.close()
  done, after = run_steps(tmp_path / 'told')
  assert done == 6
  np.testing.assert_array_equal(after, whole)


def test_sigterm_while_the_last_state_is_written_is_heard(tmp_path):
  with pytest.raises(command.Stopped, match=r'stopped at step 3$'):
    with resuming.open_run(tmp_path, 'step') as run:
      run.save(3, run.start(lambda: {'x': jnp.zeros(2)}))
      os.kill(os.getpid(), signal.SIGTERM)
  with resuming.open_run(tmp_path, 'step') as run:
    assert run.done == 3


def test_what_was_saved_before_an_error_is_on_disk(tmp_path):
  with pytest.raises(ValueError, match='no number'):
    with resuming.open_run(tmp_path, 'step') as run:
      run.save(3, run.start(lambda: {'x': jnp.zeros(2)}))
      raise ValueError('no number')
  assert [path.name for path in (tmp_path / 'checkpoints').iterdir()] == ['3']
