r"""Speed of RL^2 beside gymnax, flax and optax in a loop, in turns.

  python scripts/bench_meta_rl.py
  python scripts/bench_meta_rl.py --num_envs=256 --repetitions=9
  python scripts/bench_meta_rl.py --check  # tiny sizes, in seconds

Prints a Markdown table: thousands of environment steps a second of whole
updates, playing and learning, as the median of several with the smallest and
the largest; a ratio above 1 says that ttc is faster. Needs the extra `oracle`.
"""

from absl import flags

from ttc.drivers import bench_meta_rl, command

_SIZES = bench_meta_rl.Sizes()
_NUM_ENVS = flags.DEFINE_integer(
  'num_envs', _SIZES.num_envs, 'Environments side by side.', 1
)
_NUM_EPOCHS = flags.DEFINE_integer(
  'num_epochs', _SIZES.num_epochs, 'Passes over a rollout.', 1
)
_NUM_MINIBATCHES = flags.DEFINE_integer(
  'num_minibatches', _SIZES.num_minibatches, 'Of a pass.', 1
)
_WIDTH = flags.DEFINE_integer('width', _SIZES.width, 'Of the networks.', 1)
_REPETITIONS = flags.DEFINE_integer('repetitions', 5, 'Timed updates.', 1)
_CHECK = flags.DEFINE_bool('check', False, 'Tiny sizes: does it still run?')


def main():
  """Times both and prints the table."""
  sizes = bench_meta_rl.Sizes(
    _NUM_ENVS.value, _NUM_EPOCHS.value, _NUM_MINIBATCHES.value, _WIDTH.value
  )
  if _CHECK.value:
    sizes = bench_meta_rl.Sizes(4, 1, 2, 8)
  print(bench_meta_rl.bench_meta_rl(sizes, _REPETITIONS.value))


if __name__ == '__main__':
  command.run('bench_meta_rl', main, cache=False)
