"""Learning to classify in context (2212.04458), with three kinds of memory.

  python scripts/in_context.py --config=configs/in_context_templates.py \\
      --workdir=runs/in_context
  python scripts/in_context.py \\
      --config=configs/in_context_templates.py:transformer,128 \\
      --workdir=runs/identify

Some minutes of one CPU core a seed. With 65 536 tasks a transformer of width 64
begins at chance, 10%, and ends at 93% of the last ten of 50 examples, also of
unseen tasks on unseen data (docs/claims/incontext.md).
"""

from ml_collections import config_dict


def get_config(variant: str = 'transformer,65536') -> config_dict.ConfigDict:
  """Returns the configuration.

  Args:
    variant: memory, transformer, lstm or fast_weights, and behind a comma the
      number of tasks; about 1 to memorise, 100 to identify, 10 000 to learn.
  """
  memory, _, num_tasks = variant.partition(',')
  config = config_dict.ConfigDict()
  config.tasks = 'templates'  # painted, mnist or fashion_mnist
  config.memory = memory
  config.num_tasks = int(num_tasks or 65536)
  config.length = 50
  config.width = 32 if memory == 'fast_weights' else 64
  config.num_layers = 2
  config.num_heads = 2
  config.seed = 0
  config.num_seeds = 3

  config.num_steps = 2000
  config.batch_size = 32
  # Against the plateau: at first most sequences keep their labels.
  config.easy_steps = 700
  config.unpermuted = 0.9
  config.easy_tasks = ''  # data of the easy steps, a curriculum over domains
  config.learning_rate = 3e-3
  config.warmup_steps = 100
  config.weight_decay = 1e-4
  config.b2 = 0.98
  config.eps = 1e-8
  config.clip = 1.0
  config.checkpoint_every = 100
  config.num_eval = 256
  return config
