"""The program that a slice would run, made by its compiler and looked into.

Needs the compiler of TPUs, which the extra `kernels-aot` brings; no device.
"""

import dataclasses
import importlib.util
import math
import os
import re
from collections import Counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation, models, sampling
from ttc.scaling import slices
from ttc.types import Prompt

_COLLECTIVES = (
  'all-gather',
  'all-reduce',
  'all-to-all',
  'collective-permute',
  'reduce-scatter',
)
_BYTES = {'pred': 1, 's8': 1, 'u8': 1, 'bf16': 2, 'f16': 2}  # of others: 4


class Compiled(NamedTuple):
  """Of one device.

  Attributes:
    argument_bytes: weights, and keys and values of prompts and responses.
    temp_bytes: what else it needs at most.
    collectives: bytes of the results of each kind in one decoding step.
    largest_gather: bytes of the largest array that is gathered in a step.
  """

  argument_bytes: int
  temp_bytes: int
  collectives: dict[str, int]
  largest_gather: int


def compile_sample(
  config: models.TransformerConfig,
  name: str,
  layout: slices.Layout,
  work: slices.Work,
) -> Compiled:
  """Compiles the decoding of responses for a slice of TPUs.

  Args:
    config: of the model; its layers are scanned here, so that the compiler
      sees one.
    name: of the slice.
    layout: of the model on it.
    work: what is decoded; its problems must divide by the copies.

  Returns:
    What the program takes.

  Raises:
    ValueError: for a slice of other devices, or problems that do not divide.
    ImportError: without the compiler.
  """
  if work.num_problems % layout.data:
    raise ValueError(
      f'--problems={work.num_problems} must be a multiple of the '
      f'{layout.data} copies'
    )
  mesh = _mesh(name, layout)
  attention = None
  if work.kv_budget is not None:
    attention = models.SparseAttention(
      block_size=work.block_size, budget=work.kv_budget
    )
  config = dataclasses.replace(config, scan_layers=True)
  model = models.transformer(config, attention)
  sample, shapes = sample_program(model, work)
  compiled = sample.trace(*_on_mesh(mesh, model, *shapes)).lower().compile()
  memory, text = compiled.memory_analysis(), compiled.as_text()
  assert memory is not None and text is not None  # of the compiler for TPUs
  loops, _, _ = text.partition('\nENTRY ')
  collectives, largest = find_collectives(loops, config.num_layers)
  return Compiled(
    memory.argument_size_in_bytes,
    memory.temp_size_in_bytes,
    collectives,
    largest,
  )


def sample_program(
  model: models.LanguageModel, work: slices.Work
) -> tuple[Any, tuple[Any, ...]]:
  """`sampling.sample` of a prefilled batch, and the shapes that it takes.

  Args:
    model: a transformer.
    work: what is decoded.

  Returns:
    The function in `jax.jit`, and shapes of parameters, state and keys. Caches
    are written where they lie, as `sampling.decode_stream` has it.
  """
  B = work.num_problems
  stop = sampling.stop_rules(model.vocab_size, [0])

  def arguments():
    params = model.init(jax.random.key(0))
    prompt = Prompt(
      jnp.zeros((B, work.prompt_tokens), jnp.int32), jnp.zeros(B, jnp.int32)
    )
    state = sampling.prefill(
      model, params, prompt, work.num_samples, work.new_tokens
    )
    return params, state, jax.random.split(jax.random.key(0), B)

  def sample(params, state, keys):
    out = sampling.sample(model, params, keys, state, stop)
    return out.generation, out.state

  return jax.jit(sample, donate_argnums=1), jax.eval_shape(arguments)


