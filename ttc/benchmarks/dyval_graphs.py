"""Graphs of DyVal (2309.17167): drawn, described, answered, and read back.

`read_back` is the oracle: it finds the answer from the sentences alone, trees
by an expression that `ast` reads, graphs by following every path. Nothing of
the generator takes part in it.
"""

import ast
import fractions
import operator
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

# An operation: how it is said, and how it is written in Python.
_OPS = {
  'arithmetic': {
    '+': '{name} is the sum of {args}.',
    '*': '{name} is the product of {args}.',
    '-': '{name} is the difference of {args}.',
  },
  'boolean': {
    'and': '{name} is the conjunction of {args}.',
    'or': '{name} is the disjunction of {args}.',
    'not': '{name} is the negation of {args}.',
  },
  'deductive': {
    'and': 'If {args} all hold then {name} holds, and only then.',
    'or': 'If any of {args} holds then {name} holds, and only then.',
    'not': 'If {args} does not hold then {name} holds, and only then.',
  },
}
_LEAVES = {
  'arithmetic': '{name} is {value}.',
  'boolean': '{name} is {value}.',
  'deductive': 'It is {value} that {name} holds.',
}
RULES = {
  'arithmetic': 'Names stand for whole numbers.',
  'boolean': 'Names stand for True or False.',
  'deductive': 'Names stand for statements that hold or do not.',
  'linear': 'Names stand for whole numbers.',
  'reachability': 'Arrows of a graph lead from one name to another.',
  'max_sum_path': 'Arrows of a graph lead between names that have values.',
}
KINDS = tuple(RULES)
_LINEAR = 'Solve {a} * x + {b} * y = {e} and {c} * x + {d} * y = {f}.'
_REACHES = 'Is it True or False that a path leads from {s} to {t}?'
_LARGEST = (
  'What is the largest sum of values on a path from {s} to {t}, both ends '
  'included? N/A if there is none.'
)


class Problem(NamedTuple):
  """Sentences in topological order, what is asked, and the answer."""

  sentences: list[str]
  question: str
  answer: str


class _Node(NamedTuple):
  """A node of a tree; `op` is empty for a leaf, which has a value."""

  name: str
  op: str
  args: tuple[str, ...]
  value: Any = None


def draw_problem(
  kind: str,
  rng: random.Random,
  depth: int,
  *,
  children: int = 2,
  extra_links: int = 0,
  distractors: int = 0,
) -> Problem:
  """Draws a problem.

  Args:
    kind: one of `KINDS`.
    rng: what is drawn from.
    depth: levels of a tree, leaves included, at least 2; a graph has
      `2 depth` nodes.
    children: of a node; a difference has two, a negation one.
    extra_links: operands or arrows beyond those.
    distractors: nodes that the answer does not depend on.

  Returns:
    The problem.
  """
  names = (f'n{number}' for number in rng.sample(range(100, 10_000), 9_900))
  if kind in ('reachability', 'max_sum_path'):
    return _graph_problem(kind, rng, names, depth, children, extra_links,
                          distractors)  # fmt: skip
  logic = 'arithmetic' if kind == 'linear' else kind
  draw_tree = lambda depth: _link(
    rng, _tree(logic, rng, names, depth, children), extra_links
  )
  nodes = draw_tree(depth)
  roots = [nodes[-1].name]
  if kind == 'linear':
    nodes, roots, answer = _linear(rng, names, draw_tree, depth)
    question = _LINEAR.format(**dict(zip('abcdef', roots, strict=True)))
  else:
    question = f'What is {roots[0]}?'
    if kind == 'deductive':
      question = f'Is it True or False that {roots[0]} holds?'
    answer = str(_values(nodes)[roots[0]])
  others = [_leaf(logic, rng, next(names)) for _ in range(distractors)]
  sentences = [_say(logic, node) for node in (*others, *nodes)]
  return Problem(sentences, question, answer)


