"""Trains a denoiser of small images, or of videos, and shows what it draws.

  python scripts/train_diffusion.py --workdir=runs/flow_unet
  python scripts/train_diffusion.py \\
      --config=configs/train_diffusion.py:ddpm_unet --workdir=runs/ddpm_unet
  python scripts/train_diffusion.py \\
      --config=configs/train_diffusion.py:video_unet --workdir=runs/video_unet

Flows and DDPM, a U-Net or a diffusion transformer, of Fashion-MNIST, MNIST or
painted stand-ins, or of digits that bounce; with classes, guidance and an
average of the parameters. configs/train_diffusion.py says what each costs and
reaches. Writes metrics.jsonl, checkpoints, and at the end model.npz,
samples.png (of videos samples.gif too), loss.png and evaluation.json. Run again
after a kill, it goes on from the last checkpoint and ends with the same
parameters, bit for bit. SIGTERM makes a checkpoint first and gives status 75.
Several devices, with --distributed those of all processes, share the batch.
"""

import pathlib
import sys

from absl import flags

from ttc.drivers import command, processes
from ttc.drivers.train_diffusion import train_diffusion

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'train_diffusion.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)
processes.define_flags()


def main():
  """Trains, or goes on with it, and shows what was learned."""
  with processes.together():
    told = [x for x in sys.argv[1:] if not x.startswith('--workdir')]
    config = _CONFIG.value.to_dict()
    train_diffusion(
      config, _WORKDIR.value, ' '.join(['scripts/train_diffusion.py', *told])
    )


if __name__ == '__main__':
  command.run('train_diffusion', main, resumes=True)
