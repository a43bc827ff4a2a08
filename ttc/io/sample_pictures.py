"""Pictures of samples: grids of grey images, and videos side by side."""

import io as bytes_io
from typing import Any

import numpy as np

from ttc.io import files

_SCALE, _GAP = 3, 2  # of a pixel; between images
_PAPER, _LINE = 255, 232  # of images; between them


def save_grid(path: files.Path, images: Any, *, scale: int = _SCALE) -> None:
  """Writes images side by side as PNG, dark ink on white paper.

  Args:
    path: of the file.
    images: `[rows, columns, H, W]` in [-1, 1]; -1 is paper.
    scale: pixels of the file for each of an image.

  Raises:
    ImportError: naming the extra, without Pillow.
  """
  _save(path, [_page(np.asarray(images), scale)], 'PNG')


def save_gif(
  path: files.Path, videos: Any, *, scale: int = _SCALE, pause: int = 120
) -> None:
  """Writes videos side by side as an endless GIF.

  Args:
    path: of the file.
    videos: `[rows, columns, T, H, W]` in [-1, 1].
    scale: pixels of the file for each of a frame.
    pause: milliseconds of a frame.

  Raises:
    ImportError: naming the extra, without Pillow.
  """
  frames = np.moveaxis(np.asarray(videos), 2, 0)
  _save(path, [_page(frame, scale) for frame in frames], 'GIF', pause)


def page(images: np.ndarray) -> np.ndarray:
  """Images `[rows, columns, H, W]` in [-1, 1] as one, bytes, with lines."""
  rows, columns, height, width = images.shape
  grey = np.clip(np.nan_to_num(images), -1, 1)
  ink = np.round(_PAPER * (1 - (grey + 1) / 2)).astype(np.uint8)
  sheet = np.full(
    (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP),
    _LINE,
    np.uint8,
  )
  for row in range(rows):
    for column in range(columns):
      top = _GAP + row * (height + _GAP)
      left = _GAP + column * (width + _GAP)
      sheet[top : top + height, left : left + width] = ink[row, column]
  return sheet


def _page(images, scale):
  return np.kron(page(images), np.ones((scale, scale), np.uint8))


def _save(path, pages, kind, pause=0):
  try:
    from PIL import Image
  except ImportError:
    raise ImportError(
      "pictures need Pillow: pip install 'ttc-jax[plots]'"
    ) from None
  first, *others = [Image.fromarray(sheet) for sheet in pages]
  buffer = bytes_io.BytesIO()
  more = {'append_images': others, 'duration': pause, 'loop': 0}
  first.save(
    buffer, kind, **({'save_all': True, **more} if kind == 'GIF' else {})
  )
  files.write_atomically(path, buffer.getvalue())
