"""Matplotlib, which comes with the extra `plots`."""

from typing import Any


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
