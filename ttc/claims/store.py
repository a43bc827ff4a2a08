"""What was measured, kept by claim, seed, size and digest of the sources."""

import ast
import hashlib
import os
import pathlib

_ROOT = pathlib.Path(__file__).resolve().parent.parent


def measured_path(
  cache: str | os.PathLike[str],
  path: pathlib.Path,
  seed: int,
  size: str,
) -> pathlib.Path:
  """Where the arrays of one seed are kept.

  Args:
    cache: directory.
    path: of the claim's source.
    seed: that it was measured with.
    size: name of the size.

  Returns:
    The path; another one once the claim or one of its beds has changed.
  """
  name = f'{path.stem}-{size}-{seed}-{source_digest(path)}.npz'
  return pathlib.Path(cache) / 'measured' / name


def source_digest(path: pathlib.Path) -> str:
  """Of a claim's source and of the beds that it imports."""
  sources, todo = set(), [path]
  while todo:
    source = todo.pop()
    if source in sources:
      continue
    sources.add(source)
    todo += [bed for bed in imported_beds(source) if bed.exists()]
  text = b''.join(source.read_bytes() for source in sorted(sources))
  return hashlib.sha256(text).hexdigest()[:12]


def imported_beds(path: pathlib.Path) -> list[pathlib.Path]:
  """Files of `ttc.testbeds` that a source imports."""
  beds = []
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if not isinstance(node, ast.ImportFrom) or not node.module:
      continue
    if node.module == 'ttc.testbeds':
      beds += [alias.name for alias in node.names]
    elif node.module.startswith('ttc.testbeds.'):
      beds.append(node.module.split('.')[2])
  return [_ROOT / 'testbeds' / f'{bed}.py' for bed in beds]
