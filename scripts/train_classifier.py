"""Trains the classifier that test-time adaptation starts from.

  python scripts/train_classifier.py --workdir=runs/classifier
  python scripts/train_classifier.py --config.seed=1 \\
      --workdir=runs/classifier_1

Fashion-MNIST or MNIST, which have to be on this machine: an error says where
they are found. Writes metrics.jsonl, checkpoints, evaluation.json, loss.png,
and the network to the user's cache, where scripts/adapt.py looks for it. Run
again after a kill, it goes on from the last checkpoint and ends with the same
parameters, bit for bit.
"""

import pathlib

from absl import flags

from ttc.drivers import command
from ttc.drivers.train_classifier import train_classifier

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'train_classifier.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)


def main():
  """Trains, or goes on with it, and evaluates."""
  train_classifier(_CONFIG.value.to_dict(), _WORKDIR.value)


if __name__ == '__main__':
  command.run('train_classifier', main, resumes=True)
