"""What tests share, and seconds per room at the end of a run."""

import collections
import ctypes
import gc
import os
import pathlib
import subprocess
import sys

import jax
import pytest

TESTS = pathlib.Path(__file__).parent


def pytest_terminal_summary(terminalreporter):
  """Where the time went: a line for each room, the dearest first."""
  seconds, counts = collections.Counter(), collections.Counter()
  for reports in terminalreporter.stats.values():
    for report in reports:
      if not hasattr(report, 'duration'):
        continue
      parts = pathlib.PurePath(report.nodeid.split('::')[0]).parts
      room = parts[1] if len(parts) > 2 else 'whole'
      seconds[room] += report.duration
      counts[room] += report.when == 'call'
  if len(seconds) < 2:
    return
  terminalreporter.section('seconds per room')
  for room, total in seconds.most_common():
    terminalreporter.write_line(f'{total:8.1f}  {room} ({counts[room]} tests)')
  total = f'{sum(seconds.values()):8.1f}  all ({sum(counts.values())} tests)'
  terminalreporter.write_line(total)


def pytest_collection_finish():
  """What was imported stays: the search for garbage need not read it again."""
  gc.collect()
  gc.freeze()
  gc.set_threshold(50_000, 20, 50)


def pytest_sessionfinish():
  """Pytest searches for garbage five times at its end."""
  gc.freeze()


@pytest.fixture(autouse=True, scope='module')
def room_for_programs():
  """Forgets compiled programs before there is no room for more.

  Each takes up to a hundred memory maps, of which Linux gives a process 65 530;
  without one XLA ends it with a segmentation fault. And each takes some three
  megabytes, which go back to the system only when it is asked to take them.
  """
  yield
  maps = pathlib.Path('/proc/self/maps')
  if maps.exists() and maps.read_bytes().count(b'\n') > 10_000:
    jax.clear_caches()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture
def on_four_devices():
  """Runs code in a process with four CPU devices; returns what it prints."""

  def run(code):
    env = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
    several = '--xla_force_host_platform_device_count=4'
    env['XLA_FLAGS'] = f'{env.get("XLA_FLAGS", "")} {several}'
    done = subprocess.run(
      [sys.executable, '-c', code], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()

  return run
