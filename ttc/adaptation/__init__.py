"""Test-time adaptation of classifiers: one method, one file."""

from ttc.adaptation.adapter import (
  Adapter,
  Batch,
  Prediction,
  Source,
  choose,
)
from ttc.adaptation.statistics import batch_norm, source
from ttc.adaptation.stream import StreamState, run_stream, start_stream
from ttc.adaptation.tent import tent

__all__ = [
  'Adapter',
  'Batch',
  'Prediction',
  'Source',
  'StreamState',
  'batch_norm',
  'choose',
  'run_stream',
  'source',
  'start_stream',
  'tent',
]
