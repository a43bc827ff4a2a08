"""The calibrated base: a small model of noisy S3 traces.

  python scripts/pretrain.py --config=configs/pretrain_s3.py --workdir=runs/s3

Half a minute on two CPU cores. Sampled at temperature 1, the model is right
with a probability known in closed form: 0.466.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Returns the configuration."""
  config = config_dict.ConfigDict()
  config.seed = 0

  config.group = 's3'  # s3, s4 or s5
  config.length = 8  # factors of a word
  config.noise = 0.1  # chance that a written product is replaced
  config.test_fraction = 0.1  # of the words, by hash; never trained on

  config.num_layers = 2
  config.embed_dim = 64
  config.mlp_dim = 176
  config.num_heads = 4

  config.num_steps = 900
  config.batch_size = 64
  config.learning_rate = 3e-3
  config.warmup_steps = 100
  config.weight_decay = 1e-4

  config.checkpoint_every = 100
  config.num_eval_problems = 2048
  return config
