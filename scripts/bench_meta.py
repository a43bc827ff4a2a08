r"""Speed of meta-training beside evosax, gymnax and flax, in turns.

  python scripts/bench_meta.py --out=bench_meta.json
  python scripts/bench_meta.py --parts=speed --games=catch --num_pairs=128
  python scripts/bench_meta.py --check  # tiny sizes, in seconds

Prints Markdown tables. `speed`: generations a second of LPG by evolution, as
the median of several with the smallest and the largest; a ratio above 1 says
that ttc is faster. `profile`: what the parts of one of our generations take,
each as the difference of two programs of which one has it. `growth`: time and
temporary memory by population and by lifetime, in chunks of equal size. Only
`speed` needs the extra `oracle`.
"""

from absl import flags

from ttc.drivers import bench_meta, command

_BENCH = bench_meta.Bench()
_GAMES = flags.DEFINE_list('games', [], 'Games; all if not given.')
_PARTS = flags.DEFINE_list(
  'parts', list(_BENCH.parts), 'speed, profile, growth.'
)
_NUM_PAIRS = flags.DEFINE_integer(
  'num_pairs', _BENCH.num_pairs, 'Half of the population.'
)
_HORIZON = flags.DEFINE_integer('horizon', _BENCH.horizon, 'Updates of a life.')
_NUM_ENVS = flags.DEFINE_integer(
  'num_envs', _BENCH.num_envs, 'Environments of an agent.'
)
_NUM_STEPS = flags.DEFINE_integer(
  'num_steps', _BENCH.num_steps, 'Steps of an update.'
)
_RULE_WIDTH = flags.DEFINE_integer(
  'rule_width', _BENCH.rule_width, "Width of the rule's GRU."
)
_EVAL_EPISODES = flags.DEFINE_integer(
  'eval_episodes', _BENCH.eval_episodes, 'Episodes at the end of a life.'
)
_REPETITIONS = flags.DEFINE_integer(
  'repetitions', _BENCH.repetitions, 'Timed generations of each.'
)
_PAIRS = flags.DEFINE_list(
  'pairs', list(map(str, _BENCH.pairs)), 'Populations of `growth`, in pairs.'
)
_HORIZONS = flags.DEFINE_list(
  'horizons', list(map(str, _BENCH.horizons)), 'Lifetimes of `growth`.'
)
_CHUNK_SIZE = flags.DEFINE_integer(
  'chunk_size', _BENCH.chunk_size, 'Pairs at a time, of `growth`.'
)
_OUT = flags.DEFINE_string('out', None, 'JSON file for every figure.')
_CHECK = flags.DEFINE_bool(
  'check', False, 'Tiny sizes and one game: does everything still run?'
)


def main():
  """Times everything and prints the tables."""
  bench = bench_meta.Bench(
    tuple(_GAMES.value),
    tuple(_PARTS.value),
    _NUM_PAIRS.value,
    _HORIZON.value,
    _NUM_ENVS.value,
    _NUM_STEPS.value,
    _RULE_WIDTH.value,
    _EVAL_EPISODES.value,
    _REPETITIONS.value,
    command.numbers(_PAIRS, int),
    command.numbers(_HORIZONS, int),
    _CHUNK_SIZE.value,
  )
  if _CHECK.value:
    bench = bench_meta.CHECK._replace(parts=tuple(_PARTS.value))
  print(bench_meta.bench_meta(bench, _OUT.value))


if __name__ == '__main__':
  command.run('bench_meta', main, cache=False)
