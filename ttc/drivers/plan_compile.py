"""The program that a slice would run, made by its compiler and looked into.

Needs the compilers that the extra `kernels-aot` brings; no device.
"""

import re
from typing import NamedTuple

import jax

from ttc import evaluation
from ttc.drivers import topologies
from ttc.drivers.collectives import Exchanged, find_collectives
from ttc.drivers.plan_programs import Program
from ttc.scaling import slices


class Compiled(NamedTuple):
  """Of one device.

  Attributes:
    argument_bytes: of decoding weights, and keys and values of prompts and
      responses; of a training its state and what it learns from.
    temp_bytes: what else it needs at most.
    exchanged: in one run of it, or one decoding step.
  """

  argument_bytes: int
  temp_bytes: int
  exchanged: Exchanged


def compile_program(program: Program) -> Compiled:
  """Compiles for the devices that the program's shapes lie on.

  Raises:
    MemoryError: if the compiler finds no room, with what it says (powers of
      1024).
    ImportError, OSError: without the compiler.
  """
  lowered = topologies.lower(program.function, program.shapes)
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    used = re.search(r'([\d.]+[KMGT])\D*?([\d.]+[KMGT])', str(error))
    says = 'the program' if used is None else f'{used[1]} of {used[2]} a device'
    raise MemoryError(f'the compiler finds no room for {says}') from None
  memory, text = compiled.memory_analysis(), compiled.as_text()
  assert memory is not None and text is not None  # of these compilers
  written = memory.output_size_in_bytes - memory.alias_size_in_bytes
  return Compiled(
    memory.argument_size_in_bytes,
    memory.temp_size_in_bytes + max(written, 0),
    find_collectives(text, of_a_step=program.of_a_step),
  )


def print_compiled(compiled: Compiled, prediction: slices.Prediction) -> None:
  """What the compiler says of decoding beside what was predicted."""
  predicted = prediction.param_bytes + prediction.cache_bytes
  gathered = compiled.exchanged.largest_gather / 1e6
  rows = [
    [
      'weights and cache, GB',
      f'{predicted / 1e9:.2f}',
      f'{compiled.argument_bytes / 1e9:.2f}',
    ],
    ['and to work in, GB', '', f'{compiled.temp_bytes / 1e9:.2f}'],
    [
      'exchanged in a step',
      f'{prediction.link_bytes / 1e6:.3g} MB',
      kinds_text(compiled.exchanged),
    ],
    ['largest array gathered, MB', '', f'{gathered:.3g}'],
  ]
  header = ['of one device', 'predicted', 'compiled']
  print('\n'.join(evaluation.markdown_table(header, rows)))


def print_training(compiled: Compiled, memory: float) -> None:
  """What the compiler says of an update, and whether that fits.

  Args:
    compiled: the program.
    memory: bytes of a device.
  """
  exchanged, total = (
    compiled.exchanged,
    compiled.argument_bytes + compiled.temp_bytes,
  )
  rows = [
    ['state and batch, GB', f'{compiled.argument_bytes / 1e9:.3g}'],
    ['and to work in, GB', f'{compiled.temp_bytes / 1e9:.3g}'],
    ['exchanged in an update', kinds_text(exchanged)],
    ['largest array gathered, MB', f'{exchanged.largest_gather / 1e6:.3g}'],
  ]
  header = ['of one device', 'compiled']
  print('\n'.join(evaluation.markdown_table(header, rows)))
  fits = 'It fits' if total <= memory else 'It does not fit'
  print(f'\n{fits}: {total / 1e9:.1f} GB of {memory / 1e9:.0f} GB a device.')


def kinds_text(exchanged: Exchanged) -> str:
  """Bytes of each kind of collective."""
  return ', '.join(
    f'{kind} {size / 1e6:.3g} MB'
    for kind, size in sorted(exchanged.by_kind.items())
  )
