"""Lines of a function that matter for one of its lines.

Weiser, "Program slicing", 1984. The static slice follows the syntax tree
backwards: assignments of the names that a line reads, and the conditions that
it stands under. The dynamic slice is what a test ran. Both ignore what happens
in the functions that are called, and treat `x.y` and `x[y]` as uses of `x`.

Cost: at most (statements of the function)^2 steps.
"""

import ast

from ttc.evaluation import SuiteReport, function_node

_LOOPS = ast.For | ast.AsyncFor | ast.While


def static_slice(source: str, function: str, line: int) -> list[int]:
  """Lines of the function that what happens at a line may depend on.

  Args:
    source: of the file.
    function: `name` or `Class.name`.
    line: of one of its statements.

  Returns:
    Lines of the file, with `line` itself, in their order.

  Raises:
    ValueError: if no statement of the function begins at the line.
  """
  node = function_node(source, function)
  steps = list(_statements(node.body, ()))
  start = [i for i, (step, _) in enumerate(steps) if step.lineno == line]
  if not start:
    raise ValueError(f'line={line} begins no statement of {function!r}')
  chosen, open_ = set(start), list(start)
  while open_:
    index = open_.pop()
    step, above = steps[index]
    read, loops = _reads(step), {x for x in above if isinstance(x, _LOOPS)}
    for other, (writer, over) in enumerate(steps):
      # In a loop that both are in, a later line runs before an earlier one.
      before = other < index or bool(loops & set(over))
      if other in chosen:
        continue
      if writer in above or (before and read & _writes(writer)):
        chosen.add(other)
        open_.append(other)
  return sorted({steps[i][0].lineno for i in chosen})


def dynamic_slice(
  source: str, function: str, report: SuiteReport, test: str
) -> list[int]:
  """Lines of the function that a test ran, without those of the import."""
  steps = _statements(function_node(source, function).body, ())
  lines = {step.lineno for step, _ in steps}
  return sorted(lines & report.lines.get(test, frozenset()))


def _statements(body: list[ast.stmt], above: tuple[ast.stmt, ...]):
  """Each statement, with the statements that it stands in."""
  for step in body:
    yield step, above
    inner = [
      x for field in ('body', 'orelse', 'finalbody')
      for x in getattr(step, field, [])
    ]  # fmt: skip
    inner += [x for h in getattr(step, 'handlers', []) for x in h.body]
    inner += [x for case in getattr(step, 'cases', []) for x in case.body]
    yield from _statements(inner, (*above, step))


def _head(step: ast.stmt) -> list[ast.AST]:
  """What a statement itself evaluates, without the statements in it."""
  parts: list[ast.AST] = []
  for _, value in ast.iter_fields(step):
    for part in value if isinstance(value, list) else [value]:
      if isinstance(part, ast.expr | ast.withitem):
        parts.append(part)
      elif isinstance(part, ast.match_case):
        parts += [part.pattern, *([part.guard] if part.guard else [])]
  return parts


def _reads(step: ast.stmt) -> set[str]:
  names = {
    node.id
    for part in _head(step)
    for node in ast.walk(part)
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
  }
  if isinstance(step, ast.AugAssign) and isinstance(step.target, ast.Name):
    names.add(step.target.id)
  return names


def _writes(step: ast.stmt) -> set[str]:
  """Names that it binds, and those whose content it may change."""
  names = set()
  for part in _head(step):
    for node in ast.walk(part):
      if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        names.add(node.id)
      elif isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(
        node.ctx, ast.Load
      ):
        names |= {x.id for x in ast.walk(node) if isinstance(x, ast.Name)}
  if isinstance(step, ast.Expr) and isinstance(step.value, ast.Call):
    # A method that is called for its effect, such as `items.append(x)`.
    called = step.value.func
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
      names.add(called.value.id)
  return names
