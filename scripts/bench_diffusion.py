r"""Speed of sampling beside diffusers on torch, in turns.

  python scripts/bench_diffusion.py
  python scripts/bench_diffusion.py --sizes=16,64 --repetitions=9

Both run the same U-Net, with the weights that come with the package. Prints a
Markdown table: thousands of calls of the network, one image each, a second, as
the median of several with the smallest and the largest; a ratio above 1 says
that ttc is faster. Needs the extra `peers`.
"""

from absl import flags

from ttc.drivers import command
from ttc.drivers.bench_diffusion import bench_diffusion

_MODEL = flags.DEFINE_string('model', 'fashion_flow_unet', 'Whose weights.')
_SIZES = flags.DEFINE_list('sizes', ['4', '16', '64'], 'Images side by side.')
_STEPS = flags.DEFINE_integer('steps', 25, 'Of the sampler.', 1)
_THREADS = flags.DEFINE_integer('threads', 0, 'Of torch; 0: its own.', 0)
_REPETITIONS = flags.DEFINE_integer('repetitions', 5, 'Timed runs.', 1)


def main():
  """Times both and prints the table."""
  sizes = tuple(int(x) for x in command.numbers(_SIZES, int))
  numbers = _STEPS.value, _REPETITIONS.value, _THREADS.value
  print(bench_diffusion(_MODEL.value, sizes, *numbers))


if __name__ == '__main__':
  command.run('bench_diffusion', main, cache=False)
