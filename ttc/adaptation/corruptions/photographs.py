"""Photographs of frost, read from a directory or from a package.

They are not shipped: the PyPI package `imagecorruptions` (Apache-2.0) has them.
"""

import functools
import importlib.util
import os
import pathlib

import numpy as np

from ttc.adaptation.corruptions.weather import FrostTextures

# The release draws from the first five of its six.
_FILES = (
  'frost1.png',
  'frost2.png',
  'frost3.png',
  'frost4.jpg',
  'frost5.jpg',
)


@functools.cache
def frost_textures(
  directory: str | os.PathLike[str] | None = None, stride: int = 5
) -> FrostTextures:
  """Reads the photographs.

  Args:
    directory: that holds frost1.png to frost5.jpg; None for the package's.
    stride: every so many rows and columns are kept: 5 for images of about 32
      pixels, as in CIFAR-10-C, 1 for those of ImageNet-C.

  Raises:
    ImportError: without the package or without Pillow, naming the extra.
    FileNotFoundError: if a file is not in the directory.
  """
  place = pathlib.Path(directory) if directory else _of_package()
  try:
    from PIL import Image
  except ImportError:
    raise ImportError(_WANTED) from None
  found = []
  for name in _FILES:
    if not (place / name).is_file():
      raise FileNotFoundError(f'{place} does not hold {name}')
    image = np.asarray(Image.open(place / name).convert('RGB'), np.float32)
    found.append(image[stride // 2 :: stride, stride // 2 :: stride] / 255)
  sizes = np.array([image.shape[:2] for image in found], np.int32)
  images = np.zeros((len(found), *sizes.max(axis=0), 3), np.float32)
  for image, padded in zip(found, images, strict=True):
    padded[: image.shape[0], : image.shape[1]] = image
  return FrostTextures(images, sizes)


_WANTED = (
  'frost needs the photographs of the package imagecorruptions, and Pillow: '
  "pip install 'ttc-jax[corruptions]', or give a directory with frost1.png to "
  'frost5.jpg'
)


def _of_package():
  """Where they are; the package is not imported, as it needs OpenCV."""
  found = importlib.util.find_spec('imagecorruptions')
  if found is None or not found.submodule_search_locations:
    raise ImportError(_WANTED)
  return pathlib.Path(found.submodule_search_locations[0]) / 'frost'
