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
from ttc.scaling.pass_at_k import (
  g_pass_at_k,
  mg_pass_at_k,
  pass_at_k,
  pass_hat_k,
)
from ttc.scaling.votes import majority_accuracy, majority_accuracy_population

__all__ = [
  'FirstFinishLaw',
  'ModelShape',
  'best_of_k_accuracy',
  'best_of_n_kl_bound',
  'best_of_n_law',
  'decode_flops',
  'expected_best_of_k',
  'first_finish_law',
  'g_pass_at_k',
  'kv_bytes_read',
  'kv_bytes_written',
  'kv_cache_bytes',
  'majority_accuracy',
  'majority_accuracy_population',
  'mg_pass_at_k',
  'pass_at_k',
  'pass_hat_k',
  'prefill_flops',
]
