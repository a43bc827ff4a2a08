"""Wrong programs, made from right ones by one small edit of the syntax tree.

Mutation testing's operators: a comparison, an arithmetic or a logical operation
is replaced by its neighbour, a number moves by one, a condition is negated; a
statement is left out and a function returns None, where that is wanted. The
mutants are what a model's near misses are like, at no cost; some of them do the
same as the original, so they must be tested, too. `vary` does likewise with the
arguments of a call, which gives new inputs of the same kind.
"""

import ast
import copy
import itertools
import random
from collections.abc import Iterator
from typing import Any

_SWAPS = {
  ast.Lt: ast.LtE,
  ast.LtE: ast.Lt,
  ast.Gt: ast.GtE,
  ast.GtE: ast.Gt,
  ast.Eq: ast.NotEq,
  ast.NotEq: ast.Eq,
  ast.In: ast.NotIn,
  ast.NotIn: ast.In,
  ast.Add: ast.Sub,
  ast.Sub: ast.Add,
  ast.Mult: ast.Add,
  ast.Div: ast.FloorDiv,
  ast.FloorDiv: ast.Mult,
  ast.Mod: ast.FloorDiv,
  ast.And: ast.Or,
  ast.Or: ast.And,
}
# Statements that can be left out; others would take more than one with them.
_LEFT_OUT = (
  ast.Assign,
  ast.AugAssign,
  ast.AnnAssign,
  ast.Expr,
  ast.Raise,
  ast.Assert,
  ast.Break,
  ast.Continue,
)


def mutants(
  source: str,
  function: str,
  num_mutants: int,
  seed: int,
  statements: bool = False,
) -> list[str]:
  """Programs that differ from the source by one edit within a function.

  Args:
    source: Python source.
    function: `name` or `Class.name` of the function that is edited; empty for
      all of the source.
    num_mutants: most of them.
    seed: of their choice.
    statements: whether statements are left out and results are None, too.

  Returns:
    Different sources, fewer where the function has fewer places to edit.
  """
  tree = ast.parse(source)
  num_edits = sum(1 for _ in _edits(_find(tree, function), statements))
  order = random.Random(seed).sample(range(num_edits), num_edits)
  original = ast.unparse(tree)
  made: list[str] = []
  for index in order:
    if len(made) == num_mutants:
      break
    edited = copy.deepcopy(tree)
    edits = _edits(_find(edited, function), statements)
    next(itertools.islice(edits, index, None))()
    text = ast.unparse(ast.fix_missing_locations(edited))
    if text != original and text not in made:
      made.append(text)
  return made


def _find(tree: ast.Module, function: str) -> ast.AST:
  """A function of a module, the last of its name, or of one of its classes."""
  node: Any = tree
  if not function:
    return node
  *classes, name = function.split('.')
  kinds = [*[ast.ClassDef] * len(classes), ast.FunctionDef]
  for kind, part in zip(kinds, [*classes, name], strict=True):
    found = [x for x in node.body if isinstance(x, kind) and x.name == part]
    if not found:
      raise ValueError(f'the source has no function {function!r}')
    node = found[-1]
  return node


def _edits(function: ast.AST, statements: bool) -> Iterator[Any]:
  """All edits of a function in a fixed order, each a call that makes it."""
  for node in ast.walk(function):
    if isinstance(node, ast.Compare):
      for i, op in enumerate(node.ops):
        if type(op) in _SWAPS:
          yield lambda n=node, i=i, o=op: n.ops.__setitem__(i, _swap(o))
    elif isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign):
      if type(node.op) in _SWAPS:
        yield lambda n=node: setattr(n, 'op', _swap(n.op))
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
      yield lambda n=node: setattr(n, 'test', ast.UnaryOp(ast.Not(), n.test))
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
      yield lambda n=node: setattr(n, 'value', not n.value)
    elif isinstance(node, ast.Constant) and type(node.value) is int:
      yield lambda n=node, to=node.value + 1: setattr(n, 'value', to)
      yield lambda n=node, to=node.value - 1: setattr(n, 'value', to)
    if statements:
      yield from _statement_edits(node)


def _statement_edits(node: ast.AST) -> Iterator[Any]:
  """A result becomes None; a statement of the body is left out."""
  if isinstance(node, ast.Return) and node.value is not None:
    yield lambda: setattr(node, 'value', ast.Constant(None))
  for field in ('body', 'orelse', 'finalbody'):
    found = getattr(node, field, None)
    body = found if isinstance(found, list) else []
    for i, step in enumerate(body):
      text = isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant)
      if isinstance(step, _LEFT_OUT) and not text:
        yield lambda b=body, i=i: b.__setitem__(i, ast.Pass())


def _swap(op: ast.AST) -> Any:
  return _SWAPS[type(op)]()


def vary(rng: random.Random, value: Any) -> Any:
  """A value of the same type, a little different.

  Args:
    rng: source of randomness; it moves on.
    value: of Python literals: numbers, strings, containers of them.

  Returns:
    The new value; what has no variation is returned as it is.
  """
  if isinstance(value, bool):
    return rng.random() < 0.5
  if isinstance(value, int):
    return max(value + rng.randint(-3, 3), min(value, 0))
  if isinstance(value, float):
    return round(value + rng.uniform(-2, 2), 2)
  if isinstance(value, str):
    return ''.join(_vary_items(rng, list(value), lambda rng, x: x))
  if isinstance(value, list | tuple):
    return type(value)(_vary_items(rng, list(value), vary))
  if isinstance(value, dict):
    return {name: vary(rng, entry) for name, entry in value.items()}
  return value


def _vary_items(rng: random.Random, items: list[Any], change: Any) -> list[Any]:
  """Drops, repeats, exchanges or changes an item."""
  if not items:
    return items
  i, j = rng.randrange(len(items)), rng.randrange(len(items))
  kind = rng.randrange(4)
  if kind == 0:
    return items[:i] + items[i + 1 :]
  if kind == 1:
    return [*items[:i], items[j], *items[i:]]
  items = list(items)
  if kind == 2:
    items[i], items[j] = items[j], items[i]
  else:
    items[i] = change(rng, items[j])
  return items
