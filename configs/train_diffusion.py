"""Denoisers of Fashion-MNIST, and of videos of bouncing digits.

  python scripts/train_diffusion.py --workdir=runs/flow_unet
  python scripts/train_diffusion.py \\
      --config=configs/train_diffusion.py:ddpm_unet --workdir=runs/ddpm_unet

About ten minutes of two CPU cores each. What each reached stands in
ttc/diffusion/learned/README.md, where those lie that come with the package.
"""

from ml_collections import config_dict

_VARIANTS = {
  'flow_unet': ('fashion_mnist', 'unet', 'velocity'),
  'ddpm_unet': ('fashion_mnist', 'unet', 'noise'),
  'flow_dit': ('fashion_mnist', 'dit', 'velocity'),
  'video_unet': ('bouncing', 'unet', 'sample'),
}


def get_config(variant: str = 'flow_unet') -> config_dict.ConfigDict:
  """Returns the configuration.

  Args:
    variant: flow_unet, ddpm_unet, flow_dit or video_unet.
  """
  config = config_dict.ConfigDict()
  config.data, config.network, config.target = _VARIANTS[variant]
  config.width = {'unet': 16, 'dit': 64}[config.network]
  if config.data == 'bouncing':
    config.width = 24  # four frames at once
  config.depth = 3
  config.seed = 0

  config.num_steps = 4000 if config.data == 'bouncing' else 6000
  config.batch_size = 64
  config.learning_rate = 2e-3
  config.warmup_steps = 100
  config.clip = 1.0
  # Trees of videos are drawn without a label.
  config.dropped = 0.3 if config.data == 'bouncing' else 0.1
  config.ema = 0.999
  config.checkpoint_every = 250

  config.sampling_steps = 25
  config.guidance = 2.0 if config.data == 'fashion_mnist' else 1.0
  config.num_eval = 500
  return config
