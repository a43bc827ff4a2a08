"""Linear regressors that a transformer writes (2505.15813).

  python scripts/in_context.py --config=configs/in_context_regression.py \\
      --workdir=runs/regression
  python scripts/in_context.py \\
      --config=configs/in_context_regression.py:subspace --workdir=runs/subspace

Some three minutes of one CPU core a seed. Errors at 8 to 128 examples are
within 1.08 of the least there can be, on a subspace within 1.03.
"""

from ml_collections import config_dict


def get_config(variant: str = 'isotropic') -> config_dict.ConfigDict:
  """Returns the configuration of 'isotropic' or 'subspace' responses."""
  config = config_dict.ConfigDict()
  config.tasks = variant
  config.memory = 'regressor'
  config.min_length = 4  # examples of a context
  config.length = 64
  config.max_length = 128  # that it is tried on
  config.noise = 1.0
  config.width = 64
  config.num_layers = 3
  config.num_heads = 4
  config.seed = 0
  config.num_seeds = 3

  config.num_steps = 3000
  config.batch_size = 32
  config.learning_rate = 3e-3
  config.warmup_steps = 200
  config.weight_decay = 1e-4
  config.b2 = 0.98
  config.clip = 1.0
  config.checkpoint_every = 250
  config.num_eval = 256
  return config
