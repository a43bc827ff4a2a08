"""Trains a model to learn inside its context, and shows how well it does.

  python scripts/in_context.py --config=configs/in_context_templates.py \\
      --workdir=runs/in_context
  python scripts/in_context.py \\
      --config=configs/in_context_templates.py:fast_weights \\
      --workdir=runs/fast_weights
  python scripts/in_context.py --config=configs/in_context_regression.py \\
      --workdir=runs/regression

Tasks (labelled data through random projections and permutations, or linear
responses) and a memory (transformer, lstm, fast_weights, or the regressor, a
transformer that writes linear responses). Every config in configs/in_context_*
says what it costs and reaches. Writes metrics.jsonl, checkpoints, and at the
end evaluation.json, loss.png and positions.png, with bands over seeds. Run
again after a kill, it goes on from the last checkpoint and ends with the same
parameters, bit for bit.
"""

import pathlib

from absl import flags

from ttc.drivers import command
from ttc.drivers.in_context import in_context

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'in_context_templates.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)


def main():
  """Trains, or goes on with it, and evaluates."""
  in_context(_CONFIG.value.to_dict(), _WORKDIR.value)


if __name__ == '__main__':
  command.run('in_context', main, resumes=True)
