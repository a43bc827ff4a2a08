"""Environments by the call that makes them: `smax(scenario='3m')`."""

import ast
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ttc import envs


def make_environment(call: str) -> envs.Environment:
  """An environment, from a name or a call with literal keyword arguments.

  Args:
    call: 'simple_spread', or "smax(scenario='3m')".

  Returns:
    The environment.

  Raises:
    ValueError: naming what is not known and what is.
  """
  return _make('environment', call, envs.ENVIRONMENTS)


def make_levels(call: str) -> envs.TaskDistribution:
  """A distribution of levels, from a call such as "bandit_tasks(num_arms=5)".

  Raises:
    ValueError: naming what is not known and what is.
  """
  return _make('levels', call, envs.LEVELS)


def _make(kind: str, call: str, known: Sequence[Callable[..., Any]]) -> Any:
  """What a call with literal arguments makes."""
  makers = {make.__name__: make for make in known}
  name, arguments = parse_call(call, kind)
  if name not in makers:
    raise ValueError(
      f'{kind} {name!r} is not known; there are {", ".join(makers)}'
    )
  accepted = list(inspect.signature(makers[name]).parameters)
  for argument in arguments:
    if argument not in accepted:
      raise ValueError(
        f'{kind} {name} has no argument {argument!r}; it has '
        f'{", ".join(accepted) or "none"}'
      )
  try:
    return makers[name](**arguments)
  except TypeError as error:
    raise ValueError(f'{kind} {call}: {error}') from None


def parse_call(
  call: str, kind: str = 'environment'
) -> tuple[str, dict[str, object]]:
  """Name and keyword arguments of a call; nothing is evaluated."""
  wrong = ValueError(
    f'{kind}={call!r} must be a name, or a call with literal keyword '
    "arguments such as smax(scenario='3m')"
  )
  try:
    node = ast.parse(call.strip(), mode='eval').body
    if isinstance(node, ast.Name):
      return node.id, {}
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
      raise wrong
    if node.args or any(keyword.arg is None for keyword in node.keywords):
      raise wrong
    literal = {k.arg: ast.literal_eval(k.value) for k in node.keywords}
    return node.func.id, {str(name): x for name, x in literal.items()}
  except (SyntaxError, ValueError):
    raise wrong from None
