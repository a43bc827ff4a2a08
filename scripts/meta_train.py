"""Learns an update rule over the lives of many agents.

  python scripts/meta_train.py --config=configs/meta_bandit.py \\
      --workdir=runs/ta_lpg
  python scripts/meta_train.py --config=configs/meta_bandit.py:lpg \\
      --config.seed=1 --workdir=runs/lpg

A rule (lpg, ta_lpg, lpo, ta_lpo), a meta-optimiser (evolution over whole lives,
or gradients through a few updates), levels and a range of horizons. Every
config in configs/meta_*.py says what it costs and reaches. Writes rule.npz for
`metarl.load_rule` and scripts/meta_test.py, metrics.jsonl, curve.png and
checkpoints. Run again after a kill, it goes on from the last checkpoint and
ends with the same rule, bit for bit. SIGTERM makes a checkpoint first and gives
status 75. Several devices, with --distributed those of all processes, share the
pairs or agents.
"""

import pathlib
import shlex
import sys

from absl import flags

from ttc.drivers import command, processes
from ttc.drivers.meta_train import meta_train

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'meta_bandit.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)
processes.define_flags()


def main():
  """Meta-trains, or goes on with it."""
  with processes.together():
    given = [x for x in sys.argv[1:] if not x.startswith('--workdir')]
    words = shlex.join(['python', 'scripts/meta_train.py', *given])
    meta_train(_CONFIG.value.to_dict(), _WORKDIR.value, words)


if __name__ == '__main__':
  command.run('meta_train', main, resumes=True)
