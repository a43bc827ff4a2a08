"""Mends what is wrong with the form of generated tests, not with what they say.

TestBench (Zhang et al., 2024, arXiv 2409.17561) grades tests after such rules:
marks around the code are taken off, and package, imports, class and `@Test` are
put where they are missing. For Python we add the imports that are missing.
"""

import ast
import builtins
import re
from collections.abc import Sequence

from ttc.tasks.graders import reply

_FENCE = re.compile(r'```[ \t]*[\w+-]*[ \t]*\n(.*?)(?:```|\Z)', re.DOTALL)
_HEADER = re.compile(
  r'^\s{0,3}(?:#{1,6}\s|\*\*|[-=]{3,}\s*$).*\n?', re.MULTILINE
)
_METHOD = re.compile(r'([ \t]*)(?:public\s+)?void\s+\w*[tT]est\w*\s*\(')


def code_of(completion: str) -> str:
  """The code of a completion: its longest fenced block, or all of it.

  A block that the limit has cut is one, too; reasoning is no code.
  """
  text = reply(completion)
  blocks = _FENCE.findall(text)
  return max(blocks, key=len) if blocks else text


def repair_python(tests: str, module: str, names: Sequence[str]) -> str:
  """Adds the imports that a Python test file uses and has not.

  Args:
    tests: source; returned as it is where it does not parse.
    module: that is tested.
    names: what can be imported from it.

  Returns:
    The source, with imports before it.
  """
  try:
    tree = ast.parse(tests)
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return tests
  used, bound = set(), set(dir(builtins))
  for node in ast.walk(tree):
    if isinstance(node, ast.Name):
      (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
    elif isinstance(node, ast.Import | ast.ImportFrom):
      bound |= {(x.asname or x.name).split('.')[0] for x in node.names}
      if '*' in bound:
        bound |= set(names)
    elif isinstance(node, ast.arg):
      bound.add(node.arg)
    elif isinstance(
      node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    ):
      bound.add(node.name)
  missing = used - bound
  top = module.split('.')[0]
  lines = [
    f'import {name}' for name in ('pytest', 'unittest') if name in missing
  ]
  lines += [f'import {module}'] if top in missing else []
  wanted = [name for name in names if name in missing and name != top]
  lines += [f'from {module} import {", ".join(wanted)}'] if wanted else []
  future = re.match(r'\s*from __future__ import [^\n]*\n', tests)
  at = future.end() if future else 0
  return tests[:at] + ''.join(f'{line}\n' for line in lines) + tests[at:]


def repair_java(
  tests: str, package: str, imports: Sequence[str], class_name: str
) -> str:
  """Gives a Java test what it needs to compile; string work, no compiler.

  Args:
    tests: a file, a class or only methods.
    package: of the tested class; empty for none.
    imports: that the tested file has, without `import` and semicolon.
    class_name: of the tested class.

  Returns:
    A file with package, imports, one class, and `@Test` before test methods.
  """
  text = _HEADER.sub('', tests).strip()
  lines = []
  for pattern in (r'^\s*package\s+[\w.]+\s*;', r'^\s*import\s+[\w.* ]+;'):
    lines += [line.strip() for line in re.findall(pattern, text, re.MULTILINE)]
    text = re.sub(pattern + r'[ \t]*\n?', '', text, flags=re.MULTILINE).strip()
  text = _annotated(text)
  if not re.search(r'^[ \t]*(?:public\s+|final\s+)*class\s+\w+', text, re.M):
    text = f'public class {class_name}Test {{\n{text}\n}}'
  if package and not any(line.startswith('package') for line in lines):
    lines.insert(0, f'package {package};')
  needed = [*imports, 'org.junit.jupiter.api.Test']
  needed += ['static org.junit.jupiter.api.Assertions.*']
  have = ' '.join(lines)
  junit4 = 'org.junit.Test' in have
  for name in needed:
    if f'import {name};' in have or (junit4 and 'jupiter' in name):
      continue
    lines.append(f'import {name};')
  return '\n'.join([*lines, '', text, ''])


def _annotated(text: str) -> str:
  """Puts `@Test` before methods with test in their name that have nothing."""
  lines: list[str] = []
  for line in text.splitlines():
    method = _METHOD.match(line)
    above = next((x.strip() for x in reversed(lines) if x.strip()), '')
    if method and not above.startswith('@'):
      lines.append(f'{method.group(1)}@Test')
    lines.append(line)
  return '\n'.join(lines)
