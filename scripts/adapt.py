"""Adapts classifiers to streams of shifted images, method beside method.

  python scripts/adapt.py --workdir=runs/adapt
  python scripts/adapt.py --fast --workdir=runs/adapt_fast
  python scripts/adapt.py --config=configs/adapt_fashion_mnist.py:continual \\
      --workdir=runs/continual
  python scripts/adapt.py --config=configs/adapt_fashion_mnist.py:sweep \\
      --workdir=runs/sweep
  python scripts/adapt.py --config.methods="('tent(learning_rate=0.005)',\\
      'mine.py:my_adapter')" --workdir=runs/mine

Methods are functions of ttc.adaptation or of a file; every config in
configs/adapt_* says what it costs and reaches. Source networks that are not in
the user's cache are trained first. Writes metrics.jsonl, table.md and pictures:
errors.png, reliability.png, pictures.png, forgetting.png, and of several rounds
or values rounds.png or sweep.png. Run again after a kill, it goes on from the
last piece of the stream. With --distributed each process takes its share of the
methods.
"""

import pathlib

from absl import flags

from ttc.drivers import command, processes
from ttc.drivers.adapt import adapt

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'adapt_fashion_mnist.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)
_FAST = flags.DEFINE_bool(
  'fast',
  False,
  'A tenth of the images, four corruptions, networks of an epoch.',
)
processes.define_flags()
# What costs most, made small.
FAST = {
  'num_items': 1000,
  'num_clean': 500,
  'num_source': 500,
  'num_epochs': 1.0,
  'num_rounds': 1,
}


def main():
  """Runs the methods along the stream, or goes on with it."""
  config = _CONFIG.value.to_dict()
  if _FAST.value:
    config = {**config, **FAST, 'corruptions': config['corruptions'][:4]}
  with processes.together():
    adapt(config, _WORKDIR.value)


if __name__ == '__main__':
  command.run('adapt', main, resumes=True)
