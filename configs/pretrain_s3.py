"""The calibrated base: a small model of noisy S3 traces.

  python scripts/pretrain.py --config=configs/pretrain_s3.py --workdir=runs/s3

Half a minute on two CPU cores. Sampled at temperature 1, the model is right
with a probability known in closed form: 0.466. With `:draft` behind the name of
this file it is a smaller one of noisier traces, to draft for the other: 0.259;
with `:generators` one of words that are longer and made of two elements: 0.415.
"""

from ml_collections import config_dict


def get_config(variant: str = 'base') -> config_dict.ConfigDict:
  """Returns the configuration of 'base', 'draft' or 'generators'."""
  config = config_dict.ConfigDict()
  config.seed = 0

  config.group = 's3'  # s3, s4 or s5
  draft, generators = variant == 'draft', variant == 'generators'
  config.length = 12 if generators else 8  # factors of a word
  # Elements that words are made of; 0 for all.
  config.num_generators = 2 if generators else 0
  # The chance that a written product is replaced.
  config.noise = 0.2 if draft else 0.08 if generators else 0.1
  config.test_fraction = 0.1  # of the words, by hash; never trained on

  config.num_layers = 1 if draft else 2
  config.embed_dim = 32 if draft else 64
  config.mlp_dim = 88 if draft else 176
  config.num_heads = 2 if draft else 4

  config.num_steps = 900
  config.batch_size = 64
  config.learning_rate = 3e-3
  config.warmup_steps = 100
  config.weight_decay = 1e-4

  config.checkpoint_every = 100
  config.num_eval_problems = 2048
  return config
