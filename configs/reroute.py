"""Routes of a mixture of experts, changed at test time.

  python scripts/reroute.py --workdir=runs/c3po
  python scripts/reroute.py --config=configs/reroute.py:rewiring \\
      --workdir=runs/rewiring

Each trains a small mixture first, a minute or two of a CPU core. C3PO: from
75 to 95% right, where votes at that price come to 77; rewiring: the loss of
what routers do not expect by a fifth.
"""

from ml_collections import config_dict


def get_config(method: str = 'c3po') -> config_dict.ConfigDict:
  """Returns the configuration of a method, 'c3po' or 'rewiring'."""
  config = config_dict.ConfigDict()
  config.seed = 0
  config.method = method

  # 'small': a mixture of eight experts that is trained first, whose routers are
  # then disturbed (c3po) or biased (rewiring); or a directory or GGUF file.
  config.model = 'small'
  config.train_steps = 1000 if method == 'c3po' else 800
  # 'tables' (c3po) or 'chains' (rewiring) of 'small'; or a text task.
  config.task = 'tables' if method == 'c3po' else 'chains'
  config.reference_task = ''  # that references are of; '': of the same task
  config.num_items = 200
  config.num_references = 300  # of which those count that are answered right
  config.batch_size = 50
  config.max_new_tokens = 0  # 0: what the task asks for

  config.num_steps = 10 if method == 'c3po' else 5
  config.learning_rate = 1.0 if method == 'c3po' else 3.0  # of SGD
  # Beside them the commonest of as many samples as cost what the dearest costs,
  # at most so many; 0 for none.
  config.max_votes = 4096

  # C3PO.
  config.surrogates = ('mode finding', 'kernel regression', 'gradient descent')
  config.num_neighbours = 5
  config.num_layers = 1  # critical layers, the last ones; 5 in the paper
  config.num_core = 8  # core experts of each; 20 of 64 in the paper

  # Rewiring.
  config.layer_share = 1.0  # of layers that get a vector, the surest ones
  config.l2 = 0.05  # weight of the squared norm
  config.interval = 128  # tokens from one cycle to the next
  config.continues = False  # a cycle begins from the last one's vectors
  config.cache = 'keep'  # stale keys and values; or 'recompute'
  return config
