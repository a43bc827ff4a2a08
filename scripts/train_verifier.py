"""Trains the head of a verifier on the records of an evaluation.

  python scripts/train_verifier.py --config.run=runs/smollm2 \\
      --workdir=runs/verifier

No human labels: final answers for an outcome head, the policy's continuations
for a process head. Writes verifier/, a Hugging Face directory that
`ttc.verifiers.load_verifier` reads, and report.md: best-of-N by it on items
that were held out, beside the policy's own mean log-probability. Killed, the
same command goes on where it was.
"""

import pathlib

from absl import flags

from ttc.drivers import command
from ttc.drivers.train_verifier import train_verifier

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'train_verifier.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)


def main():
  """Trains, or goes on with it, and reports."""
  train_verifier(_CONFIG.value.to_dict(), _WORKDIR.value)


if __name__ == '__main__':
  command.run('train_verifier', main, resumes=True)
