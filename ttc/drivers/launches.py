"""What one decoding step launches, counted in the compiler's own program.

A short step is bound by how many operations a device is given one by one, not
by what they read. Models of two and of four layers are compiled, unrolled, for
a device that need not be there: half the difference is what a layer launches,
the rest is what a step does once. What only runs where rows are filtered or a
response waits (`conditional`) is one operation here.
"""

import collections
import dataclasses
import re

import jax

from ttc import evaluation, models
from ttc.drivers import plan_compile
from ttc.scaling import slices

# What XLA asks of a device that it compiles for; a `GpuTargetConfigProto`.
H200 = """
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
# Platform, name and options of a topology with such a device.
_TARGETS = {
  'h200': ('cuda', 'h200', {'topology': '1x1x1', 'target_config': H200}),
  'v5e': ('tpu', 'v5e:2x2', {}),
}
PLATFORMS = tuple(_TARGETS)
# Views, and ends of copies that run beside the rest.
_NO_LAUNCH = (
  'parameter', 'get-tuple-element', 'bitcast', 'tuple', 'constant', 'iota',
  'after-all', 'copy-start', 'copy-done', 'slice-start', 'slice-done',
)  # fmt: skip
_KINDS = {'fusion': 'fusions', 'custom-call': 'kernels'}


def print_launches(
  config: models.TransformerConfig, platform: str, work: slices.Work
) -> None:
  """A table: dense and sparse attention, of a layer and of the rest."""
  rows = []
  for name, attention in (
    ('dense', None),
    ('sparse', models.SparseAttention(dense_layers=())),
  ):
    layer, rest = launches(config, attention, platform, work)
    for part, count in ((f'{name}, a layer', layer), (f'{name}, rest', rest)):
      kinds = [count[kind] for kind in ('fusions', 'kernels', 'others')]
      rows.append([part, *map('{:g}'.format, (sum(kinds), *kinds))])
  header = ['', 'launches', 'fusions', 'kernels', 'others']
  print('\n'.join(evaluation.markdown_table(header, rows)))


def launches(
  config: models.TransformerConfig,
  attention: models.SparseAttention | None,
  platform: str,
  work: slices.Work,
) -> tuple[dict[str, float], dict[str, float]]:
  """Launches of a layer and of what a step does once, by kind."""
  two, four = (
    count_launches(
      compile_sample(
        dataclasses.replace(config, num_layers=layers, scan_layers=False),
        attention,
        platform,
        work,
      )
    )
    for layers in (2, 4)
  )
  kinds = (*_KINDS.values(), 'others')
  layer = {kind: (four[kind] - two[kind]) / 2 for kind in kinds}
  return layer, {kind: two[kind] - 2 * layer[kind] for kind in kinds}


def compile_sample(
  config: models.TransformerConfig,
  attention: models.SparseAttention | None,
  platform: str,
  work: slices.Work,
) -> str:
  """The optimised program of `sampling.sample` for a device, as text."""
  sample, shapes = plan_compile.sample_program(
    models.transformer(config, attention), work
  )
  kind, name, options = _TARGETS[platform]
  device = plan_compile.topology(kind, name, **options).devices[0]
  sharding = jax.sharding.SingleDeviceSharding(device)
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes
  )
  text = sample.trace(*shapes).lower().compile().as_text()
  assert text is not None  # of the compilers for these platforms
  return text


def count_launches(text: str) -> collections.Counter[str]:
  """What the largest loop of a program launches each time, by kind."""
  bodies = re.findall(r'body=%?([\w.\-]+)', text)
  found = [_count(_lines(text, name)) for name in set(bodies)]
  return max(found, key=lambda count: count.total())


def _count(lines):
  count = collections.Counter()
  for line in lines:
    match = re.search(r'= (?:\(.*?\)|\S+) ([\w\-]+)\(', line)
    if match and match[1] not in _NO_LAUNCH:
      count[_KINDS.get(match[1], 'others')] += 1
  return count


def _lines(text: str, name: str) -> list[str]:
  """Those of one computation."""
  begin = re.search(rf'^%?{re.escape(name)} \(.*\{{$', text, re.MULTILINE)
  assert begin is not None, name
  return text[begin.end() : text.index('\n}', begin.end())].splitlines()
