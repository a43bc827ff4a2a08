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
from ttc.drivers import plan_programs, topologies
from ttc.scaling import slices

_TARGETS = {
  'h200': topologies.slice_target('h200-1'),
  'v5e': topologies.Target('tpu', 'v5e:2x2', {}),  # of which one is used
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
  sample, shapes = plan_programs.sample_program(
    models.transformer(config, attention), work
  )
  device = topologies.topology(_TARGETS[platform]).devices[0]
  sharding = jax.sharding.SingleDeviceSharding(device)
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes
  )
  text = topologies.lower(sample, shapes).compile().as_text()
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
