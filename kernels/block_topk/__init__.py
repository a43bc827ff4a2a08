"""Choice of the blocks of a cache that a query attends to."""

from ttc.kernels.block_topk.api import (
  always_read,
  block_scores,
  block_topk,
  pool_keys,
  select_blocks,
  split_blocks,
)
from ttc.kernels.block_topk.rules import (
  Cached,
  SelectionRule,
  lightning_indexer,
  mean_pool,
  moba,
  nsa,
  oracle,
  quest,
  random_blocks,
  sink_window,
)

__all__ = [
  'Cached',
  'SelectionRule',
  'always_read',
  'block_scores',
  'block_topk',
  'lightning_indexer',
  'mean_pool',
  'moba',
  'nsa',
  'oracle',
  'pool_keys',
  'quest',
  'random_blocks',
  'select_blocks',
  'sink_window',
  'split_blocks',
]
