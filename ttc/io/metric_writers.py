r"""Where numbers and texts of a run go, with the verbs of `clu.metric_writers`.

Every writer has `write_scalars(step, scalars)`, `write_texts(step, texts)`,
`flush()` and `close()`. `JsonlWriter` is the default: one greppable line per
call. Write from one process only (`jax.process_index() == 0`).
"""

import csv
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, SupportsFloat, runtime_checkable

from absl import logging

from ttc.io import files
from ttc.io.paths import local_only


@runtime_checkable
class MetricWriter(Protocol):
  """What all writers do."""

  def write_scalars(
    self, step: int, scalars: Mapping[str, SupportsFloat]
  ) -> None:
    """Writes named numbers of one step."""
    ...

  def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
    """Writes named texts of one step."""
    ...

  def flush(self) -> None:
    """Hands everything written so far to the system."""
    ...

  def close(self) -> None:
    """Flushes and closes; the writer is of no use afterwards."""
    ...


class LogWriter:
  """Writes to the absl log at level INFO."""

  def write_scalars(
    self, step: int, scalars: Mapping[str, SupportsFloat]
  ) -> None:
    """Logs one line with all numbers."""
    values = ', '.join(f'{k}={float(x):.6g}' for k, x in scalars.items())
    logging.info('[%d] %s', step, values)

  def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
    """Logs one entry per text."""
    for name, text in texts.items():
      logging.info('[%d] %s: %s', step, name, text)

  def flush(self) -> None:
    """Flushes the log."""
    logging.flush()

  def close(self) -> None:
    """Flushes the log."""
    logging.flush()


class JsonlWriter:
  """Appends one JSON object per call, `{"step": 3, "loss": 0.5}`."""

  def __init__(self, path: str | os.PathLike[str]):
    """Opens the file, made with its directory if missing."""
    self._file = _open_to_append(path)

  def write_scalars(
    self, step: int, scalars: Mapping[str, SupportsFloat]
  ) -> None:
    """Appends a line; the name `step` is taken."""
    self._write(step, {name: float(x) for name, x in scalars.items()})

  def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
    """Appends a line; the name `step` is taken."""
    self._write(step, texts)

  def flush(self) -> None:
    """Flushes the file."""
    self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()

  def _write(self, step: int, values: Mapping[str, Any]) -> None:
    if 'step' in values:
      raise ValueError("'step' cannot name a metric")
    self._file.write(files.to_json({'step': int(step), **values}) + '\n')


class CsvWriter:
  """Appends rows `step,name,value`, so that metrics may come and go."""

  def __init__(self, path: str | os.PathLike[str]):
    """Opens the file, made with its directory and a header if missing."""
    self._file = _open_to_append(path)
    self._rows = csv.writer(self._file, lineterminator='\n')
    if self._file.tell() == 0:
      self._rows.writerow(['step', 'name', 'value'])

  def write_scalars(
    self, step: int, scalars: Mapping[str, SupportsFloat]
  ) -> None:
    """Appends a row per number."""
    self._rows.writerows(
      [int(step), name, float(x)] for name, x in scalars.items()
    )

  def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
    """Appends a row per text."""
    self._rows.writerows([int(step), name, x] for name, x in texts.items())

  def flush(self) -> None:
    """Flushes the file."""
    self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


class TensorBoardWriter:
  """Writes TensorBoard events through tensorboardX."""

  def __init__(self, directory: str | os.PathLike[str]):
    """Opens an event file in the directory."""
    try:
      import tensorboardX
    except ImportError as error:
      raise ImportError(_needs('TensorBoardWriter', 'tensorboardX')) from error
    self._writer = tensorboardX.SummaryWriter(os.fspath(directory))

  def write_scalars(
    self, step: int, scalars: Mapping[str, SupportsFloat]
  ) -> None:
    """Adds the numbers."""
    for name, x in scalars.items():
      self._writer.add_scalar(name, float(x), step)

  def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
    """Adds the texts."""
    for name, text in texts.items():
      self._writer.add_text(name, text, step)

  def flush(self) -> None:
    """Flushes the events."""
    self._writer.flush()

  def close(self) -> None:
    """Closes the event file."""
    self._writer.close()


class WandbWriter:
  """Writes to Weights & Biases; call `wandb.login` beforehand."""

  def __init__(self, project: str, config: Mapping[str, Any] | None = None):
    """Starts a run of the project, with the configuration shown beside it."""
    try:
      import wandb
    except ImportError as error:
      raise ImportError(_needs('WandbWriter', 'wandb')) from error
    self._run = wandb.init(project=project, config=dict(config or {}))

  def write_scalars(
    self, step: int, scalars: Mapping[str, SupportsFloat]
  ) -> None:
    """Logs the numbers."""
    self._run.log({k: float(x) for k, x in scalars.items()}, step=step)

  def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
    """Logs the texts."""
    self._run.log(dict(texts), step=step)

  def flush(self) -> None:
    """Does nothing: wandb sends in the background."""

  def close(self) -> None:
    """Finishes the run."""
    self._run.finish()


class MultiWriter:
  """Passes everything on to several writers."""

  def __init__(self, writers: Sequence[MetricWriter]):
    """Takes the writers, which it also flushes and closes."""
    self._writers = tuple(writers)

  def write_scalars(
    self, step: int, scalars: Mapping[str, SupportsFloat]
  ) -> None:
    """Writes to each."""
    for writer in self._writers:
      writer.write_scalars(step, scalars)

  def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
    """Writes to each."""
    for writer in self._writers:
      writer.write_texts(step, texts)

  def flush(self) -> None:
    """Flushes each."""
    for writer in self._writers:
      writer.flush()

  def close(self) -> None:
    """Closes each."""
    for writer in self._writers:
      writer.close()


def _open_to_append(path: str | os.PathLike[str]):
  path = local_only(path, 'path')
  path.parent.mkdir(parents=True, exist_ok=True)
  return path.open('a', encoding='utf-8', newline='')


def _needs(name: str, package: str) -> str:
  return f"{name} needs {package}: pip install 'ttc-jax[logging]'"