def read_back(kind: str, text: str, question: str) -> str:
  """The answer to a problem, from its words alone.

  Args:
    kind: of the problem.
    text: the sentences, in any order.
    question: as it is asked.

  Returns:
    The answer as `Problem` has it.
  """
  if kind in ('reachability', 'max_sum_path'):
    return _follow_paths(kind, text, question)
  logic = 'arithmetic' if kind == 'linear' else kind
  found = {}
  for op, form in _OPS[logic].items():
    for match in re.finditer(_pattern(form), text):
      args = match['args'].split(', ')
      joined = f'not {args[0]}' if op == 'not' else f' {op} '.join(args)
      found[match['name']] = joined
  for match in re.finditer(_pattern(_LEAVES[logic]), text):
    found[match['name']] = match['value']

  def value(name: str) -> Any:
    def expand(match: re.Match[str]) -> str:
      return f'({re.sub(NAME, expand, found[match[0]])})'

    return _evaluate(ast.parse(re.sub(NAME, expand, name), mode='eval').body)

  names = re.findall(NAME, question)
  if kind != 'linear':
    return str(value(names[0]))
  a, b, e, c, d, f = (fractions.Fraction(value(name)) for name in names)
  determinant = a * d - b * c
  x, y = (e * d - b * f) / determinant, (a * f - e * c) / determinant
  return f'x = {x}, y = {y}'


NAME = r'n\d{3,4}'


def _tree(
  kind: str,
  rng: random.Random,
  names: Iterator[str],
  depth: int,
  children: int,
) -> list[_Node]:
  """A full tree, children before their parents."""
  name = next(names)
  if depth == 1:
    return [_leaf(kind, rng, name)]
  op = rng.choice(list(_OPS[kind]))
  count = {'-': 2, 'not': 1}.get(op, children)
  below = [_tree(kind, rng, names, depth - 1, children) for _ in range(count)]
  args = tuple(nodes[-1].name for nodes in below)
  return [*(node for nodes in below for node in nodes), _Node(name, op, args)]


def _leaf(kind, rng, name) -> _Node:
  value = rng.randint(1, 10) if kind == 'arithmetic' else rng.random() < 0.5
  return _Node(name, '', (), value)


def _link(rng, nodes: list[_Node], count: int) -> list[_Node]:
  """Adds operands that come earlier; nothing where none is left."""
  for _ in range(count):
    free = [
      (i, node.name)
      for i, parent in enumerate(nodes)
      if parent.op not in ('', '-', 'not')
      for node in nodes[:i]
      if node.name not in parent.args
    ]
    if free:
      i, name = rng.choice(free)
      nodes[i] = nodes[i]._replace(args=(*nodes[i].args, name))
  return nodes


def _values(nodes: Sequence[_Node]) -> dict[str, Any]:
  """What each node comes to."""
  values: dict[str, Any] = {}
  for node in nodes:
    args = [values[name] for name in node.args]
    if node.op == '':
      values[node.name] = node.value
    elif node.op == 'not':
      values[node.name] = not args[0]
    elif node.op in ('and', 'or'):
      values[node.name] = (all if node.op == 'and' else any)(args)
    else:
      total = args[0]
      for x in args[1:]:
        total = {'+': total + x, '*': total * x, '-': total - x}[node.op]
      values[node.name] = total
  return values


def _linear(rng, names, draw_tree, depth):
  """Two equations with one solution; four coefficients are trees."""
  while True:
    trees = [draw_tree(depth) for _ in range(4)]
    a, b, c, d = (_values(tree)[tree[-1].name] for tree in trees)
    if a * d != b * c:
      break
  x, y = rng.randint(-9, 9), rng.randint(-9, 9)
  right = [
    _Node(next(names), '', (), value)
    for value in (a * x + b * y, c * x + d * y)
  ]
  nodes = [node for tree in trees for node in tree] + right
  roots = [*(tree[-1].name for tree in trees), *(node.name for node in right)]
  return nodes, roots, f'x = {x}, y = {y}'


def _say(kind: str, node: _Node) -> str:
  if node.op == '':
    return _LEAVES[kind].format(name=node.name, value=node.value)
  return _OPS[kind][node.op].format(name=node.name, args=', '.join(node.args))


