"""Programs for an H200, made where there is none.

Lowering to CUDA needs jax alone. Compiling needs the wheels of the extra
`kernels-aot`, which bring XLA's compiler for CUDA; neither driver nor toolkit.
"""

import pathlib
import re
import tempfile
import time
from typing import NamedTuple

import jax
import pytest
from jax.experimental import topologies

from ttc.drivers.topologies import H200, on_hopper

SHARED_MEMORY = 232_448  # bytes that a program can have on sm_90


def print_temporaries(compiled):
  """For `pytest -s`."""
  memory = compiled.memory_analysis()
  print(f' {memory.temp_size_in_bytes / 1e6:.1f} MB of temporaries')


class Program(NamedTuple):
  """A compiled program."""

  hlo: str  # after all optimisations
  shared_memory: dict[str, int]  # bytes of each kernel
  seconds: float  # to lower and compile


def lower(fn, *args):
  """Lowers for CUDA; `args` may be shapes."""
  with on_hopper():
    return jax.jit(fn).trace(*args).lower(lowering_platforms=('cuda',))


def compile_(fn, *args):
  """Compiles for sm_90, and asks XLA what its kernels need."""
  sharding = jax.sharding.SingleDeviceSharding(_topology().devices[0])
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), args
  )
  start = time.perf_counter()
  with tempfile.TemporaryDirectory() as folder:
    compiled = lower(fn, *shapes).compile(
      compiler_options={'xla_dump_to': folder}
    )
    (thunks,) = pathlib.Path(folder).glob('*thunk_sequence.txt')
    kernels = re.findall(
      r'kCustomKernel .*\] (\S+) grid: .* shared_memory: (\d+) bytes',
      thunks.read_text(),
    )
  print_temporaries(compiled)
  text = compiled.as_text()
  assert text is not None  # of this compiler
  return Program(
    text,
    {name: int(size) for name, size in kernels},
    time.perf_counter() - start,
  )


def _topology():
  try:
    return topologies.get_topology_desc(
      platform='cuda',
      topology_name='h200',
      topology='1x1x1',
      target_config=H200,
    )
  except NotImplementedError:
    pytest.skip('needs the CUDA wheels of jax: pip install -e .[kernels-aot]')
