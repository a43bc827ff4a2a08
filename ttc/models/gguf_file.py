"""The GGUF container: its metadata, and its tensors as float32 arrays.

The header is read here: `gguf.GGUFReader` makes one array per vocabulary entry,
which takes seconds. Dequantisation is the `gguf` package's, so every type that
it knows is read.
"""

import math
import os
import struct
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

_MAGIC = b'GGUF'
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
# Value type -> format of `struct`; 7 is bool.
_SCALARS = {0: 'B', 1: 'b', 2: 'H', 3: 'h', 4: 'I', 5: 'i', 6: 'f', 7: '?'}
_SCALARS |= {10: 'Q', 11: 'q', 12: 'd'}


class TensorInfo(NamedTuple):
  """Where a tensor lies; `shape` is row-major, the reverse of the file's."""

  shape: tuple[int, ...]
  type: int  # a `gguf.GGMLQuantizationType`
  offset: int  # from the start of the file


class GGUFFile(NamedTuple):
  """An opened GGUF file; tensors are read on request."""

  path: str
  metadata: dict[str, Any]
  tensors: dict[str, TensorInfo]


def read(path: str | os.PathLike) -> GGUFFile:
  """Reads the header of a GGUF file.

  Args:
    path: of the file.

  Returns:
    Its metadata and the places of its tensors.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is not a GGUF file of a known version, or is cut short.
  """
  path = os.fspath(path)
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path}: no such file')
  with open(path, 'rb') as file:
    if file.read(4) != _MAGIC:
      raise ValueError(f'{path}: not a GGUF file (it must begin with b"GGUF")')
    try:
      metadata, tensors = _read_header(file)
    except (struct.error, UnicodeDecodeError, MemoryError, OverflowError):
      raise ValueError(
        f'{path}: truncated or damaged: reading stopped at byte '
        f'{file.tell()} of {os.path.getsize(path)}'
      ) from None
    except ValueError as error:
      raise ValueError(f'{path}: {error}') from None
  return GGUFFile(path, metadata, tensors)


def tensor(file: GGUFFile, name: str) -> Float32[np.ndarray, '...']:
  """Reads one tensor, dequantised.

  Args:
    file: what `read` returned.
    name: of the tensor.

  Returns:
    The tensor in row-major order: a matrix is `[out, in]`.

  Raises:
    ValueError: if the file has no such tensor, is cut short, or stores it in a
      type that the `gguf` package cannot dequantise.
  """
  gguf = _import_gguf()
  if name not in file.tensors:
    raise ValueError(f'{file.path}: there is no tensor {name!r}')
  info = file.tensors[name]
  try:
    kind = gguf.GGMLQuantizationType(info.type)
    block_size, block_bytes = gguf.GGML_QUANT_SIZES[kind]
  except (ValueError, KeyError):
    raise ValueError(
      f'{file.path}: tensor {name!r} has the unknown type {info.type}'
    ) from None
  num_bytes = math.prod(info.shape) // block_size * block_bytes
  data = np.fromfile(file.path, np.uint8, num_bytes, offset=info.offset)
  if data.size != num_bytes:
    raise ValueError(
      f'{file.path}: truncated: tensor {name!r} needs bytes up to '
      f'{info.offset + num_bytes}, the file has {os.path.getsize(file.path)}'
    )
  rows = data.reshape(*info.shape[:-1], -1)
  try:
    array = gguf.dequantize(rows, kind)
  except NotImplementedError:
    raise ValueError(
      f'{file.path}: tensor {name!r} is {kind.name}, which the gguf package '
      'does not dequantise'
    ) from None
  return array.reshape(info.shape)


def _read_header(file) -> tuple[dict[str, Any], dict[str, TensorInfo]]:
  version, num_tensors, num_values = _unpack(file, 'IQQ')
  if version not in _VERSIONS:
    raise ValueError(f'GGUF version {version} is not one of {_VERSIONS}')
  metadata = {}
  for _ in range(num_values):
    name = _string(file)
    metadata[name] = _value(file, *_unpack(file, 'I'))
  tensors = {}
  for _ in range(num_tensors):
    name = _string(file)
    (rank,) = _unpack(file, 'I')
    shape = _unpack(file, f'{rank}Q')[::-1]
    tensors[name] = TensorInfo(shape, *_unpack(file, 'IQ'))
  alignment = metadata.get('general.alignment', 32)
  start = -(-file.tell() // alignment) * alignment
  place = lambda info: info._replace(offset=start + info.offset)
  return metadata, {name: place(info) for name, info in tensors.items()}


def _value(file, kind: int) -> Any:
  if kind == _STRING:
    return _string(file)
  if kind == _ARRAY:
    kind, length = _unpack(file, 'IQ')
    if kind in _SCALARS:
      return list(_unpack(file, f'{length}{_SCALARS[kind]}'))
    return [_value(file, kind) for _ in range(length)]
  if kind not in _SCALARS:
    raise ValueError(f'metadata of unknown type {kind}')
  return _unpack(file, _SCALARS[kind])[0]


def _string(file) -> str:
  (length,) = _unpack(file, 'Q')
  return _unpack(file, f'{length}s')[0].decode()


def _unpack(file, form: str) -> tuple:
  form = '<' + form
  size = struct.calcsize(form)
  if size > 1 << 20 and size > os.path.getsize(file.name):
    raise struct.error('a length that only a damaged file has')
  return struct.unpack(form, file.read(size))


def _import_gguf():
  try:
    import gguf
  except ImportError:
    raise ImportError(
      "reading GGUF files needs: pip install 'ttc-jax[weights]'"
    ) from None
  return gguf
