"""What sampling more buys, exactly, and what it costs."""

from ttc.scaling.best_of_k import (
  best_of_k_accuracy,
  best_of_n_kl_bound,
  best_of_n_law,
  expected_best_of_k,
)
from ttc.scaling.costs import (
  ModelShape,
  decode_flops,
  kv_bytes_read,
  kv_bytes_written,
  kv_cache_bytes,
  prefill_flops,
)
from ttc.scaling.first_finish import FirstFinishLaw, first_finish_law
from ttc.scaling.frontier import (
  Frontier,
  equivalent_tokens,
  growth_per_doubling,
  optimal_tokens,
  pass_at_trials,
)
from ttc.scaling.hardware import HARDWARE, QWEN3, QWEN3_MOE, Hardware
from ttc.scaling.kinetics import (
  DecodeCost,
  affordable_length,
  balanced_block_size,
  dense_cost,
  eflops,
  mean_cost,
  search_cost,
  sparse_cost,
  stack_models,
)
from ttc.scaling.pass_at_k import (
  g_pass_at_k,
  mg_pass_at_k,
  pass_at_k,
  pass_hat_k,
)
from ttc.scaling.votes import majority_accuracy, majority_accuracy_population

__all__ = [
  'HARDWARE',
  'QWEN3',
  'QWEN3_MOE',
  'DecodeCost',
  'FirstFinishLaw',
  'Frontier',
  'Hardware',
  'ModelShape',
  'affordable_length',
  'balanced_block_size',
  'best_of_k_accuracy',
  'best_of_n_kl_bound',
  'best_of_n_law',
  'decode_flops',
  'dense_cost',
  'eflops',
  'equivalent_tokens',
  'expected_best_of_k',
  'first_finish_law',
  'g_pass_at_k',
  'growth_per_doubling',
  'kv_bytes_read',
  'kv_bytes_written',
  'kv_cache_bytes',
  'majority_accuracy',
  'majority_accuracy_population',
  'mean_cost',
  'mg_pass_at_k',
  'optimal_tokens',
  'pass_at_k',
  'pass_at_trials',
  'pass_hat_k',
  'prefill_flops',
  'search_cost',
  'sparse_cost',
  'stack_models',
]
