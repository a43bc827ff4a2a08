"""Images of shifted domains: released files and prepared data sets.

CIFAR-10-C, ImageNet-C, MNIST-C and DomainNet by way of tensorflow-datasets, or
a directory in the layout of CIFAR-10-C (https://zenodo.org/records/2535967):
`<corruption>.npy`, images of severities 1 to 5 one after the other, and
`labels.npy`. Nothing is downloaded.
"""

import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

_COMMON = (
  'gaussian_noise', 'shot_noise', 'impulse_noise', 'defocus_blur', 'glass_blur',
  'motion_blur', 'zoom_blur', 'snow', 'frost', 'fog', 'brightness', 'contrast',
  'elastic_transform', 'pixelate', 'jpeg_compression', 'gaussian_blur',
  'saturate', 'spatter', 'speckle_noise',
)  # fmt: skip


class _DataSet(NamedTuple):
  """What tensorflow-datasets calls one, and what is in it."""

  builder: str
  split: str
  num_classes: int
  domains: tuple[str, ...]
  renamed: Mapping[str, str]
  has_severities: bool


_SETS = {
  'cifar10': _DataSet(
    'cifar10_corrupted', 'test', 10, _COMMON,
    {'glass_blur': 'frosted_glass_blur', 'elastic_transform': 'elastic'}, True,
  ),
  'imagenet2012': _DataSet(
    'imagenet2012_corrupted', 'validation', 1000, _COMMON, {}, True
  ),
  'mnist': _DataSet(
    'mnist_corrupted', 'test', 10,
    (
      'identity', 'shot_noise', 'impulse_noise', 'glass_blur', 'motion_blur',
      'shear', 'scale', 'rotate', 'brightness', 'translate', 'stripe', 'fog',
      'spatter', 'dotted_line', 'zigzag', 'canny_edges',
    ), {}, False,
  ),
  'domainnet': _DataSet(
    'domainnet', 'test', 345,
    ('clipart', 'infograph', 'painting', 'quickdraw', 'real', 'sketch'), {},
    False,
  ),
}  # fmt: skip
NAMES = tuple(_SETS)


class LabelledImages(NamedTuple):
  """Images as bytes, and their classes."""

  images: UInt8[np.ndarray, 'n H W C']
  labels: Int[np.ndarray, ' n']


def corruption_name(dataset: str, domain: str) -> str:
  """What tensorflow-datasets calls a corruption, or another domain.

  Args:
    dataset: one of `NAMES`.
    domain: in the words of everyone else, as 'glass_blur'.

  Raises:
    ValueError: for what is not known.
  """
  found = _lookup(dataset, domain)
  return found.renamed.get(domain, domain)


def read_domain(
  dataset: str,
  domain: str,
  severity: int | None = None,
  *,
  side: int | None = None,
  num_items: int | None = None,
) -> LabelledImages:
  """Reads a domain that tensorflow-datasets has prepared.

  Args:
    dataset: 'cifar10', 'imagenet2012', 'mnist' or 'domainnet'.
    domain: a corruption, or a domain of DomainNet.
    severity: 1 to 5 of CIFAR-10-C and ImageNet-C; None for the others.
    side: to which pixels images are cut square and resized; None where all have
      one size.
    num_items: to read, the first ones; None for all.

  Raises:
    ValueError: for what is not known, and for bad data.
    FileNotFoundError: saying how to prepare it.
  """
  found = _lookup(dataset, domain)
  name = f'{found.builder}/{corruption_name(dataset, domain)}'
  if found.has_severities:
    _check_severity(severity)
    name = f'{name}_{severity}'
  elif severity is not None:
    raise ValueError(f'severity={severity}: {dataset} has no severities')
  records = _records(name, found.split)
  images, labels = [], []
  for i, record in enumerate(records):
    if i == num_items:
      break
    images.append(_square(np.asarray(record['image']), side))
    labels.append(record['label'])
  shapes = sorted({image.shape for image in images})
  if len(shapes) > 1:
    raise ValueError(
      f'{name}: images of {len(shapes)} shapes, as {shapes[0]} and '
      f'{shapes[-1]}; expected a side to resize them to'
    )
  return check_images(
    np.stack(images), np.array(labels), found.num_classes, name
  )


