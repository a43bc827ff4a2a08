"""Devices that are not here, to compile for.

The compilers come with the extra `kernels-aot`: that of TPUs is libtpu, that of
GPUs is told what an H100 or H200 is.
"""

import contextlib
import importlib.util
import math
import os
from typing import Any, NamedTuple

import jax
import numpy as np

from ttc.scaling import slices


class Target(NamedTuple):
  """What `topologies.get_topology_desc` is asked for."""

  platform: str
  name: str
  options: dict[str, Any]


# What XLA asks of a device that it compiles for; a `GpuTargetConfigProto`.
_HOPPER = """
  gpu_device_info {{
    threads_per_block_limit: 1024 threads_per_warp: 32
    shared_memory_per_block: 49152 shared_memory_per_core: 233472
    shared_memory_per_block_optin: 232448 threads_per_core_limit: 2048
    core_count: 132 fpus_per_core: 128
    block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
    block_dim_limit_z: 65535 memory_bandwidth: {bandwidth}
    l2_cache_size: 62914560 clock_rate_ghz: 1.98
    device_memory_size: {memory}
    cuda_compute_capability {{ major: 9 minor: 0 }}
    registers_per_core_limit: 65536 registers_per_block_limit: 65536
  }}
  platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 }}
  runtime_version {{ major: 13 }} device_description_str: "NVIDIA {name}"
"""
H200 = _HOPPER.format(
  name='H200', bandwidth=4_800_000_000_000, memory=150_000_000_000
)
_GPUS = {
  'h100': _HOPPER.format(
    name='H100', bandwidth=3_350_000_000_000, memory=85_000_000_000
  ),
  'h200': H200,
}
_TPUS = ('v5e', 'v5p', 'v6e')


def check(name: str) -> None:
  """Raises a ValueError for a slice that there is no compiler for."""
  kind, _, _ = name.partition('-')
  count = slices.parse_slice(name).num_devices
  if kind in _GPUS and count > 8:
    raise ValueError(f'--compile is for up to 8 GPUs, not --slice={name}')
  if kind in _TPUS and count & (count - 1):
    raise ValueError(f'--compile is for 1, 2, 4, ... chips, not --slice={name}')
  if kind not in (*_TPUS, *_GPUS):
    known = ', '.join((*_TPUS, *_GPUS))
    raise ValueError(f'--compile is for {known}, not --slice={name}')


def slice_target(name: str) -> Target:
  """Of a slice by its usual name; see `slices.parse_slice`."""
  check(name)
  kind, _, _ = name.partition('-')
  count = slices.parse_slice(name).num_devices
  if kind in _GPUS:
    options = {'topology': f'1x1x{count}', 'target_config': _GPUS[kind]}
    return Target('cuda', kind, options)
  rows = 2 ** (int(math.log2(count)) // 2)
  shape = f'{rows}x{count // rows}' + ('x1' if kind == 'v5p' else '')
  return Target('tpu', f'{kind}:{shape}', {})


def slice_mesh(name: str, layout: slices.Layout) -> jax.sharding.Mesh:
  """The devices of a slice, over `data` and `model`."""
  devices = np.array(topology(slice_target(name)).devices).reshape(layout)
  return jax.sharding.Mesh(devices, ('data', 'model'))


def lower(function: Any, shapes: tuple[Any, ...]) -> Any:
  """A function in `jax.jit`, lowered for the devices that its shapes lie on."""
  places = {leaf.sharding for leaf in jax.tree.leaves(shapes)}
  platforms = {d.platform for place in places for d in place.device_set}
  gpus = (
    on_hopper() if platforms & {'gpu', 'cuda'} else contextlib.nullcontext()
  )
  with gpus:
    return function.trace(*shapes).lower()


def on_hopper() -> contextlib.AbstractContextManager[Any]:
  """Inside, kernels of GPUs are lowered for sm_90; jax 0.10 always does so."""
  device = jax.sharding.AbstractDevice(
    device_kind='NVIDIA H200', num_cores=132, platform='gpu'
  )
  return jax.sharding.use_abstract_mesh(
    jax.sharding.AbstractMesh((), (), abstract_device=device)
  )


def topology(target: Target) -> Any:
  """The devices.

  Raises:
    ImportError: without the compiler, naming the extra.
    OSError: if another process has it.
  """
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  from jax.experimental import topologies

  missing = ImportError(
    f"a compiler for {target.name} needs: pip install 'ttc-jax[kernels-aot]'"
  )
  if target.platform == 'tpu' and importlib.util.find_spec('libtpu') is None:
    raise missing
  try:
    return topologies.get_topology_desc(
      platform=target.platform, topology_name=target.name, **target.options
    )
  except (NotImplementedError, ValueError):
    raise missing from None
  except RuntimeError as error:  # one process at a time has that of TPUs
    text = ' '.join(str(error).split())[:200]
    raise OSError(f'the compiler for {target.name}: {text}') from None
