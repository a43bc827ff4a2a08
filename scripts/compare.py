"""Compares every method at equal generated tokens, paired by problem.

  python scripts/compare.py --workdir=runs/compare
  python scripts/compare.py --workdir=runs/try --config.worlds="('table',)" \\
      --config.methods="('best_of_n', 'beam_search', 'self_consistency')"

A world is a policy, problems and a verifier (`ttc.testbeds`). compare.md has
the tables, compare.png the curves against tokens and against FLOPs, those of
the verifier included. A killed run goes on where it was.
"""

import pathlib

from absl import flags

from ttc.drivers import command, processes
from ttc.drivers.compare import compare

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'compare.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)
_CACHE = flags.DEFINE_string(
  'cache', 'runs/claims', 'Where trained models are kept.'
)
_REPORT_ONLY = flags.DEFINE_bool(
  'report_only', False, 'Measure nothing; report what has been measured.'
)

processes.define_flags()


def main():
  """Measures what is missing and reports."""
  with processes.together():
    compare(
      _CONFIG.value.to_dict(),
      _WORKDIR.value,
      _CACHE.value,
      report_only=_REPORT_ONLY.value,
    )


if __name__ == '__main__':
  command.run('compare', main, resumes=True)
