"""Matplotlib, which comes with the extra `plots`."""

from typing import Any

from ttc.io import files, paths


def need_matplotlib() -> None:
  """Raises ImportError, naming the extra, where matplotlib is not installed."""
  try:
    import matplotlib as _  # noqa: F401
  except ImportError as error:
    raise ImportError(
      "pictures need matplotlib: pip install 'ttc-jax[plots]'"
    ) from error


def pyplot() -> Any:
  """`matplotlib.pyplot` without a screen; ImportError as above."""
  need_matplotlib()
  import matplotlib

  matplotlib.use('Agg')
  import matplotlib.pyplot as plt

  return plt


def save_figure(figure: Any, path: files.Path, **options: Any) -> None:
  """Writes a figure at once or not at all, in the format of the path's ending.

  Args:
    figure: of matplotlib.
    path: of the file; of this machine or on a bucket.
    **options: of `Figure.savefig`.

  Raises:
    OSError: naming the file that could not be written.
  """
  kind = paths.as_path(path).suffix.removeprefix('.') or 'png'
  with files.writing(path) as file:
    figure.savefig(file, format=kind, **options)