def topology(platform: str, name: str, **options: Any) -> Any:
  """Devices that are not here, to compile for.

  Args:
    platform: `tpu` or `cuda`.
    name: of the topology, `v5e:2x4`.
    **options: of `topologies.get_topology_desc`.

  Raises:
    ImportError: without the compiler, naming the extra.
    OSError: if another process has it.
  """
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  from jax.experimental import topologies

  missing = ImportError(
    f"a compiler for {name} needs: pip install 'ttc-jax[kernels-aot]'"
  )
  if platform == 'tpu' and importlib.util.find_spec('libtpu') is None:
    raise missing
  try:
    return topologies.get_topology_desc(
      platform=platform, topology_name=name, **options
    )
  except (NotImplementedError, ValueError):
    raise missing from None
  except RuntimeError as error:  # one process at a time has that of TPUs
    text = ' '.join(str(error).split())[:200]
    raise OSError(f'the compiler for {name}: {text}') from None


def find_collectives(text: str, num_layers: int) -> tuple[Counter, int]:
  """Bytes of each kind of collective, and those of the largest gather.

  Args:
    text: of the optimised program's loops.
    num_layers: how often what is in a scanned layer is run.

  Returns:
    Bytes by kind, of results on one device.
  """
  kinds = '|'.join(_COLLECTIVES)
  operation = re.compile(rf'= (.*?) ({kinds})(?:-start)?\(')
  array = re.compile(r'(\w+)\[([\d,]*)\]')
  found, largest = Counter(), 0
  for line in text.splitlines():
    match = operation.search(line)
    if match is None:
      continue
    shapes, kind = match.groups()
    size = max(
      _BYTES.get(dtype, 4) * math.prod(map(int, filter(None, dims.split(','))))
      for dtype, dims in array.findall(shapes)
    )
    found[kind] += size * (num_layers if '/Block/' in line else 1)
    if kind in ('all-gather', 'all-to-all'):
      largest = max(largest, size)
  return found, largest


def print_compiled(compiled: Compiled, prediction: slices.Prediction) -> None:
  """What the compiler says beside what was predicted."""
  predicted = prediction.param_bytes + prediction.cache_bytes
  kinds = ', '.join(
    f'{kind} {size / 1e6:.3g} MB'
    for kind, size in sorted(compiled.collectives.items())
  )
  rows = [
    [
      'weights and cache, GB',
      f'{predicted / 1e9:.2f}',
      f'{compiled.argument_bytes / 1e9:.2f}',
    ],
    ['and to work in, GB', '', f'{compiled.temp_bytes / 1e9:.2f}'],
    ['exchanged in a step', f'{prediction.link_bytes / 1e6:.3g} MB', kinds],
    ['largest array gathered, MB', '', f'{compiled.largest_gather / 1e6:.3g}'],
  ]
  header = ['of one device', 'predicted', 'compiled']
  print('\n'.join(evaluation.markdown_table(header, rows)))


def check(name: str) -> None:
  """Raises a ValueError for a slice that is not of TPUs."""
  if name.partition('-')[0] not in ('v5e', 'v5p', 'v6e'):
    raise ValueError(f'--compile is for TPUs, not --slice={name}')


def _mesh(name: str, layout: slices.Layout) -> jax.sharding.Mesh:
  check(name)
  kind, _, _ = name.partition('-')
  count = layout.data * layout.model
  rows = 2 ** (int(math.log2(count)) // 2)
  shape = f'{rows}x{count // rows}' + ('x1' if kind == 'v5p' else '')
  devices = np.array(topology('tpu', f'{kind}:{shape}').devices)
  devices = devices.reshape(layout)
  return jax.sharding.Mesh(devices, ('data', 'model'))


def _on_mesh(mesh, model, params, state, keys) -> tuple[Any, ...]:
  """The arguments as shapes that say where they lie."""
  put = lambda x, sharding: jax.ShapeDtypeStruct(
    x.shape, x.dtype, sharding=sharding
  )
  rows = lambda x: jax.tree.map(
    put, x, models.cache_shardings(x, mesh, heads_axis=None)
  )
  cache = lambda x: jax.tree.map(
    put, x, models.cache_shardings(x, mesh, batch_axis=model.batch_axis)
  )
  state = rows(state._replace(prefix=None, suffix=None))._replace(
    prefix=cache(state.prefix), suffix=cache(state.suffix)
  )
  params = jax.tree.map(put, params, models.param_shardings(params, mesh))
  return params, state, rows(keys)
