"""Two processes on loopback split a run and leave one set of records."""

import itertools
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import textwrap
import time

import pytest
from absl.testing import absltest, parameterized

from ttc import evaluation, sampling
from ttc.drivers import journal, processes

pytestmark = pytest.mark.slow

# `python PROGRAM directory process_index process_count address`
PROGRAM = """
  import sys
  import jax
  from jax.experimental import multihost_utils
  from ttc import evaluation, models, sampling
  from ttc.drivers import journal

  directory, address = sys.argv[1], sys.argv[4]
  index, count = map(int, sys.argv[2:4])
  if count > 1:
    jax.distributed.initialize(address, count, index)
    assert jax.device_count() == count * jax.local_device_count()
  assert (jax.process_index(), jax.process_count()) == (index, count)

  model = models.table_model(7)
  params = model.init(jax.random.key(0))
  items = [f'table/{i}' for i in range(11)]
  mine = sampling.share(items, index, count)
  problems = [
    sampling.Request(
      [1 + len(item) % 5, int(item[6:]) % 7],
      evaluation.problem_key(5, item), range(4))
    for item in mine]
  for i, out, _ in sampling.decode_stream(
      params, problems, model=model, capacity=12,
      stop=sampling.stop_rules(7, [0]), num_slots=2, num_rows=3):
    records = []
    for sample in range(4):
      length = int(out.lengths[sample])
      sum_logprob = float(out.log_probs[sample].sum())
      records.append(evaluation.SampleRecord(
        item_id=mine[i], sample_idx=sample,
        seed=evaluation.sample_seed(5, mine[i], sample), prompt_hash='',
        prompt_tokens=2, completion_tokens=length,
        completion=' '.join(map(str, out.tokens[sample, :length])),
        finish_reason='stop', sum_logprob=sum_logprob,
        mean_logprob=sum_logprob / length, wall_s=float(index)))
    journal.append_records(
      directory, records, process_index=index, process_count=count)

  if count > 1:
    multihost_utils.sync_global_devices('sampled')
  if index == 0:
    journal.merge_shards(directory, evaluation.SampleRecord)
  if count > 1:
    multihost_utils.sync_global_devices('merged')
    jax.distributed.shutdown()
"""


def free_port():
  with socket.socket() as listener:
    listener.bind(('127.0.0.1', 0))
    return listener.getsockname()[1]


