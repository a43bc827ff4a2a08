"""How scripts end: interrupts, locks, and what is wrong in one line."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]

# Swallows every exception, as a callback does, and never returns by itself.
STUBBORN = """
  import time
  from ttc.drivers import command

  def main():
    print('begun', flush=True)
    while True:
      try:
        time.sleep(60)
      except BaseException:
        pass

  command.run('stubborn', main, resumes=True, cache=False)
"""
# Inside a compiled program, where no Python runs.
COMPILED = """
  import jax, jax.numpy as jnp
  from ttc.drivers import command

  def main():
    print('begun', flush=True)
    loop = lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 2, jnp.tanh, x)
    jax.block_until_ready(jax.jit(loop)(jnp.zeros((64, 64))))

  command.run('compiled', main, cache=False)
"""


def start(program, *args):
  return subprocess.Popen(
    [sys.executable, '-c', textwrap.dedent(program), *args],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.mark.parametrize('program', [STUBBORN, COMPILED])
def test_an_interrupt_ends_it_at_once(program):
  process = start(program)
  assert process.stdout.readline() == 'begun\n'
  time.sleep(0.5)
  began = time.monotonic()
  process.send_signal(signal.SIGINT)
  _, err = process.communicate(timeout=30)
  assert time.monotonic() - began < 2
  assert process.returncode == 130
  again = '; the same command goes on from here' * ('STUB' in program.upper())
  assert err.strip().endswith(f'interrupted{again}'), err
  assert 'Traceback' not in err


@pytest.mark.parametrize(
  ('raises', 'says'),
  [
    ("ValueError('a\\n b')", 'a b'),
    ("OSError(28, 'No space left on device', '/x/y')", "'/x/y'"),
    ("ImportError('needs x: pip install x')", 'pip install x'),
  ],
)
def test_bad_input_is_one_line(raises, says):
  program = f"""
    from ttc.drivers import command
    def main():
      raise {raises}
    command.run('this', main, cache=False)
  """
  process = start(program)
  out, err = process.communicate(timeout=60)
  assert process.returncode == 1 and not out
  assert err.startswith('this: ') and says in err and err.count('\n') == 1


def test_a_fault_of_ours_keeps_its_traceback():
  program = """
    from ttc.drivers import command
    command.run('this', lambda: {}['x'], cache=False)
  """
  process = start(program)
  _, err = process.communicate(timeout=60)
  assert process.returncode == 1 and 'Traceback' in err
