"""Compares searches over the noise of a diffusion model at equal cost.

  python scripts/diffuse.py --workdir=runs/linear
  python scripts/diffuse.py --config=configs/diffuse.py:rare --workdir=runs/rare
  python scripts/diffuse.py --config=configs/diffuse.py:images \\
      --workdir=runs/images
  python scripts/diffuse.py --config=configs/diffuse.py:video \\
      --workdir=runs/video

Best-of-N, zero-order search, search over paths, EvoSearch, FK steering and SVDD
on mixtures of which all is known, or on a trained model of Fashion-MNIST; on
videos a tree against linear search. The axis is calls of the network. Writes
metrics.jsonl, curves.png and table.md; of images samples.png, a row for each
search; of videos videos.gif and tree.png. Run again after a kill, it goes on
where it was.
"""

import pathlib

from absl import flags

from ttc.drivers import command, processes
from ttc.drivers.diffuse import diffuse

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'diffuse.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)

processes.define_flags()


def main():
  """Measures what is missing, and draws."""
  with processes.together():
    diffuse(_CONFIG.value.to_dict(), _WORKDIR.value)


if __name__ == '__main__':
  command.run('diffuse', main, resumes=True)
