"""What goes to disk and to the screen: metrics, checkpoints, plots."""

from ttc.io.checkpoints import (
  open_checkpoints,
  restore_checkpoint,
  save_checkpoint,
)
from ttc.io.metric_writers import (
  CsvWriter,
  JsonlWriter,
  LogWriter,
  MetricWriter,
  MultiWriter,
  TensorBoardWriter,
  WandbWriter,
)
from ttc.io.plots import PlotCurve, plot_scaling_curves

__all__ = [
  'CsvWriter',
  'JsonlWriter',
  'LogWriter',
  'MetricWriter',
  'MultiWriter',
  'PlotCurve',
  'TensorBoardWriter',
  'WandbWriter',
  'open_checkpoints',
  'plot_scaling_curves',
  'restore_checkpoint',
  'save_checkpoint',
]
