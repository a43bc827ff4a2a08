"""Quicker: clinical questions to recommendations, phase by phase."""

from ttc.benchmarks.quicker.bm25 import BM25, bm25_index, bm25_scores
from ttc.benchmarks.quicker.metrics import (
  Counts,
  bradley_terry,
  cohen_kappa,
  retrieval,
  screening,
  set_overlap,
)
from ttc.benchmarks.quicker.phases import Phases, quicker, run_phases, summarize

__all__ = [
  'BM25',
  'Counts',
  'Phases',
  'bm25_index',
  'bm25_scores',
  'bradley_terry',
  'cohen_kappa',
  'quicker',
  'retrieval',
  'run_phases',
  'screening',
  'set_overlap',
  'summarize',
]
