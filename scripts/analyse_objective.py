"""Draws what update rules teach: drifts, targets, and lives lived by them.

  python scripts/analyse_objective.py --config=configs/meta_test_bandit.py \\
      --workdir=runs/pictures
  python scripts/analyse_objective.py --config=configs/meta_test_bandit.py \\
      --config.rules="('runs/ta_lpo/rule.npz', 'ppo')" --workdir=runs/drifts

For a rule of mirror learning the drift over (ratio, advantage) at n / N = 0,
0.5 and 1; for LPG what it says of a step by reward and probability, at the same
moments of lives of each horizon; for all of them entropy and size of updates
through life, in the first environment. A minute on two CPU cores.
"""

import pathlib

from absl import flags

from ttc.drivers import command
from ttc.drivers.analyse_objective import analyse_objective

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'meta_test_bandit.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all pictures.', required=True
)


def main():
  """Lives a few lives and draws."""
  analyse_objective(_CONFIG.value.to_dict(), _WORKDIR.value)


if __name__ == '__main__':
  command.run('analyse_objective', main)
