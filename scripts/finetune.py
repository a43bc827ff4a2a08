"""Fine-tunes a model on a task by policy gradients.

  python scripts/finetune.py --config=configs/finetune_s3.py --workdir=runs/ft
  python scripts/finetune.py --config=configs/finetune_smollm2.py \\
      --workdir=runs/smollm2_rl

Writes metrics.jsonl, checkpoints, reward.png, length.png, evaluation.json, and
the model to `workdir/model` as transformers loads it; an adapter also to
`workdir/adapter` as peft does. Run again after a kill, it goes on from the last
checkpoint and ends with the same parameters, bit for bit. SIGTERM makes a
checkpoint first and gives status 75. Several devices, with --distributed those
of all processes, share the prompts; config.model_parallel and config.zero
spread the model over them, too.
"""

import pathlib

from absl import flags

from ttc.drivers import command, processes
from ttc.drivers.finetune import finetune

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'finetune_s3.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)
processes.define_flags()


def main():
  """Trains, or goes on training, saves and evaluates."""
  with processes.together():
    finetune(_CONFIG.value.to_dict(), _WORKDIR.value)


if __name__ == '__main__':
  command.run('finetune', main, resumes=True)
