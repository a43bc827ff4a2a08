r"""The attention kernels: are they right, and how far from the memory's limit?

  python scripts/bench_kernels.py --out=bench_kernels.json
  python scripts/bench_kernels.py --engine --out=bench_engine.json
  python scripts/bench_kernels.py --check  # tiny sizes, in seconds

First every kernel of this device is held to the float32 reference over the
matrix of cases of the tests. Then five situations are timed, of head size 128,
8 key/value heads and 32 query heads in bfloat16:

  D1  dense, 64 sequences of 16384 tokens
  D2  the best 16 blocks of 64 (and 64 of 16) of the same, choice included
  D3  64 samples with 1024 tokens each, of one prompt of 16384
  D4  dense, one sequence of 131072 tokens
  P   one prompt of 16384 tokens, read at once

beside jax's own operations and those of torch, each on its own layout of the
cache. The limit is the time to read what has to be read at the measured
bandwidth of a copy. Calls are repeated on the device, each query made from the
output before it, and times are medians over such loops.

`--engine` draws samples from random weights in the shape of Qwen3-0.6B and 8B.

Whatever fails is noted in its row, and what was not measured is listed at the
end: without a GPU that is nearly everything, and the sizes are tiny. As jax
takes most of the device's memory when it starts, leave some to the peers:
XLA_PYTHON_CLIENT_MEM_FRACTION=.5.
"""

import importlib.util
import pathlib

from absl import flags

from ttc.drivers import bench_kernels, command
from ttc.drivers.kernel_cases import Sizes
from ttc.io import files
from ttc.io.paths import as_path

_OUT = flags.DEFINE_string(
  'out', None, 'JSON file for every figure; the tables go beside it as .md.'
)
_ENGINE = flags.DEFINE_bool('engine', False, 'Time whole generations too.')
_CHECK = flags.DEFINE_bool(
  'check', False, 'Tiny sizes and few cases: does everything still run?'
)
_REPETITIONS = flags.DEFINE_integer(
  'repetitions', 50, 'Loops that are timed.', 1
)
_WARM_UPS = flags.DEFINE_integer('warm_ups', 20, 'Loops before those.', 0)
_INNER = flags.DEFINE_integer('inner', 10, 'Calls in each loop.', 1)
_MATRIX = pathlib.Path(__file__).parents[1] / 'tests/kernels/kernel_matrix.py'


def main():
  """Checks, times and prints."""
  sizes = Sizes(
    repetitions=_REPETITIONS.value,
    warm_ups=_WARM_UPS.value,
    inner=_INNER.value,
  )
  if _OUT.value:
    files.write_atomically(_OUT.value, '{}\n')  # can it be written?
  report = bench_kernels.bench_kernels(
    sizes,
    load_matrix(),
    engine=_ENGINE.value,
    small=_CHECK.value,
    save=save,
  )
  save(report)
  print(bench_kernels.markdown(report))


def save(report):
  """Writes what there is; a run that is killed has lost the row it was at."""
  if _OUT.value:
    out = as_path(_OUT.value)
    files.write_atomically(out, files.to_json(report, indent=2) + '\n')
    files.write_atomically(
      out.with_suffix('.md'), bench_kernels.markdown(report)
    )


def load_matrix():
  """The cases of the tests; None outside a checkout."""
  if not _MATRIX.exists():
    return None
  spec = importlib.util.spec_from_file_location('kernel_matrix', _MATRIX)
  if spec is None or spec.loader is None:
    raise ImportError(f'{_MATRIX} is not a module')
  matrix = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(matrix)
  return matrix


if __name__ == '__main__':
  command.run('bench_kernels', main, cache=False)
