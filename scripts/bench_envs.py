r"""Speed of environments beside jaxmarl and gymnax, in turns, in one process.

  python scripts/bench_envs.py --out=bench_envs.json
  python scripts/bench_envs.py --envs=simple_spread,coin_game --num_envs=256
  python scripts/bench_envs.py --envs=cart_pole,breakout  # beside gymnax
  python scripts/bench_envs.py --training --envs=smax_3m  # with a learner
  python scripts/bench_envs.py --check  # tiny sizes, in seconds

Prints a Markdown table: microseconds of one step of one environment, resets
included, as the median of several runs with the smallest and the largest in
brackets, and seconds from a Python function to a compiled program: seconds of
the processor where environments run on it, of all threads together. Actions are
random and the same for both; drawing them is not timed. A ratio below 1 says
that ttc takes less. Needs the extra `oracle`.
"""

from absl import flags

from ttc.drivers import bench_agents, bench_envs, command

_ENVS = flags.DEFINE_list('envs', [], 'Environments; all if not given.')
_NUM_ENVS = flags.DEFINE_multi_integer(
  'num_envs', [64, 1024], 'Environments side by side; repeat for several.', 1
)
_TOTAL_STEPS = flags.DEFINE_integer(
  'total_steps', 2**18, 'Steps of all environments together in a run.', 1
)
_REPETITIONS = flags.DEFINE_integer('repetitions', 5, 'Timed runs of each.', 1)
_COMPILATIONS = flags.DEFINE_integer(
  'compilations', 3, 'Timed compilations of each.', 1
)
_TRAINING = flags.DEFINE_bool(
  'training', False, 'Whole updates of IPPO instead of steps.'
)
_OUT = flags.DEFINE_string('out', None, 'JSON file for every figure.')
_CHECK = flags.DEFINE_bool(
  'check', False, 'Tiny sizes and few environments: does everything still run?'
)


def main():
  """Times everything and prints the table."""
  if _TRAINING.value:
    print(bench_agents.bench_training(_ENVS.value, _REPETITIONS.value))
    return
  bench = bench_envs.Bench(
    names=tuple(_ENVS.value),
    num_envs=tuple(_NUM_ENVS.value),
    total_steps=_TOTAL_STEPS.value,
    repetitions=_REPETITIONS.value,
    compilations=_COMPILATIONS.value,
  )
  if _CHECK.value:
    bench = bench_envs.CHECK
  print(bench_envs.bench_envs(bench, _OUT.value))


if __name__ == '__main__':
  command.run('bench_envs', main, cache=False)
