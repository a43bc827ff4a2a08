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

SHARED_MEMORY = 232_448  # bytes that a program can have on sm_90

# What XLA asks of a device that it compiles for; a `GpuTargetConfigProto`.
_H200 = """
  gpu_device_info {
    threads_per_block_limit: 1024 threads_per_warp: 32
    shared_memory_per_block: 49152 shared_memory_per_core: 233472
    shared_memory_per_block_optin: 232448 threads_per_core_limit: 2048
    core_count: 132 fpus_per_core: 128
    block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
    block_dim_limit_z: 65535 memory_bandwidth: 4800000000000
    l2_cache_size: 62914560 clock_rate_ghz: 1.98
    device_memory_size: 150000000000
    cuda_compute_capability { major: 9 minor: 0 }
    registers_per_core_limit: 65536 registers_per_block_limit: 65536
  }
  platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 }
  runtime_version { major: 13 } device_description_str: "NVIDIA H200"
"""


class Program(NamedTuple):
  """A compiled program."""

  hlo: str  # after all optimisations
  shared_memory: dict[str, int]  # bytes of each kernel
  seconds: float  # to lower and compile


def lower(fn, *args):
  """Lowers for CUDA; `args` may be shapes."""
  with _device():
    return jax.jit(fn).trace(*args).lower(lowering_platforms=('cuda',))


def _device():
  """For which device to lower; jax 0.10 takes sm_90 for granted."""
  device = jax.sharding.AbstractDevice(
    device_kind='NVIDIA H200', num_cores=132, platform='gpu'
  )
  return jax.sharding.use_abstract_mesh(
    jax.sharding.AbstractMesh((), (), abstract_device=device)
  )


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
  return Program(
    compiled.as_text(),
    {name: int(size) for name, size in kernels},
    time.perf_counter() - start,
  )


def _topology():
  try:
    return topologies.get_topology_desc(
      platform='cuda',
      topology_name='h200',
      topology='1x1x1',
      target_config=_H200,
    )
  except NotImplementedError:
    pytest.skip('needs the CUDA wheels of jax: pip install -e .[kernels-aot]')
