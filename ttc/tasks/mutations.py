"""Wrong programs, made from right ones by one small edit of the syntax tree.

Mutation testing's operators: a comparison, an arithmetic or a logical operation
is replaced by its neighbour, a number moves by one, a condition is negated. The
mutants are what a model's near misses are like, at no cost; some of them do the
same as the original, so they must be tested, too. `vary` does likewise with the
arguments of a call, which gives new inputs of the same kind.
"""

import ast
import copy
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


def mutants(
  source: str, function: str, num_mutants: int, seed: int
) -> list[str]:
  """Programs that differ from the source by one edit within a function.

  Args:
    source: Python source.
    function: name of the function that is edited.
    num_mutants: most of them.
    seed: of their choice.

  Returns:
    Different sources, fewer where the function has fewer places to edit.
  """
  tree = ast.parse(source)
  found = [
    node
    for node in tree.body
    if isinstance(node, ast.FunctionDef) and node.name == function
  ]
  if not found:
    raise ValueError(f'the source has no function {function!r}')
  num_edits = sum(1 for _ in _edits(found[-1]))
  order = random.Random(seed).sample(range(num_edits), num_edits)
  original = ast.unparse(tree)
  made: list[str] = []
  for index in order:
    if len(made) == num_mutants:
      break
    edited = copy.deepcopy(tree)
    target = edited.body[tree.body.index(found[-1])]
    for i, edit in enumerate(_edits(target)):
      if i == index:
        edit()
        break
    text = ast.unparse(ast.fix_missing_locations(edited))
    if text != original and text not in made:
      made.append(text)
  return made


def _edits(function: ast.AST) -> Iterator[Any]:
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
