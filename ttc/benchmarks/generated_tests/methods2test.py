"""Methods2Test: which method a test tests, and what of its class is shown.

Tufano et al., "Methods2Test: A dataset of focal methods mapped to test cases",
2022, arXiv 2203.12776. A test is mapped in steps, each of which must be sure:
the focal class by the test class's path and name without `Test`; the method by
the test's name without `test`; or else the only method of the class that the
test calls. What is not sure is not mapped. `map_tests` does so for Python, by
its syntax tree; the published records are Java and are read as they are, 624
022 for training, 78 534 for validation and 78 388 for testing, split by
repository.
"""

import ast
import os
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from ttc.benchmarks.generated_tests.cat_lm import pair_files
from ttc.benchmarks.schema import Field, Record, check_record
from ttc.tasks.data_files import read_table

SCHEMA = (
  Field('repository', dict),
  Field('focal_class', dict),
  Field('focal_method', dict),
  Field('test_class', dict),
  Field('test_case', dict),
)
# From the method alone to its class with constructors, methods and fields.
LEVELS = ('FM', 'FM_FC', 'FM_FC_CO', 'FM_FC_MS', 'FM_FC_MS_FF')
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


class TestedMethod(NamedTuple):
  """A test, and what it tests.

  Attributes:
    test: `name` or `Class::name`.
    focal_path: of the tested file; empty where there is none.
    focal_class: the tested class; empty for functions of a module.
    focal_method: None where it is not sure.
    rule: what made it sure.
  """

  test: str
  focal_path: str
  focal_class: str
  focal_method: str | None
  rule: Literal['name', 'call', 'unmapped']


def map_tests(files: Mapping[str, str]) -> list[TestedMethod]:
  """The focal methods of all tests of a repository.

  Args:
    files: Python sources by path; test files are named as `test_x.py`.

  Returns:
    An entry for each test, in the order of paths and lines.
  """
  pairs = pair_files(list(files))
  mapped = []
  for path in sorted(files):
    if pathlib.PurePosixPath(path).stem.startswith('test_') or path in pairs:
      focal_path = pairs.get(path, '')
      focal = ast.parse(files[focal_path]) if focal_path else ast.Module([], [])
      for owner, test in _tests(ast.parse(files[path])):
        mapped.append(_map(owner, test, focal_path, focal))
  return mapped


def load(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
  """Reads published records, from JSONL or a JSON list.

  Raises:
    ValueError: naming file, record and field.
  """

  def check(record: Record) -> None:
    check_record(SCHEMA, record)
    for name, inner in (
      ('focal_class', 'identifier'),
      ('focal_method', 'identifier'),
      ('focal_method', 'body'),
      ('test_case', 'body'),
    ):
      if not isinstance(record[name].get(inner), str):
        raise ValueError(
          f'field {name!r} has no text {inner!r}; found {sorted(record[name])}'
        )

  return read_table(path, check)


def context(record: Record, level: str) -> str:
  """What a model sees of the focal class.

  Args:
    record: as it is published.
    level: of `LEVELS`; each shows what the one before it shows, and more.

  Returns:
    Java source: the method, in its class, with signatures of constructors, of
    the other public methods, and with public fields.

  Raises:
    ValueError: if there is no such level.
  """
  if level not in LEVELS:
    raise ValueError(f'level={level!r} is none of {LEVELS}')
  depth = LEVELS.index(level)
  focal, method = record['focal_class'], record['focal_method']
  if depth == 0:
    return method['body'].strip()
  lines = [f'{focal["identifier"]} {{', method['body'].strip()]
  others = [
    m
    for m in focal.get('methods', [])
    if not (
      m['identifier'] == method['identifier']
      and m.get('parameters') == method.get('parameters')
    )
  ]
  constructors = [m for m in others if m.get('constructor')]
  public = [m for m in others if _is_public(m) and not m.get('constructor')]
  if depth >= 2:
    lines += [_signature(m) for m in constructors]
  if depth >= 3:
    lines += [_signature(m) for m in public]
  if depth >= 4:
    fields = [f for f in focal.get('fields', []) if _is_public(f)]
    lines += [f['original_string'].strip() for f in fields]
  return '\n'.join([*lines, '}'])


def split(record: Record) -> Literal['train', 'eval', 'test']:
  """Eight, one and one tenth of the repositories; one is never in two."""
  repository = record['repository']
  name = str(repository.get('repo_id', repository.get('url', repository)))
  place = zlib.crc32(name.encode()) % 10
  return 'train' if place < 8 else 'eval' if place == 8 else 'test'


def _is_public(member: Mapping[str, Any]) -> bool:
  said = member.get('modifiers') or member.get('modifier') or ''
  return 'public' in said


def _signature(method: Mapping[str, Any]) -> str:
  said = method.get('full_signature') or method.get('signature') or ''
  return said.strip().rstrip(';') + ';'


def _tests(tree: ast.Module):
  """`(class name or '', test)` of a test file."""
  for node in tree.body:
    if isinstance(node, _FUNCTIONS) and node.name.startswith('test'):
      yield '', node
    elif isinstance(node, ast.ClassDef):
      for inner in node.body:
        if isinstance(inner, _FUNCTIONS) and inner.name.startswith('test'):
          yield node.name, inner


def _map(
  owner: str, test: Any, focal_path: str, focal: ast.Module
) -> TestedMethod:
  """One test: class, then name, then calls."""
  label = f'{owner}::{test.name}' if owner else test.name
  classes = {x.name: x for x in focal.body if isinstance(x, ast.ClassDef)}
  wanted = _plain(owner)
  named = [
    x for name, x in classes.items() if wanted and _plain(name) == wanted
  ]
  if not named and not _methods(focal) and len(classes) == 1:
    named = list(classes.values())  # a file of one class
  body = named[0] if len(named) == 1 else focal
  focal_class = getattr(body, 'name', '')
  methods = _methods(body)
  found = lambda name, rule: TestedMethod(
    label, focal_path, focal_class, name, rule
  )
  same = [name for name in methods if _plain(name) == _plain(test.name)]
  if len(same) == 1:
    return found(same[0], 'name')
  called = {
    getattr(node.func, 'attr', getattr(node.func, 'id', ''))
    for node in ast.walk(test)
    if isinstance(node, ast.Call)
  }
  both = called & set(methods)
  if len(both) == 1:
    return found(both.pop(), 'call')
  return found(None, 'unmapped')


def _methods(body: ast.Module | ast.ClassDef) -> list[str]:
  names = [x.name for x in body.body if isinstance(x, _FUNCTIONS)]
  return [name for name in names if not name.startswith('__')]


def _plain(name: str) -> str:
  """A name without `test`, in small letters, without underscores."""
  plain = name.replace('_', '').lower()
  plain = plain.removeprefix('test')
  return plain.removesuffix('tests').removesuffix('test')
