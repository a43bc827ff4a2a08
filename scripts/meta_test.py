"""Tests frozen update rules on environments and horizons they never saw.

  python scripts/meta_test.py --config=configs/meta_test_bandit.py \\
      --workdir=runs/test
  python scripts/meta_test.py --config=configs/meta_test_bandit.py \\
      --config.rules="('runs/ta_lpg/rule.npz', 'a2c')" --workdir=runs/mine

Rules are learned ones, by name (`metarl.rule_names()`) or file, and a2c, dpo,
pg, ppo. For every environment and horizon each rule trains fresh agents; prints
interquartile means and chances of improvement with bootstrap intervals, and
writes returns.json, results.md and horizons.png.
"""

import pathlib

from absl import flags

from ttc.drivers import command
from ttc.drivers.meta_test import meta_test

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'meta_test_bandit.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)


def main():
  """Lives, compares, draws."""
  meta_test(_CONFIG.value.to_dict(), _WORKDIR.value)


if __name__ == '__main__':
  command.run('meta_test', main)
