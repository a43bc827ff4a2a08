"""Draws samples, searches, grades, and shows accuracy against compute.

  python scripts/evaluate.py --config=configs/smollm2_arithmetic.py \\
      --workdir=runs/smollm2 --config.num_samples=64

  python scripts/evaluate.py --config=configs/math_search.py \\
      --workdir=runs/search

Methods that choose among samples share samples.jsonl, those that steer decoding
(beam_search, mcts, ...) write searches.jsonl; both stand in metrics.jsonl,
report.md and scaling.png. Killed, the same command goes on where it was and
ends with the same records. With --distributed each process takes its share.
"""

import pathlib

from absl import flags

from ttc.drivers import command, processes
from ttc.drivers.evaluate import evaluate

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'smollm2_arithmetic.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)
_ALLOW_CONFIG_CHANGE = flags.DEFINE_bool(
  'allow_config_change', False, 'Resume although the configuration differs.'
)
processes.define_flags()


def main():
  """Samples, searches, grades, aggregates and reports."""
  with processes.together():
    evaluate(
      _CONFIG.value.to_dict(),
      _WORKDIR.value,
      allow_config_change=_ALLOW_CONFIG_CHANGE.value,
    )


if __name__ == '__main__':
  command.run('evaluate', main, resumes=True)
