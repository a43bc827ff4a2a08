r"""Seconds and memory of reading long prompts, in blocks and in one piece.

  python scripts/bench_prefill.py --out=bench_prefill.json
  python scripts/bench_prefill.py --lengths=1000,4000
  python scripts/bench_prefill.py --check  # a tiny model, in seconds

Attention over a prompt comes in blocks of queries and keys, whose memory is
linear in the prompt; beside it the same with all logits at once, each in a
process of its own. One piece of 8000 tokens takes 6 GB.
"""

from absl import flags

from ttc.drivers import bench_prefill, command

_MODEL = flags.DEFINE_string('model', 'smollm2-135m', 'See models.load.')
_LENGTHS = flags.DEFINE_list(
  'lengths', ['1000', '2000', '4000', '8000'], 'Tokens of a prompt.'
)
_REPETITIONS = flags.DEFINE_integer('repetitions', 3, 'Timed readings.', 1)
_OUT = flags.DEFINE_string('out', None, 'JSON file for every single figure.')
_CHECK = flags.DEFINE_bool(
  'check', False, 'Tiny model and lengths: does everything still run?'
)


def main():
  """Measures all and prints a table."""
  for length in _LENGTHS.value:
    if not length.isdecimal() or int(length) < 1:
      raise ValueError(f'--lengths: {length!r} must be a whole number above 0')
  bench_prefill.bench_prefill(
    None if _CHECK.value else _MODEL.value,
    [64, 256] if _CHECK.value else [int(x) for x in _LENGTHS.value],
    repetitions=_REPETITIONS.value,
    out=_OUT.value,
  )


if __name__ == '__main__':
  command.run('bench_prefill', main, cache=False)
