"""Speed of test-time adaptation, beside a torch library on the same cores.

  python scripts/bench_adapt.py --peer=checkouts/test-time-adaptation
  python scripts/bench_adapt.py --methods=tent --num_batches=5

Prints a Markdown table: images a second of TENT, EATA and CoTTA, as the median
of several runs with the smallest and the largest, same network, weights and
batches on both sides, views of CoTTA unchanged; a ratio above 1 says that ttc
is faster. Difference: the largest of the logits of the first batch. Compilation
of both programs is apart. Memory is what our program asks for beside its
arguments. The last column: several streams in one program, over as many runs of
one stream; below 1 it pays. The peer is mariodoebler/test-time-adaptation at
8b2ed63, and needs torch.
"""

from absl import flags

from ttc.drivers import bench_adapt, command

_BENCH = bench_adapt.Bench()
_METHODS = flags.DEFINE_list(
  'methods', list(_BENCH.methods), 'tent, eata, cotta.'
)
_BATCH_SIZE = flags.DEFINE_integer(
  'batch_size', _BENCH.batch_size, 'Images of a batch.'
)
_NUM_BATCHES = flags.DEFINE_integer(
  'num_batches', _BENCH.num_batches, 'Of a stream.'
)
_NUM_STREAMS = flags.DEFINE_integer(
  'num_streams', _BENCH.num_streams, 'In one program.'
)
_NUM_VIEWS = flags.DEFINE_integer('num_views', _BENCH.num_views, 'Of CoTTA.')
_REPETITIONS = flags.DEFINE_integer(
  'repetitions', _BENCH.repetitions, 'Timed runs of each.'
)
_PEER = flags.DEFINE_string('peer', '', 'Checkout of the torch library.')
_OUT = flags.DEFINE_string('out', None, 'JSON file of all measurements.')


def main():
  """Measures and prints."""
  bench = bench_adapt.Bench(
    tuple(_METHODS.value),
    _BATCH_SIZE.value,
    _NUM_BATCHES.value,
    _NUM_STREAMS.value,
    _NUM_VIEWS.value,
    _REPETITIONS.value,
    _PEER.value,
  )
  print(bench_adapt.bench_adapt(bench, _OUT.value))


if __name__ == '__main__':
  command.run('bench_adapt', main, cache=False)