def run(directory, count):
  """Runs `count` processes to their end and reads what they left."""
  address = f'127.0.0.1:{free_port()}'
  environment = os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
  }
  processes = [
    subprocess.Popen(
      [
        *(sys.executable, '-c', textwrap.dedent(PROGRAM)),
        *(directory, str(index), str(count), address),
      ],
      env=environment,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(count)
  ]
  try:
    errors = [process.communicate(timeout=120)[1] for process in processes]
  finally:
    for process in processes:
      process.kill()
  codes = [process.returncode for process in processes]
  assert not any(codes), '\n'.join(errors)
  return journal.read_records(directory, evaluation.SampleRecord)


# `python PROGRAM --distributed ...`; dies by itself if told to.
MORTAL = """
  import os, time
  from absl import flags
  from ttc.drivers import command, processes
  processes.define_flags()
  DIE = flags.DEFINE_integer('die', -1, 'Process that is killed.')
  SIGNAL = flags.DEFINE_integer('signal', 9, 'By what.')
  FAIL = flags.DEFINE_integer('fail', None, 'Process with an error; -1: all.')

  def fail():
    with processes.together():
      import jax
      processes.wait_for_all('met')
      if FAIL.value in (-1, jax.process_index()):
        raise ValueError(f'what {jax.process_index()} has found')
      processes.wait_for_all('never')

  def main():
    if FAIL.value is not None:
      return fail()
    processes.start()
    import jax
    processes.wait_for_all('met')
    if jax.process_index() == DIE.value:
      os.kill(os.getpid(), SIGNAL.value)
    if DIE.value >= 0:
      processes.wait_for_all('never')
    processes.finish()

  command.run('mortal', main, cache=False)
"""


def run_mortal(*flags, count=3, odd=None):
  """Statuses and errors of processes; the last has other flags."""
  last = flags if odd is None else odd
  address = f'127.0.0.1:{free_port()}'
  environment = os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
  }
  processes = [
    subprocess.Popen(
      [
        *(sys.executable, '-c', textwrap.dedent(MORTAL), '--distributed'),
        *(f'--coordinator={address}', f'--num_processes={count}'),
        *(f'--process_id={index}', *(flags if index < count - 1 else last)),
      ],
      env=environment,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(count)
  ]
  errors = [process.communicate(timeout=120)[1] for process in processes]
  return [process.returncode for process in processes], errors


class DistributedTest(parameterized.TestCase):
  @parameterized.parameters((7, 1), (7, 2), (3, 5))
  def test_share(self, items, processes):
    shares = [
      sampling.share(range(items), i, processes) for i in range(processes)
    ]
    self.assertEqual(sorted(itertools.chain(*shares)), list(range(items)))
    sizes = [len(share) for share in shares]
    self.assertLessEqual(max(sizes) - min(sizes), 1)

  @parameterized.parameters((0, 9), (2, 9), (0, 15), (2, 15))
  def test_a_killed_process_ends_the_others_with_a_line(self, die, by):
    began = time.monotonic()
    codes, errors = run_mortal(f'--die={die}', f'--signal={by}')
    self.assertLess(time.monotonic() - began, 60)
    self.assertEqual(codes.pop(die), -by)
    self.assertEqual(codes, [3, 3], errors)
    del errors[die]
    for error in errors:
      self.assertIn('another process ended; so does this\n', error)
      self.assertNotIn('Traceback', error)
      self.assertNotIn('Check failure', error)

  @parameterized.parameters(0, 1, -1)
  def test_an_error_is_said_by_who_has_found_it(self, fail):
    codes, errors = run_mortal(f'--fail={fail}', count=2)
    for index, (code, error) in enumerate(zip(codes, errors, strict=True)):
      has_failed = fail in (-1, index)
      self.assertEqual(code, 1 if has_failed else 3, error)
      self.assertEqual(f'what {index} has found' in error, has_failed)
      self.assertEqual('another process ended' in error, not has_failed)

  def test_processes_that_disagree_are_one_line_of_the_first(self):
    codes, errors = run_mortal('--die=-1', odd=('--die=-2',))
    self.assertEqual(codes, [1, 1, 1], errors)
    self.assertEndsWith(
      errors[0], ': processes [2] have other arguments than process 0\n'
    )
    self.assertNotIn('Traceback', errors[0])
    self.assertEqual(errors[1:], ['', ''])

  def test_what_says_which_process_it_is_may_differ(self):
    shared = processes._shared_arguments(
      ['--a=1', '--process_id', '2', '--b', '--process_id=3', '-coordinator=x']
    )
    self.assertEqual(shared, ['--a=1', '--b'])

  def test_without_a_death_all_end_well(self):
    codes, _ = run_mortal()
    self.assertEqual(codes, [0, 0, 0])

  @parameterized.parameters(
    ('nowhere.invalid:1', '--coordinator=nowhere.invalid:1: '),
    ('127.0.0.1:port', '--coordinator=127.0.0.1:port must be HOST:PORT'),
    ('127.0.0.1:99999', 'must be HOST:PORT'),
    ('192.0.2.1:2000', '--coordinator=192.0.2.1:2000: '),  # not of this machine
  )
  def test_a_bad_coordinator_is_one_line(self, address, says):
    done = subprocess.run(
      [
        *(sys.executable, '-c', textwrap.dedent(MORTAL), '--distributed'),
        *(f'--coordinator={address}', '--num_processes=2', '--process_id=0'),
      ],
      env=os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, sys.path))},
      capture_output=True,
      text=True,
      timeout=60,
    )
    self.assertEqual(done.returncode, 1)
    (line,) = done.stderr.strip().splitlines()
    self.assertIn(says, line)

  def test_two_processes_leave_the_records_of_one(self):
    with tempfile.TemporaryDirectory() as one:
      expected = run(one, 1)
    with tempfile.TemporaryDirectory() as two:
      got = run(two, 2)
      self.assertEqual(
        [path.name for path in pathlib.Path(two).iterdir()], ['samples.jsonl']
      )
    self.assertLen(expected, 11 * 4)
    self.assertEqual(evaluation.canonical(got), evaluation.canonical(expected))
    # Both took part.
    self.assertEqual({record.wall_s for record in got}, {0.0, 1.0})


if __name__ == '__main__':
  absltest.main()
