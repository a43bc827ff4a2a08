"""Corrupted Fashion-MNIST: which method, on which kind of stream?

  python scripts/adapt.py --workdir=runs/adapt
  python scripts/adapt.py --config=configs/adapt_fashion_mnist.py:continual \\
      --workdir=runs/continual

Networks that are not in the cache are trained first, some minutes each. The 15
corruptions need the photographs of frost: pip install 'ttc-jax[corruptions]'.
What it costs and reaches: docs/adaptation.md.
"""

from ml_collections import config_dict

# The heavy ones on grey images of 28 pixels come first, for --fast.
_CORRUPTIONS = (
  'gaussian_noise', 'fog', 'contrast', 'impulse_noise', 'brightness', 'snow',
  'frost', 'glass_blur', 'shot_noise', 'defocus_blur', 'motion_blur',
  'zoom_blur', 'elastic_transform', 'pixelate', 'jpeg_compression',
)  # fmt: skip
_FAST = ('source', 'batch_norm', 'tent(learning_rate=0.005)',
         'eata(learning_rate=0.005)', 'sar(learning_rate=0.005)', 'roid',
         't3a', 'lame')  # fmt: skip
# What differs from one pass over each corruption with a new start.
_VARIANTS = {
  'each_shift': {},
  'continual': {'protocol': 'continual', 'num_rounds': 10},
  'gradual': {'protocol': 'gradual'},
  'mixed': {'protocol': 'mixed'},
  'forgetting': {'protocol': 'with_clean_visits'},
  'recurring': {'protocol': 'recurring', 'num_rounds': 20,
                'order': 'dirichlet', 'order_value': 0.1},
  'sorted': {'order': 'sorted_by_class'},
  'blocks': {'order': 'blocks', 'order_value': 10.0},
  'label_shift': {'order': 'label_shift', 'order_value': 10.0},
  'moving_labels': {'order': 'moving_label_shift', 'order_value': 10.0},
  # On other corruptions: these are the ones to choose hyper-parameters on.
  'sweep': {'methods': ('tent', 'eata'), 'num_clean': 0,
            'corruptions': ('gaussian_blur', 'speckle_noise', 'spatter'),
            'sweep': 'learning_rate=0.0003,0.001,0.003,0.01,0.03'},
}  # fmt: skip


def get_config(variant: str = 'each_shift') -> config_dict.ConfigDict:
  """Returns the configuration.

  Args:
    variant: each_shift, continual, gradual, mixed, forgetting, recurring,
      sorted, blocks, label_shift, moving_labels or sweep.
  """
  if variant not in _VARIANTS:
    raise ValueError(f'variant {variant!r}: {", ".join(_VARIANTS)}')
  config = config_dict.ConfigDict()
  config.methods = _FAST
  config.dataset = 'fashion_mnist'
  config.corruptions = _CORRUPTIONS
  config.severity = 5
  config.table = 'small'
  config.frost = ''  # a directory of photographs; '' for the package's
  config.protocol = 'reset_each_shift'
  config.order, config.order_value = 'shuffled', 0.0
  config.num_rounds = 1
  config.batch_size, config.num_items = 50, 2000
  config.num_clean, config.num_source = 1000, 2000
  config.seed, config.num_seeds = 0, 3
  config.num_epochs = 4.0
  config.directory = config.sweep = config.cache = ''
  config.update(_VARIANTS[variant])
  return config
