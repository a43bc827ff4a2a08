"""Changes the routes of a mixture of experts at test time, and compares.

  python scripts/reroute.py --workdir=runs/c3po
  python scripts/reroute.py --config=configs/reroute.py:rewiring \\
      --workdir=runs/rewiring
  python scripts/reroute.py --workdir=runs/olmoe --config.model=/models/olmoe \\
      --config.task=gsm8k --config.num_layers=5 --config.num_core=20

C3PO takes the routes of a question from those that served its neighbours among
solved references; rewiring lets routers learn from the prompt itself. Writes
metrics.jsonl, report.md (what is right and the tokens that it took, beside
votes of as many samples as cost the same) and routes.png, which experts read
which question. Run again after a kill, it goes on where it was.
"""

import pathlib

from absl import flags

from ttc.drivers import command
from ttc.drivers.reroute import reroute

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'reroute.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)


def main():
  """Measures what is missing, and reports."""
  reroute(_CONFIG.value.to_dict(), _WORKDIR.value)


if __name__ == '__main__':
  command.run('reroute', main, resumes=True)
