"""What generated tests use of pytest, where pytest is not.

The sandbox has the standard library only; there `import pytest` gives this
file: `raises`, `approx`, `fixture`, `mark`, `param`, `skip`, `fail` and the
fixtures `tmp_path`, `monkeypatch` and `capsys`, as `suite_child` reads them.
"""

import contextlib
import os
import pathlib
import re
import sys
import tempfile


class Skipped(BaseException):
  """A test that does not want to be run."""


class Failed(AssertionError):
  """A test that fails because it says so."""


def skip(reason='', **_):
  """Skips the test."""
  raise Skipped(reason)


def fail(reason='', **_):
  """Fails the test."""
  raise Failed(reason)


def importorskip(name, **_):
  """A module, or else the test is skipped."""
  try:
    return __import__(name, fromlist=['_'])
  except ImportError as error:
    raise Skipped(str(error)) from None


class ExceptionInfo:
  """What `raises` caught."""

  value = None

  @property
  def type(self):
    """Of the exception."""
    return type(self.value)

  def match(self, pattern):
    """Asks that the text contains the pattern."""
    if not re.search(pattern, str(self.value)):
      raise AssertionError(f'{pattern!r} is not in {str(self.value)!r}')
    return True


@contextlib.contextmanager
def _raises(kind, match):
  info = ExceptionInfo()
  try:
    yield info
  except kind as error:
    info.value = error
    if match is not None:
      info.match(match)
  else:
    raise Failed(f'did not raise {kind}')


def raises(kind, *call, match=None, **named):
  """Asks for an exception, of a block or of a call."""
  if not call:
    return _raises(kind, match)
  with _raises(kind, match) as info:
    call[0](*call[1:], **named)
  return info


class approx:
  """Equals numbers that are near, in lists and dictionaries, too."""

  __hash__ = None  # pyright: ignore[reportAssignmentType]

  def __init__(self, expected, rel=None, abs=None, nan_ok=False):
    self.expected, self.rel, self.abs = expected, rel, abs
    self.nan_ok = nan_ok

  def __eq__(self, actual):
    return self._near(self.expected, actual)

  def __repr__(self):
    return f'approx({self.expected!r})'

  def _near(self, expected, actual):
    if isinstance(expected, dict):
      return expected.keys() == actual.keys() and all(
        self._near(x, actual[name]) for name, x in expected.items()
      )
    if isinstance(expected, list | tuple):
      return len(expected) == len(actual) and all(
        map(self._near, expected, actual)
      )
    try:
      if expected == actual:
        return True
      if expected != expected:
        return self.nan_ok and actual != actual
      if abs(expected) == float('inf'):
        return False
      least = 1e-12 if self.abs is None else self.abs
      share = self.rel
      if share is None:
        share = 1e-6 if self.abs is None else 0.0
      return abs(expected - actual) <= max(least, share * abs(expected))
    except TypeError:
      return False


class Fixture:
  """A function that makes what tests ask for by its name."""

  is_fixture = True

  def __init__(self, function, autouse):
    self.function, self.autouse = function, autouse

  def __call__(self, *_):
    raise Failed('fixtures are not called but asked for')


def fixture(function=None, *, autouse=False, **_):
  """Marks a fixture; it is made anew for each test."""
  if function is None:
    return lambda f: Fixture(f, autouse)
  return Fixture(function, autouse)


def param(*values, **_):
  """Values of one set of parameters."""
  return values


class _Mark:
  """Marks; those that are not known do nothing."""

  def __getattr__(self, name):
    def mark(*positional, **_):
      if len(positional) == 1 and callable(positional[0]):
        return positional[0]
      return lambda function: function

    return mark

  @staticmethod
  def parametrize(names, values, **_):
    """A test for each of the values."""
    if isinstance(names, str):
      names = [name.strip() for name in names.split(',')]
    rows = []
    for value in values:
      one = len(names) == 1 and not isinstance(value, tuple)
      row = (value,) if one or len(names) == 1 != len(value) else tuple(value)
      rows.append(dict(zip(names, row, strict=True)))

    def mark(function):
      marks = function.__dict__.setdefault('marks', {})
      old = marks.get('parameters', [{}])
      marks['parameters'] = [first | row for first in old for row in rows]
      return function

    return mark

  @staticmethod
  def skip(function=None, **_):
    """Skips the test."""
    return _set('skip')(function) if callable(function) else _set('skip')

  @staticmethod
  def skipif(condition, **_):
    """Skips the test where it is so."""
    return _set('skip') if condition else lambda function: function

  @staticmethod
  def xfail(function=None, **_):
    """A test that may fail."""
    return _set('xfail')(function) if callable(function) else _set('xfail')


def _set(name):
  def mark(function):
    function.__dict__.setdefault('marks', {})[name] = True
    return function

  return mark


mark = _Mark()


def fixture_tmp_path():
  """A new folder."""
  return pathlib.Path(tempfile.mkdtemp(dir=os.getcwd()))


class MonkeyPatch:
  """Changes that are taken back."""

  def __init__(self):
    self._undo = []

  def setattr(self, owner, name, value, raising=True):
    """Sets an attribute."""
    if not hasattr(owner, name) and raising:
      raise AttributeError(name)
    self._keep(owner, name)
    setattr(owner, name, value)

  def delattr(self, owner, name, raising=True):
    """Takes an attribute away."""
    if hasattr(owner, name) or raising:
      self._keep(owner, name)
      delattr(owner, name)

  def setitem(self, mapping, name, value):
    """Sets an entry."""
    had, old = name in mapping, mapping.get(name)
    restore = lambda: (
      mapping.__setitem__(name, old) if had else mapping.pop(name, None)
    )
    self._undo.append(restore)
    mapping[name] = value

  def setenv(self, name, value):
    """Sets a variable of the environment."""
    self.setitem(os.environ, name, str(value))

  def undo(self):
    """Takes all changes back."""
    while self._undo:
      self._undo.pop()()

  def _keep(self, owner, name):
    had, old = hasattr(owner, name), getattr(owner, name, None)
    self._undo.append(
      lambda: setattr(owner, name, old) if had else delattr(owner, name)
    )


def fixture_monkeypatch():
  """Changes that are taken back after the test."""
  patch = MonkeyPatch()
  yield patch
  patch.undo()


class _Captured:
  """What is printed meanwhile."""

  def __init__(self):
    import io

    self.out, self.err = io.StringIO(), io.StringIO()

  def readouterr(self):
    """What was printed since the last call, as `(out, err)`."""
    import collections

    texts = []
    for stream in (self.out, self.err):
      texts.append(stream.getvalue())
      stream.seek(0)
      stream.truncate()
    return collections.namedtuple('Captured', 'out err')(*texts)


def fixture_capsys():
  """What the test prints."""
  captured, kept = _Captured(), (sys.stdout, sys.stderr)
  sys.stdout, sys.stderr = captured.out, captured.err
  yield captured
  sys.stdout, sys.stderr = kept
