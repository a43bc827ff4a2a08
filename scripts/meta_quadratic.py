"""Learns step-size schedules of a noisy quadratic, whose best ones are known.

  python scripts/meta_quadratic.py --workdir=runs/quadratic
  python scripts/meta_quadratic.py --curvature=1,0.2,0.01 --start=1,1,4 \\
      --noise=0.3 --trained=20,100 --unseen=50,200 --workdir=runs/other

The claim of temporally-aware rules in miniature (2402.05828): evolution over
whole lifetimes finds schedules, gradients through one update find the greedy
one, and a rule without the inputs n/N and log N has to be the same at every
horizon. Half a minute a seed on two CPU cores. Writes losses.md and
schedules.png.
"""

from absl import flags

from ttc.drivers import command
from ttc.drivers.meta_quadratic import QuadraticOptions, meta_quadratic
from ttc.testbeds.noisy_quadratic import Quadratic

_CURVATURE = flags.DEFINE_list(
  'curvature', ['1', '0.05'], 'h, comma-separated.'
)
_START = flags.DEFINE_list('start', ['1', '1'], 'Second moments at first.')
_NOISE = flags.DEFINE_float('noise', 0.1, 'Variance of the gradients.')
_TRAINED = flags.DEFINE_list('trained', ['10', '50', '250'], 'Horizons.')
_UNSEEN = flags.DEFINE_list('unseen', ['25', '500'], 'More horizons.')
_SEEDS = flags.DEFINE_integer('seeds', 5, 'Of learning.', 1, 1000)
_GENERATIONS = flags.DEFINE_integer('generations', 6000, 'Of evolution.', 1)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)


def main():
  """Learns, compares, draws."""
  problem = Quadratic(
    command.numbers(_CURVATURE, float),
    _NOISE.value,
    command.numbers(_START, float),
  )
  chosen = QuadraticOptions(
    problem,
    command.numbers(_TRAINED, int),
    command.numbers(_UNSEEN, int),
    _SEEDS.value,
    _GENERATIONS.value,
  )
  meta_quadratic(chosen, _WORKDIR.value)


if __name__ == '__main__':
  command.run('meta_quadratic', main)
