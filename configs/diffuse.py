"""Searches over noise at equal cost: mixtures, Fashion-MNIST, videos.

  python scripts/diffuse.py --workdir=runs/linear
  python scripts/diffuse.py --config=configs/diffuse.py:images \\
      --workdir=runs/images

Mixtures take some minutes of a CPU core, images and videos about ten.
"""

from ml_collections import config_dict


def get_config(bed: str = 'linear') -> config_dict.ConfigDict:
  """Returns the configuration.

  Args:
    bed: linear, rare, images or video.
  """
  config = config_dict.ConfigDict()
  config.bed = bed
  on_mixtures = bed in ('linear', 'rare')
  models = {'images': 'fashion_flow_unet', 'video': 'bouncing_unet'}
  config.model = models.get(bed, '')
  config.searches = (
    'best of N', 'zero order', 'paths', 'EvoSearch', 'FK steering', 'SVDD',
  )  # fmt: skip
  # Samples of best-of-N; each costs num_steps calls.
  config.budgets = (
    (15, 30, 59, 118, 236) if on_mixtures else (8, 15, 30, 59, 118)
  )
  config.num_seeds = {'images': 30, 'video': 40}.get(bed, 64)
  config.num_steps = 32 if on_mixtures else 16
  config.seed = 0
  config.classifier_steps = 2000
  return config
