"""What goes to disk and to the screen: metrics, checkpoints, plots."""

from ttc.io.checkpoints import (
  open_checkpoints,
  restore_checkpoint,
  save_checkpoint,
)
from ttc.io.compilation_cache import enable_compilation_cache
from ttc.io.metric_writers import (
  CsvWriter,
  JsonlWriter,
  LogWriter,
  MetricWriter,
  MultiWriter,
  TensorBoardWriter,
  WandbWriter,
)
from ttc.io.plots import PlotCurve, plot_scaling_curves, save_scaling_figure

__all__ = [
  'CsvWriter',
  'JsonlWriter',
  'LogWriter',
  'MetricWriter',
  'MultiWriter',
  'PlotCurve',
  'TensorBoardWriter',
  'WandbWriter',
  'enable_compilation_cache',
  'open_checkpoints',
  'plot_scaling_curves',
  'restore_checkpoint',
  'save_checkpoint',
  'save_scaling_figure',
]
