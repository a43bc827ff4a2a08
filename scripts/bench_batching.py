r"""Many problems of uneven lengths: continuous batching beside whole batches.

  python scripts/bench_batching.py --out=bench_batching.json
  python scripts/bench_batching.py --records=runs/smollm2  # lengths of that run
  python scripts/bench_batching.py --front=640  # read once, and each time
  python scripts/bench_batching.py --check  # a tiny random model, in seconds

All ways draw the same samples, with the same number of rows in a step. In whole
batches a problem waits for the longest sample of its batch; in slots the next
problem takes the place of one that is finished. Rows a token are those that the
model ran on, idle ones included; list scheduling is what it takes if each
problem, in this order, begins where first there is a place, whatever its width.
"""

from absl import flags

from ttc.drivers import bench_batching, command

_DEFAULT = bench_batching.Bench()
_MODEL = flags.DEFINE_string('model', _DEFAULT.model, 'See `models.load`.')
_RECORDS = flags.DEFINE_string(
  'records', None, 'Workdir of evaluate.py whose lengths are drawn again.'
)
_NUM_PROBLEMS = flags.DEFINE_integer(
  'num_problems', _DEFAULT.num_problems, 'Problems.', 1
)
_NUM_SAMPLES = flags.DEFINE_integer(
  'num_samples', _DEFAULT.num_samples, 'Samples of each.', 1
)
_NUM_ROWS = flags.DEFINE_integer(
  'num_rows', _DEFAULT.num_rows, 'Samples that are decoded together.', 1
)
_MEAN_TOKENS = flags.DEFINE_integer(
  'mean_tokens', _DEFAULT.mean_tokens, 'Of a sample, if lengths are drawn.', 1
)
_MOST_TOKENS = flags.DEFINE_integer(
  'most_tokens', _DEFAULT.most_tokens, 'Where drawn lengths are cut.', 1
)
_REPETITIONS = flags.DEFINE_integer(
  'repetitions', _DEFAULT.repetitions, 'Timed runs of each way.', 1
)
_FRONT = flags.DEFINE_integer(
  'front', _DEFAULT.front, 'Tokens that all prompts begin with.', 0
)
_OUT = flags.DEFINE_string('out', None, 'JSON file for every single figure.')
_CHECK = flags.DEFINE_bool(
  'check', False, 'Tiny random model and sizes: does everything still run?'
)


def main():
  """Times all ways and prints a table."""
  bench = bench_batching.Bench(
    model=_MODEL.value,
    records=_RECORDS.value,
    num_problems=_NUM_PROBLEMS.value,
    num_samples=_NUM_SAMPLES.value,
    mean_tokens=_MEAN_TOKENS.value,
    most_tokens=_MOST_TOKENS.value,
    num_rows=_NUM_ROWS.value,
    repetitions=_REPETITIONS.value,
    front=_FRONT.value,
  )
  bench_batching.bench_batching(
    bench_batching.CHECK if _CHECK.value else bench, _OUT.value
  )


if __name__ == '__main__':
  command.run('bench_batching', main, cache=False)