def read_directory(
  directory: str | os.PathLike[str],
  corruption: str,
  severity: int,
  num_classes: int,
) -> LabelledImages:
  """Reads one severity of `<corruption>.npy` and `labels.npy`.

  Args:
    directory: with such files.
    corruption: name of one, without the ending.
    severity: 1 to 5.
    num_classes: that labels may name.

  Raises:
    ValueError: for what is not known, and for bad data.
    FileNotFoundError: for a directory without labels.
  """
  place = pathlib.Path(directory)
  if not (place / 'labels.npy').is_file():
    raise FileNotFoundError(f'{place} does not hold labels.npy')
  there = sorted({path.stem for path in place.glob('*.npy')} - {'labels'})
  if corruption not in there:
    raise ValueError(
      f'corruption {corruption!r}, expected one of {", ".join(there)} in '
      f'{place}'
    )
  _check_severity(severity)
  path = place / f'{corruption}.npy'
  images = np.load(path, mmap_mode='r')
  labels = np.load(place / 'labels.npy')
  if len(images) != len(labels) or len(images) % 5 or not len(images):
    raise ValueError(
      f'{path}: {len(images)} images and {len(labels)} labels, expected as '
      'many of each, in five severities'
    )
  count = len(images) // 5
  piece = slice((severity - 1) * count, severity * count)
  return check_images(
    np.asarray(images[piece]), labels[piece], num_classes, str(path)
  )


def check_images(
  images: np.ndarray, labels: np.ndarray, num_classes: int, source: str
) -> LabelledImages:
  """Images as bytes, if they are images and labels name classes.

  Args:
    images: `[n, H, W]` or `[n, H, W, C]`, bytes, or floats in [0, 1].
    labels: `[n]`, whole numbers.
    num_classes: that there are.
    source: what to call them in an error.

  Raises:
    ValueError: of one line that names the first image that is not one, or the
      first label that is not a class.
  """
  if images.ndim == 3:
    images = images[..., None]
  if images.ndim != 4 or images.shape[-1] not in (1, 3):
    raise ValueError(
      f'{source}: images {images.shape}, expected [n, H, W] or '
      '[n, H, W, 1 or 3]'
    )
  if labels.shape != images.shape[:1] or labels.dtype.kind not in 'iu':
    raise ValueError(
      f'{source}: labels {labels.shape} of {labels.dtype}, expected '
      f'({len(images)},) whole numbers'
    )
  wrong = (labels < 0) | (labels >= num_classes)
  if wrong.any():
    at = int(np.argmax(wrong))
    raise ValueError(
      f'{source}: label {labels[at]} of image {at}, expected 0 to '
      f'{num_classes - 1}'
    )
  if images.dtype != np.uint8:
    images = _to_bytes(images, source)
  return LabelledImages(images, labels.astype(np.int32))


def _to_bytes(images, source):
  """Floats in [0, 1] as bytes."""
  if images.dtype.kind != 'f':
    raise ValueError(
      f'{source}: images of {images.dtype}, expected uint8 or floats in [0, 1]'
    )
  wrong = ~((images >= 0) & (images <= 1))  # true of nan, too
  if wrong.any():
    at = int(np.argmax(wrong.reshape(len(images), -1).any(axis=1)))
    value = images[at][wrong[at]][0]
    raise ValueError(
      f'{source}: value {value} in image {at}, expected floats in [0, 1]'
    )
  return np.round(255 * images).astype(np.uint8)


def _lookup(dataset, domain):
  """The data set, if it has the domain."""
  if dataset not in _SETS:
    raise ValueError(
      f'data set {dataset!r}, expected one of {", ".join(NAMES)}'
    )
  found = _SETS[dataset]
  if domain not in found.domains:
    raise ValueError(
      f'corruption {domain!r}, expected one of {", ".join(found.domains)} of '
      f'{dataset}'
    )
  return found


def _check_severity(severity):
  if severity not in (1, 2, 3, 4, 5):
    raise ValueError(f'severity={severity!r}, expected 1, 2, 3, 4 or 5')


def _records(name: str, split: str) -> Iterable[Any]:
  """Prepared data."""
  wanted = (
    f'{name} is not prepared: `tfds build {name} --file_format=array_record`'
  )
  try:
    import tensorflow_datasets as tfds
  except ImportError:
    raise FileNotFoundError(wanted) from None
  try:
    return tfds.data_source(name, split=split, download=False)
  except Exception:  # it raises as many kinds as there are ways to miss data
    raise FileNotFoundError(wanted) from None


def _square(image, side):
  """The largest square in the middle, resized."""
  if side is None:
    return image
  from PIL import Image

  height, width = image.shape[:2]
  least = min(height, width)
  top, left = (height - least) // 2, (width - least) // 2
  square = image[top : top + least, left : left + least]
  resized = Image.fromarray(square.squeeze()).resize(
    (side, side), Image.Resampling.BILINEAR
  )
  return np.asarray(resized).reshape(side, side, -1)
