"""Which lines and branches of a Python source run, told by the source itself.

A call is put before each statement and around each condition, so what is
counted is the source and the same under every Python. Branches are what `if`,
`while`, `for` and `match` may do; conditions that are written down are none.
This file stands alone: it is laid into the sandbox as it is.

Cost: a call for each statement that runs.
"""

import ast


class Recorder:
  """Lines and arms of the measured file that have run, by what ran them.

  Attributes:
    parts: `{'import' or a test: (lines, arms)}`.
  """

  def __init__(self):
    self.parts = {}
    self.begin('import')

  def begin(self, name):
    """What runs from now on is this part's."""
    self.lines, self.arms = self.parts.setdefault(name, (set(), set()))

  def line(self, number):
    """A statement begins."""
    self.lines.add(number)

  def arm(self, number, arm):
    """A branch is taken."""
    self.arms.add((number, arm))

  def test(self, number, value):
    """A condition has a value."""
    value = bool(value)
    self.arms.add((number, 0 if value else 1))
    return value


def statements(tree):
  """The bodies of a tree, and in each the statements that are counted.

  Documentation, other constants, and declarations of names do nothing.
  """
  for node in ast.walk(tree):
    for field in ('body', 'orelse', 'finalbody'):
      body = getattr(node, field, None)
      if isinstance(body, list):
        yield body, [step for step in body if is_counted(step)]


def is_counted(step):
  """Whether a statement does anything."""
  if isinstance(step, ast.ImportFrom) and step.module == '__future__':
    return False
  constant = isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant)
  return not (constant or isinstance(step, ast.Global | ast.Nonlocal))


def lines_of(tree):
  """The lines at which statements begin."""
  return sorted({x.lineno for _, steps in statements(tree) for x in steps})


def arms_of(tree):
  """`(line, arm)` of the ways that branches go: 0 is into the body."""
  arms = []
  for node in ast.walk(tree):
    if isinstance(node, ast.stmt) and is_branch(node):
      arms += [(node.lineno, 0), (node.lineno, 1)]
    elif isinstance(node, ast.Match):
      count = len(node.cases) + (not is_complete(node))
      arms += [(node.lineno, i) for i in range(count)]
  return sorted(arms)


def is_branch(node):
  """Whether it is a loop over items, or has a condition to be met or not."""
  if isinstance(node, ast.If | ast.While):
    return not isinstance(node.test, ast.Constant)
  return isinstance(node, ast.For | ast.AsyncFor)


def is_complete(node):
  """Whether the last case takes what is left."""
  last = node.cases[-1]
  takes_all = isinstance(last.pattern, ast.MatchAs) and not last.pattern.pattern
  return takes_all and last.guard is None


def instrument(tree):
  """Puts calls that record lines and arms into a tree, in place."""
  name = lambda text: ast.Name(text, ast.Load())
  arm = lambda node, i: ast.Expr(
    ast.Call(name('__arm__'), [ast.Constant(node.lineno), ast.Constant(i)], [])
  )
  found = list(statements(tree))
  branches = list(ast.walk(tree))
  for body, steps in found:
    new = []
    for step in body:
      if step in steps:
        call = ast.Call(name('__line__'), [ast.Constant(step.lineno)], [])
        new.append(ast.copy_location(ast.Expr(call), step))
      new.append(step)
    body[:] = new
  for node in branches:
    if isinstance(node, ast.If | ast.While) and is_branch(node):
      line = ast.Constant(node.lineno)
      node.test = ast.copy_location(
        ast.Call(name('__test__'), [line, node.test], []), node.test
      )
    elif isinstance(node, ast.For | ast.AsyncFor):
      node.body.insert(0, arm(node, 0))
      node.orelse.insert(0, arm(node, 1))
    elif isinstance(node, ast.Match):
      if not is_complete(node):
        rest = ast.match_case(ast.MatchAs(), None, [])
        node.cases.append(rest)
      for i, case in enumerate(node.cases):
        case.body.insert(0, arm(node, i))
  ast.fix_missing_locations(tree)
