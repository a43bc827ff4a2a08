"""Trains a small transformer on noisy traces of a permutation word problem.

  python scripts/pretrain.py --config=configs/pretrain_s3.py --workdir=runs/s3
  python scripts/pretrain.py --config=configs/pretrain_s3.py:generators \\
      --workdir=runs/s3_generators

Writes metrics.jsonl, checkpoints, and at the end the model to `workdir/model`,
for `models.load`. Run again after a kill, it goes on from the last checkpoint
and ends with the same parameters, bit for bit. SIGTERM makes a checkpoint first
and gives status 75. Several devices, with --distributed those of all processes,
share the batch.
"""

import pathlib

from absl import flags

from ttc.drivers import command, processes
from ttc.drivers.pretrain import pretrain

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'pretrain_s3.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)
processes.define_flags()


def main():
  """Trains, or goes on training, and evaluates."""
  with processes.together():
    pretrain(_CONFIG.value.to_dict(), _WORKDIR.value)


if __name__ == '__main__':
  command.run('pretrain', main, resumes=True)