def _graph_problem(
  kind, rng, names, depth, children, extra_links, distractors
) -> Problem:
  """Arrows from earlier to later nodes; half of the pairs are connected."""
  order = [next(names) for _ in range(2 * depth)]
  arrows: dict[str, set[str]] = {name: set() for name in order}
  for i, name in enumerate(order[:-1]):
    later = order[i + 1 :]
    arrows[name] |= set(rng.sample(later, min(children, len(later))))
  for _ in range(extra_links):
    i, j = sorted(rng.sample(range(len(order)), 2))
    arrows[order[i]].add(order[j])
  for _ in range(distractors):  # they lead into the graph; nothing to them
    arrows[next(names)] = {rng.choice(order)}
  value = {name: rng.randint(1, 10) for name in arrows}
  best = {s: _largest_sums(order, arrows, value, s) for s in order}
  wanted = rng.random() < 0.5
  pairs = [
    (s, t) for s in order for t in order if s != t and (t in best[s]) == wanted
  ]
  s, t = rng.choice(pairs)
  sentences = [
    f'{name} leads to {", ".join(sorted(to)) or "nothing"}.'
    for name, to in arrows.items()
  ]
  if kind == 'reachability':
    return Problem(sentences, _REACHES.format(s=s, t=t), str(t in best[s]))
  sentences += [f'The value of {name} is {v}.' for name, v in value.items()]
  answer = str(best[s][t]) if t in best[s] else 'N/A'
  return Problem(sentences, _LARGEST.format(s=s, t=t), answer)


def _largest_sums(
  order: Sequence[str],
  arrows: Mapping[str, set[str]],
  value: Mapping[str, int],
  start: str,
) -> dict[str, int]:
  """Of each node that can be reached, in one sweep of topological order."""
  best = {start: value[start]}
  for name in order:
    if name in best:
      for to in arrows[name]:
        best[to] = max(best.get(to, 0), best[name] + value[to])
  return best


def _follow_paths(kind: str, text: str, question: str) -> str:
  """Every path, one after another."""
  arrows = {
    m[1]: re.findall(NAME, m[2])
    for m in re.finditer(rf'({NAME}) leads to ([^.]*)\.', text)
  }
  value = {
    m[1]: int(m[2]) for m in re.finditer(rf'value of ({NAME}) is (\d+)', text)
  }
  start, end = re.findall(NAME, question)

  def paths(name: str) -> Iterator[list[str]]:
    if name == end:
      yield [name]
    for to in arrows[name]:
      yield from ([name, *rest] for rest in paths(to))

  if kind == 'reachability':
    return str(any(True for _ in paths(start)))
  sums = [sum(value[name] for name in path) for path in paths(start)]
  return str(max(sums)) if sums else 'N/A'


def _pattern(form: str) -> str:
  """The expression that finds what a form says."""
  pattern = re.escape(form)
  for name, group in (
    ('name', rf'(?P<name>{NAME})'),
    ('args', rf'(?P<args>{NAME}(?:, {NAME})*)'),
    ('value', r'(?P<value>-?\d+|True|False)'),
  ):
    pattern = pattern.replace(rf'\{{{name}\}}', group)
  return pattern


_BINARY = {
  ast.Add: operator.add,
  ast.Sub: operator.sub,
  ast.Mult: operator.mul,
}


def _evaluate(node: ast.expr) -> Any:
  """The value of an expression of numbers or truths."""
  if isinstance(node, ast.Constant):
    return node.value
  if isinstance(node, ast.BinOp):
    left, right = _evaluate(node.left), _evaluate(node.right)
    return _BINARY[type(node.op)](left, right)
  if isinstance(node, ast.BoolOp):
    choose = all if isinstance(node.op, ast.And) else any
    return choose(_evaluate(value) for value in node.values)
  if isinstance(node, ast.UnaryOp):
    value = _evaluate(node.operand)
    return not value if isinstance(node.op, ast.Not) else -value
  raise ValueError(f'{ast.dump(node)} is no expression of these')
