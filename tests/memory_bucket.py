"""A bucket in memory, behind the interface of `fsspec` that real ones have."""

from etils import epath
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem

from ttc.io import paths


class _Objects(MemoryFileSystem):
  protocol = 'gs'
  store = {}  # noqa: RUF012
  pseudo_dirs = ['']  # noqa: RUF012
  cachable = False

  @classmethod
  def _strip_protocol(cls, path):
    name = str(path).removeprefix('gs://').strip('/')
    return f'/{name}' if name else ''


def make_bucket(monkeypatch) -> epath.Path:
  """An empty `gs://` bucket of a test."""
  objects = _Objects()
  objects.store, objects.pseudo_dirs = {}, ['', '/bucket']
  monkeypatch.setattr(backend.fsspec_backend, 'fs', lambda path: objects)
  monkeypatch.setattr(epath.gpath, '_is_tf_installed', lambda: False)
  monkeypatch.setattr(paths, '_check_library', lambda *_: None)
  return epath.Path('gs://bucket')
