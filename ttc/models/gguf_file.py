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

from ttc.models import fields

_MAGIC = b'GGUF'
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_MAX_RANK, _MAX_NESTING = 4, 4  # of tensors, as ggml has it; of arrays
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
  kind, num_bytes = _kind_and_size(file, name)
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


def check_tensors(file: GGUFFile) -> None:
  """Refuses tensors that do not fill the file one after another.

  So lie the tensors of every writer. A shape or a type that is not the stored
  one shows here, before anything is read.

  Raises:
    ValueError: naming the first tensor that lies elsewhere.
  """
  size = os.path.getsize(file.path)
  alignment = _alignment(file.metadata)
  end = None
  for name in sorted(file.tensors, key=lambda n: file.tensors[n].offset):
    offset = file.tensors[name].offset
    num_bytes = _kind_and_size(file, name)[1]
    if end is not None and offset != end:
      raise ValueError(
        f'{file.path}: tensor {name!r} begins at byte {offset}, the one before '
        f'it ends at {end}'
      )
    if offset + num_bytes > size:
      raise ValueError(
        f'{file.path}: truncated: tensor {name!r} needs bytes up to '
        f'{offset + num_bytes}, the file has {size}'
      )
    end = -(-(offset + num_bytes) // alignment) * alignment
  if end is not None and size > end:
    raise ValueError(
      f'{file.path}: the tensors end at byte {end}, the file has {size}'
    )


def _kind_and_size(file: GGUFFile, name: str) -> tuple[Any, int]:
  """Type of a tensor, and the number of bytes that it takes."""
  gguf = _import_gguf()
  info = file.tensors[name]
  try:
    kind = gguf.GGMLQuantizationType(info.type)
    block_size, block_bytes = gguf.GGML_QUANT_SIZES[kind]
  except (ValueError, KeyError):
    raise ValueError(
      f'{file.path}: tensor {name!r} has the unknown type {info.type}'
    ) from None
  if info.shape[-1] % block_size:
    raise ValueError(
      f'{file.path}: tensor {name!r} is {kind.name}, whose blocks have '
      f'{block_size} numbers; its rows have {info.shape[-1]}'
    )
  return kind, math.prod(info.shape) // block_size * block_bytes


def _alignment(metadata: dict[str, Any]) -> int:
  value = metadata.get('general.alignment', 32)
  if type(value) is not int or value < 1 or value & (value - 1):
    raise ValueError(f'general.alignment={value!r} is not a power of two')
  return value


def size(file: GGUFFile, name: str, *default: Any, low: int = 1) -> Any:
  """A whole number of the metadata, at least `low`."""
  values = {name: get(file, name, *default)}
  return fields.integer(values, name, file.path, *default, low=low)


def positive(file: GGUFFile, name: str, *default: Any) -> Any:
  """A positive number of the metadata."""
  values = {name: get(file, name, *default)}
  return fields.positive(values, name, file.path, *default)


def get(file: GGUFFile, name: str, *default: Any) -> Any:
  """A metadata value; one given per layer must be the same in every layer."""
  if name not in file.metadata and not default:
    raise ValueError(f'{file.path}: the metadata lacks {name!r}')
  value = file.metadata.get(name, *default)
  if not isinstance(value, list):
    return value
  if len(set(map(repr, value))) != 1:
    raise ValueError(f'{file.path}: {name} differs between layers: {value}')
  return value[0]


def _read_header(file) -> tuple[dict[str, Any], dict[str, TensorInfo]]:
  version, num_tensors, num_values = _unpack(file, 'IQQ')
  if version not in _VERSIONS:
    raise ValueError(f'GGUF version {version} is not one of {_VERSIONS}')
  metadata: dict[str, Any] = {}
  for _ in range(num_values):
    name = _string(file)
    if name in metadata:
      raise ValueError(f'the metadata has {name!r} twice')
    metadata[name] = _value(file, *_unpack(file, 'I'))
  tensors: dict[str, TensorInfo] = {}
  for _ in range(num_tensors):
    name = _string(file)
    if name in tensors:
      raise ValueError(f'tensor {name!r} is there twice')
    (rank,) = _unpack(file, 'I')
    if not 1 <= rank <= _MAX_RANK:
      raise ValueError(f'tensor {name!r} has {rank} axes, not 1 to {_MAX_RANK}')
    shape = _unpack(file, f'{rank}Q')[::-1]
    if 0 in shape:
      raise ValueError(f'tensor {name!r} has shape {shape}')
    tensors[name] = TensorInfo(shape, *_unpack(file, 'IQ'))
  alignment = _alignment(metadata)
  start = -(-file.tell() // alignment) * alignment
  for name, info in tensors.items():
    if info.offset % alignment:
      raise ValueError(
        f'tensor {name!r} has offset {info.offset}, which is no multiple of '
        f'general.alignment={alignment}'
      )
  place = lambda info: info._replace(offset=start + info.offset)
  return metadata, {name: place(info) for name, info in tensors.items()}


def _value(file, kind: int, nesting: int = 0) -> Any:
  if kind == _STRING:
    return _string(file)
  if kind == _ARRAY:
    if nesting == _MAX_NESTING:
      raise ValueError(f'metadata nested more than {_MAX_NESTING} deep')
    kind, length = _unpack(file, 'IQ')
    if kind in _SCALARS:
      return list(_unpack(file, f'{length}{_SCALARS[kind]}'))
    return [_value(file, kind, nesting + 1) for _ in range(length)]
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
