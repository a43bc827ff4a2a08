"""The attention kernels: are they right, and how far from memory's limit?"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from ttc import evaluation
from ttc.drivers.bench_engine import time_engine
from ttc.drivers.kernel_cases import (
  SMALL,
  Sizes,
  attempt,
  copy_bandwidth,
  make_cases,
  time_case,
)
from ttc.kernels import block_topk
from ttc.kernels.block_sparse_attention import block_sparse_attention
from ttc.kernels.decode_attention import decode_attention

# By backend; the first is the reference.
IMPLEMENTATIONS = {
  'cpu': ['xla'],
  'gpu': ['xla', 'triton', 'mosaic_gpu'],
  'tpu': ['xla', 'mosaic_tpu'],
}
OPERATIONS = {
  'decode_attention': decode_attention,
  'block_sparse_attention': block_sparse_attention,
  'block_scores': block_topk.block_scores,
}


def bench_kernels(
  sizes: Sizes,
  matrix: ModuleType | None,
  *,
  engine: bool,
  small: bool,
  save: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
  """All measurements, of JSON types.

  Args:
    sizes: of the cases; replaced by small ones where there is no accelerator.
    matrix: the cases of the tests, with their bounds; None if they are not
      there.
    engine: whether to time whole generations too.
    small: tiny sizes and few cases.
    save: is given the report so far after each row.

  Returns:
    The report.
  """
  backend = jax.default_backend()
  names = IMPLEMENTATIONS[backend]
  few, small = small, small or backend == 'cpu'
  sizes = SMALL if small else sizes
  bandwidth = copy_bandwidth(sizes, 2**20 if small else 2**30)
  missing = []
  if backend != 'gpu':
    missing.append(f'no GPU kernel: this is a {backend}; sizes are tiny')
  elif small:
    missing.append('nothing at full size: --check')
  if len(names) == 1:
    missing.append('no kernel was checked or timed: only XLA runs here')
  report = {
    'jax': jax.__version__,
    'device': jax.devices()[0].device_kind,
    'copy_bytes_per_s': bandwidth,
    'sizes': sizes._asdict(),
    'checks': [],
    'cases': [],
    'not_measured': missing,
  }

  def keep(name, rows):
    report[name] = []
    for row in rows:
      report[name].append(row)
      save(report)

  keep('checks', check_numbers(names[1:], matrix, missing, 6 if few else 1))
  cases = make_cases(sizes, names)
  keep('cases', (time_case(case, missing) for case in cases))
  if engine:
    keep('engine', time_engine(small, missing))
  else:
    missing.append('no whole generation: needs --engine')
  return report


def check_numbers(names, matrix, missing, every):
  """Errors of each kernel in each case of the tests' matrix, one by one."""
  if matrix is None:
    missing.append('no errors: the matrix of the tests is not there')
    return
  for name in names:
    for case in matrix.CASES[::every]:
      for dtype in matrix.DTYPES:
        row = {'implementation': name, 'operation': case.operation}
        row |= {'case': case.name, 'dtype': jnp.dtype(dtype).name}
        yield row | attempt(check_case, matrix, case, dtype, name)


def check_case(matrix, case, dtype, implementation):
  """Errors of one case, and whether they are small enough."""
  if (case.operation, implementation) == ('block_scores', 'mosaic_gpu'):
    raise NotImplementedError('Triton scores the blocks')
  operation = functools.partial(
    OPERATIONS[case.operation], implementation=implementation, **case.keywords
  )
  got = jax.jit(operation)(*case.cast(dtype))
  found = matrix.errors(case, got, dtype)
  limit = matrix.TOLERANCES[jnp.dtype(dtype).name]
  within = all(error <= most for error, most in zip(found, limit, strict=True))
  return found._asdict() | {'ok': within}


def markdown(report: dict[str, Any]) -> str:
  """The report as tables, and in plain words what it does not contain."""
  copy = report['copy_bytes_per_s']
  parts = [
    f'jax {report["jax"]} on {report["device"]}; a copy reads and writes '
    f'{copy / 1e9:.0f} GB/s.'
  ]
  if report['checks']:
    header = ['kernel', 'operation', 'dtype', 'cases', 'largest error', 'lse']
    parts.append(_table([*header, 'not within bounds'], check_rows(report)))
  header = ['case', 'by', 'us', 'GB/s', 'of the copy bandwidth']
  rows = []
  for case in report['cases']:
    for name, figures in case['contenders'].items():
      if 'seconds' in figures:
        rate = case['bytes'] / figures['seconds']
        times = f'{1e6 * figures["seconds"]:.0f}', f'{rate / 1e9:.0f}'
        rows.append([case['name'], name, *times, f'{rate / copy:.0%}'])
  parts.append(_table(header, rows))
  if 'engine' in report:
    header = ['model', 'prompt', 'N', 'new tokens', 'tokens/s', 'GB']
    rows = [
      [
        row['model'],
        *(f'{row[k]}' for k in ('prompt_tokens', 'num_samples', 'new_tokens')),
        f'{row["tokens_per_s"]:.0f}',
        f'{row["memory_bytes"] / 1e9:.1f}',
      ]
      for row in report['engine']
      if 'seconds' in row
    ]
    parts.append(_table(header, rows))
  missing = '\n'.join(f'- {line}' for line in report['not_measured'])
  parts.append(f'Not measured:\n\n{missing}' if missing else 'All measured.')
  return '\n\n'.join(parts) + '\n'


def check_rows(report):
  """One row for each kernel and dtype: the worst of its cases."""
  groups = {}
  for row in report['checks']:
    key = row['implementation'], row['operation'], row['dtype']
    groups.setdefault(key, []).append(row)
  for key, rows in groups.items():
    done = [row for row in rows if 'ok' in row]
    bad = [row['case'] for row in rows if not row.get('ok', 'skipped' in row)]
    worst = lambda name, done=done: max((row[name] for row in done), default=0)
    errors = f'{worst("output"):.1g}', f'{worst("lse"):.1g}'
    yield [*key, f'{len(done)} of {len(rows)}', *errors, ', '.join(bad) or '-']


def _table(header, rows):
  return '\n'.join(evaluation.markdown_table(header, list(rows)))
