"""Methods of adaptation by name, with hyper-parameters.

  tent
  tent(learning_rate=0.005)
  mine.py:my_adapter(rate=0.1)

A name is a function of `ttc.adaptation`, or of a file behind its path, that
takes a network and gives an adapter. Hyper-parameters are its arguments; beside
them `learning_rate` is that of Adam where a method takes an optimiser.
"""

import ast
import importlib.util
import inspect
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax

from ttc import adaptation
from ttc.adaptation import Adapter
from ttc.models.vision import Classifier


class Method(NamedTuple):
  """A method that was asked for.

  Attributes:
    label: as it was written; for tables.
    factory: `network, ... -> adapter`.
    values: of its hyper-parameters.
  """

  label: str
  factory: Callable[..., Adapter]
  values: Mapping[str, Any]


def parse_method(text: str) -> Method:
  """Reads a method.

  Raises:
    ValueError: of one line for what is not known, with the accepted values.
    FileNotFoundError: if a file is not there.
  """
  call, values = text, {}
  if '(' in text:
    call, _, arguments = text.partition('(')
    values = _arguments(text, arguments)
  file, _, name = call.rpartition('.py:')
  factory: Callable[..., Adapter] = (
    _of_file(f'{file}.py', name) if file else _of_library(name)
  )
  for argument in values:
    check_argument(text, factory, argument)
  _check_complete(text, factory, values)
  return Method(text, factory, values)


def make_adapter(method: Method, network: Classifier, **values: Any) -> Adapter:
  """The adapter of a method.

  Args:
    method: from `parse_method`.
    network: the classifier.
    **values: of hyper-parameters, traced ones of a sweep, say; they go before
      those of the method.
  """
  values = {**method.values, **values}
  rate = values.pop('learning_rate', None)
  if rate is not None:
    own = 'learning_rate' in inspect.signature(method.factory).parameters
    given = {'learning_rate': rate} if own else {'optimizer': optax.adam(rate)}
    values.update(given)
  return method.factory(network, **values)


def check_argument(
  text: str, factory: Callable[..., Adapter], name: str
) -> None:
  """Raises ValueError if a method has no such hyper-parameter."""
  known = list(inspect.signature(factory).parameters)[1:]
  accepted = [*known, *(['learning_rate'] if 'optimizer' in known else [])]
  if name not in accepted:
    raise ValueError(
      f'method {text}: no hyper-parameter {name}, expected one of '
      f'{", ".join(accepted) or "none"}'
    )


def names() -> list[str]:
  """Methods of the library that need nothing but a network."""
  return [
    name
    for name in adaptation.__all__
    if _is_factory(getattr(adaptation, name))
    and not _missing(getattr(adaptation, name), {})
  ]


def _of_library(name: str) -> Any:
  """A function of `ttc.adaptation`."""
  found = getattr(adaptation, name, None)
  if not _is_factory(found):
    raise ValueError(
      f'method {name!r}, expected one of {", ".join(names())}, or '
      'FILE.py:FUNCTION'
    )
  return found


def _of_file(path: str, name: str) -> Any:
  """A function of a file."""
  if not pathlib.Path(path).is_file():
    raise FileNotFoundError(f'method {path}:{name}: no such file')
  spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
  if spec is None or spec.loader is None:
    raise ValueError(f'method {path}:{name}: {path} is not Python')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  found = getattr(module, name, None)
  if not callable(found):
    there = [x for x, y in vars(module).items() if inspect.isfunction(y)]
    raise ValueError(
      f'method {path}:{name}, expected one of {", ".join(there)} of {path}'
    )
  return found


def _is_factory(value):
  """Whether it takes a network first and says that it gives an adapter."""
  if not inspect.isfunction(value):
    return False
  signature = inspect.signature(value)
  first = next(iter(signature.parameters), None)
  return first == 'network' and signature.return_annotation is Adapter


def _missing(factory, values):
  """Arguments without a value, but for the network."""
  parameters = list(inspect.signature(factory).parameters.values())[1:]
  return [
    x.name
    for x in parameters
    if x.default is x.empty
    and x.kind not in (x.VAR_KEYWORD, x.VAR_POSITIONAL)
    and x.name not in values
  ]


def _check_complete(text, factory, values):
  """Raises ValueError for a method that needs more than numbers."""
  if missing := _missing(factory, values):
    raise ValueError(
      f'method {text} needs {", ".join(missing)}: write a function of a '
      'network that gives it, FILE.py:FUNCTION'
    )


def _arguments(text, arguments):
  """Hyper-parameters as written in brackets."""
  try:
    call = ast.parse(f'f({arguments}', mode='eval').body
    if not isinstance(call, ast.Call) or call.args:
      raise ValueError
    return {str(x.arg): ast.literal_eval(x.value) for x in call.keywords}
  except (SyntaxError, ValueError):
    raise ValueError(
      f'method {text}: expected NAME or NAME(argument=value, ...)'
    ) from None
