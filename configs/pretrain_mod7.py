"""A small model of noisy sums and differences modulo 7.

  python scripts/pretrain.py --config=configs/pretrain_mod7.py --workdir=runs/m7

A minute on two CPU cores. Sampled at temperature 1, the model is right with a
probability known in closed form: 0.534.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Returns the configuration."""
  config = config_dict.ConfigDict()
  config.seed = 0

  config.task = 'modular_chain'
  config.modulus = 7
  config.ops = '+-'
  config.length = 8  # operations
  config.noise = 0.08  # chance that a written value is replaced
  config.test_fraction = 0.1  # of the problems, by hash; never trained on

  config.num_layers = 2
  config.embed_dim = 64
  config.mlp_dim = 176
  config.num_heads = 4

  config.num_steps = 2000
  config.batch_size = 64
  config.learning_rate = 3e-3
  config.warmup_steps = 100
  config.weight_decay = 1e-4

  config.checkpoint_every = 100
  config.num_eval_problems = 2048
  return config
