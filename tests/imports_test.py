"""Importing computes nothing: processes meet before the first computation.

`jax.distributed.initialize` is refused once a backend is there, and scripts
import their driver, with it testbeds and tasks, before their flags are known.
"""

import os
import subprocess
import sys

import jax
import pytest

from ttc.claims.search import atts
from ttc.testbeds import enumerable

# On a platform that does not exist the first computation is an error.
PROGRAM = """
import importlib
import pkgutil
import traceback

import ttc

wrong = []
for module in pkgutil.walk_packages(ttc.__path__, 'ttc.', lambda name: None):
  try:
    importlib.import_module(module.name)
  except ImportError as error:
    # A peer that is not installed, or a file that runs inside the sandbox.
    if (error.name or 'ttc').startswith('ttc'):
      raise
  except RuntimeError as error:
    frames = traceback.extract_tb(error.__traceback__)
    *_, last = [frame for frame in frames if '/ttc/' in frame.filename]
    where = f'{last.filename}:{last.lineno}'
    wrong.append(f'{module.name} computes at {where}: {error}')
print('\\n'.join(wrong) or 'nothing')
"""


def test_no_module_computes_when_it_is_imported():
  paths = os.pathsep.join(filter(None, sys.path))
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM],
    env=os.environ | {'JAX_PLATFORMS': 'nowhere', 'PYTHONPATH': paths},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  assert done.stdout.strip() == 'nothing'


@pytest.mark.parametrize('constant', [atts.stop, enumerable.table])
def test_a_constant_is_not_of_the_program_that_first_asked(constant):
  getattr(constant, 'cache_clear', lambda: None)()
  for _ in range(2):  # two programs
    jax.jit(lambda: constant())()
  assert all(x.sum() == x.sum() for x in jax.tree.leaves(constant()))
