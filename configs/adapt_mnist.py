"""Digits that are turned, moved, scaled and drawn over: MNIST-C of our own.

  python scripts/adapt.py --config=configs/adapt_mnist.py --workdir=runs/mnist

Networks that are not in the cache are trained first, some minutes each. Moments
of the batch repair what changes contrast (stripe, fog), not what changes shape
(rotate, shear, translate).
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Returns the configuration."""
  config = config_dict.ConfigDict()
  config.methods = ('source', 'batch_norm', 'tent', 'eata', 't3a', 'lame')
  config.dataset = 'mnist'
  config.corruptions = (
    'stripe', 'rotate', 'scale', 'fog', 'shear', 'translate', 'dotted_line',
    'zigzag', 'shot_noise', 'impulse_noise', 'glass_blur', 'motion_blur',
    'brightness',
  )  # fmt: skip
  config.severity = 5
  config.table = 'mnist_ours'
  config.protocol = 'reset_each_shift'
  config.batch_size, config.num_items = 50, 2000
  config.num_clean, config.num_source = 1000, 2000
  config.seed, config.num_seeds = 0, 3
  config.num_epochs = 1.0
  config.cache = ''
  return config
