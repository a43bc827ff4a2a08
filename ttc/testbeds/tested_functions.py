"""Small functions with inputs that reach all of them, and test files for them.

The functions and their inputs are ours. Expected values come from running the
function, so a suite with all inputs is as strong as equality can be. A template
writes tests as a small model would: some do not parse, some import what there
is not, some expect what is not so, most look at one input.
"""

import functools
import random
from typing import Any, NamedTuple

from ttc import evaluation
from ttc.tasks import mutations

FILE = 'code_file.py'


class Tested(NamedTuple):
  """A function, and inputs that together take every branch."""

  name: str
  source: str
  inputs: tuple[tuple[Any, ...], ...]

  @property
  def requirement(self) -> str:
    """What its docstring says."""
    return self.source.split('"""')[1]

  @property
  def signature(self) -> str:
    """Its first line."""
    return self.source.split(':\n')[0] + ':'


def outputs(tested: Tested) -> list[Any]:
  """What it gives for its inputs; it is ours, so it is run here."""
  function = _compiled(tested.source, tested.name)
  return [function(*x) for x in tested.inputs]


@functools.cache
def _compiled(source: str, name: str) -> Any:
  names: dict[str, Any] = {}
  exec(source, names)
  return names[name]


def test_file(tested: Tested, rows, num_wrong: int = 0) -> str:
  """A test for each of the rows of inputs, the last of them wrong."""
  values = outputs(tested)
  lines = [f'from code_file import {tested.name}\n\n']
  for i, row in enumerate(rows):
    call = f'{tested.name}({", ".join(map(repr, tested.inputs[row]))})'
    wrong = i >= len(rows) - num_wrong
    value = ('not', values[row]) if wrong else values[row]
    lines.append(f'def test_{i}():\n  assert {call} == {value!r}\n\n')
  return ''.join(lines)


def strong(tested: Tested) -> str:
  """Asserts the right value of every input."""
  return test_file(tested, range(len(tested.inputs)))


def weak(tested: Tested) -> str:
  """Asserts the right value of the first input."""
  return test_file(tested, [0])


def smoke(tested: Tested) -> str:
  """Calls it with every input, and asserts nothing of the results."""
  calls = (f'  {tested.name}(*{x!r})\n' for x in tested.inputs)
  head = f'from code_file import {tested.name}\n\ndef test_all():\n'
  return head + ''.join(calls)


def candidate(tested: Tested, rng: random.Random) -> str:
  """A test file of the template: right in about half of the cases."""
  kind = rng.random()
  rows = [rng.randrange(len(tested.inputs))]
  if kind < 0.15:
    return test_file(tested, rows).replace('():', '(:')  # does not parse
  if kind < 0.3:
    return test_file(tested, rows).replace('code_file', 'code_files')
  return test_file(tested, rows, num_wrong=int(kind < 0.5))


def mutants(tested: Tested, num_mutants: int = 99) -> list[str]:
  """Versions with one mistake."""
  return mutations.mutants(
    tested.source, tested.name, num_mutants, 0, statements=True
  )


def in_domain(tested: Tested, inputs: tuple[Any, ...]) -> bool:
  """Whether the requirement says what the function gives for inputs."""
  ordered = lambda items: list(items) == sorted(items)
  needs = {
    'clip': lambda x, low, high: low <= high,
    'bisect': lambda items, x: ordered(items),
    'merge': lambda a, b: ordered(a) and ordered(b),
    'roman': lambda n: 0 <= n < 40,
    'triangle': lambda *sides: ordered(sides),
  }
  return tested.name not in needs or bool(needs[tested.name](*inputs))


def suite(tested: Tested, tests: str, changed=()) -> evaluation.Suite:
  """What `evaluation.check_suites` runs."""
  return evaluation.Suite(
    {FILE: tested.source}, FILE, tests, tested.name, changed
  )


FUNCTIONS = (
  Tested(
    'clip',
    'def clip(x, low, high):\n'
    '  """Returns x, or the end of the interval that it lies beyond."""\n'
    '  if x < low:\n    return low\n  if x > high:\n    return high\n'
    '  return x\n',
    ((5, 0, 9), (-3, 0, 9), (12, 0, 9), (0, 0, 9), (9, 0, 9)),
  ),
  Tested(
    'fizz',
    'def fizz(n):\n'
    '  """Returns fizz for multiples of 3, buzz of 5, both of 15, else n."""\n'
    '  text = ""\n  if n % 3 == 0:\n    text += "fizz"\n'
    '  if n % 5 == 0:\n    text += "buzz"\n  return text or str(n)\n',
    ((7,), (9,), (10,), (30,), (1,), (16,)),
  ),
  Tested(
    'gcd',
    'def gcd(a, b):\n'
    '  """Returns the greatest common divisor of two whole numbers."""\n'
    '  while b:\n    a, b = b, a % b\n  return abs(a)\n',
    ((5, 0), (12, 18), (-4, 6), (0, 3), (35, 14)),
  ),
  Tested(
    'is_prime',
    'def is_prime(n):\n  """Returns whether n is a prime number."""\n'
    '  if n < 2:\n    return False\n  for i in range(2, n):\n'
    '    if i * i > n:\n      break\n    if n % i == 0:\n'
    '      return False\n  return True\n',
    ((1,), (2,), (3,), (4,), (9,), (13,), (25,), (0,), (15,)),
  ),
  Tested(
    'fibonacci',
    'def fibonacci(n):\n  """Returns the n-th number of 0, 1, 1, 2, 3."""\n'
    '  a, b = 0, 1\n  for _ in range(n):\n    a, b = b, a + b\n  return a\n',
    ((0,), (1,), (2,), (3,), (9,)),
  ),
  Tested(
    'run_lengths',
    'def run_lengths(text):\n'
    '  """Returns the runs of a text as pairs of character and length."""\n'
    '  runs = []\n  for c in text:\n    if runs and runs[-1][0] == c:\n'
    '      runs[-1] = (c, runs[-1][1] + 1)\n    else:\n'
    '      runs.append((c, 1))\n  return runs\n',
    (('ab',), ('aab',), ('',), ('abbba',), ('aaa',)),
  ),
  Tested(
    'bisect',
    'def bisect(items, x):\n'
    '  """Returns where x would be inserted before equal ones in a sorted list.'
    '"""\n  low, high = 0, len(items)\n  while low < high:\n'
    '    middle = (low + high) // 2\n    if items[middle] < x:\n'
    '      low = middle + 1\n    else:\n      high = middle\n  return low\n',
    (([1, 3, 5], 3), ([1, 3, 5], 9), ([], 1), ([2, 2, 2], 2), ([1, 3, 5], 0),
     ([1, 2, 3, 4, 5, 6, 7], 6)),
  ),
  Tested(
    'roman',
    'def roman(n):\n  """Returns a number below 40 in Roman numerals."""\n'
    '  text = ""\n  for value, sign in ((10, "X"), (9, "IX"), (5, "V"), '
    '(4, "IV"), (1, "I")):\n    while n >= value:\n      text += sign\n'
    '      n -= value\n  return text\n',
    ((1,), (4,), (9,), (14,), (38,), (10,), (5,)),
  ),
  Tested(
    'is_palindrome',
    'def is_palindrome(text):\n'
    '  """Returns whether letters read the same backwards, in any case."""\n'
    '  letters = [c.lower() for c in text if c.isalpha()]\n'
    '  return letters == letters[::-1]\n',
    (('abc',), ('Ab, a',), ('',), ('aBba',), ('ab',)),
  ),
  Tested(
    'median',
    'def median(items):\n'
    '  """Returns the median of numbers, None of none."""\n'
    '  if not items:\n    return None\n  items = sorted(items)\n'
    '  half = len(items) // 2\n  if len(items) % 2 == 1:\n'
    '    return items[half]\n'
    '  return (items[half - 1] + items[half]) / 2\n',
    (([3, 1, 2],), ([],), ([4, 1, 3, 9],), ([7],), ([2, 5],)),
  ),
  Tested(
    'flatten',
    'def flatten(items):\n  """Returns nested lists as one list."""\n'
    '  flat = []\n  for item in items:\n    if isinstance(item, list):\n'
    '      flat += flatten(item)\n    else:\n      flat.append(item)\n'
    '  return flat\n',
    (([1, 2],), ([1, [2, [3]], 4],), ([],), ([[]],)),
  ),
  Tested(
    'digit_sum',
    'def digit_sum(n):\n  """Returns the sum of the digits of n."""\n'
    '  n = abs(n)\n  total = 0\n  while n > 0:\n    total += n % 10\n'
    '    n //= 10\n  return total\n',
    ((123,), (0,), (-45,), (1000,), (19,)),
  ),
  Tested(
    'leap',
    'def leap(year):\n  """Returns whether a year has a 29th of February."""\n'
    '  if year % 400 == 0:\n    return True\n  if year % 100 == 0:\n'
    '    return False\n  return year % 4 == 0\n',
    ((2001,), (2000,), (1900,), (2004,), (2002,)),
  ),
  Tested(
    'triangle',
    'def triangle(a, b, c):\n'
    '  """Returns the kind of a triangle with sides a <= b <= c."""\n'
    '  if a + b <= c:\n    return "none"\n  if a == b == c:\n'
    '    return "equilateral"\n  if a == b or b == c:\n'
    '    return "isosceles"\n  return "scalene"\n',
    ((3, 4, 5), (1, 2, 3), (2, 2, 2), (2, 2, 3), (2, 3, 3), (1, 1, 9)),
  ),
  Tested(
    'merge',
    'def merge(a, b):\n  """Returns two sorted lists as one sorted list."""\n'
    '  merged = []\n  i = j = 0\n  while i < len(a) and j < len(b):\n'
    '    if a[i] <= b[j]:\n      merged.append(a[i])\n      i += 1\n'
    '    else:\n      merged.append(b[j])\n      j += 1\n'
    '  return merged + a[i:] + b[j:]\n',
    (([1], [2]), ([1, 4], [2, 3]), ([], [1]), ([5, 6], [1]), ([2], [2, 2])),
  ),
  Tested(
    'caesar',
    'def caesar(text, shift):\n'
    '  """Returns a text with its small letters shifted in the alphabet."""\n'
    '  out = ""\n  for c in text:\n    if "a" <= c <= "z":\n'
    '      c = chr((ord(c) - 97 + shift) % 26 + 97)\n    out += c\n'
    '  return out\n',
    (('abc', 1), ('xyz', 3), ('A b', 2), ('', 5), ('az', 0), ('{`', 1)),
  ),
  Tested(
    'count_words',
    'def count_words(text):\n'
    '  """Returns how often each word comes, in small letters."""\n'
    '  counts = {}\n  for word in text.lower().split():\n'
    '    word = word.strip(".,!?")\n    if word:\n'
    '      counts[word] = counts.get(word, 0) + 1\n  return counts\n',
    (('a b',), ('A a, b!',), ('',), ('. .',), ('b b b a',)),
  ),
  Tested(
    'balanced',
    'def balanced(text):\n  """Returns whether brackets close in order."""\n'
    '  stack = []\n  for c in text:\n    if c in "([":\n'
    '      stack.append(c)\n    elif c in ")]":\n'
    '      if not stack or stack.pop() + c not in ("()", "[]"):\n'
    '        return False\n  return not stack\n',
    (('(a)',), ('([])',), ('(]',), (')',), ('((',), ('',), ('[)',)),
  ),
  Tested(
    'grade',
    'def grade(points):\n  """Returns a letter for points out of 100."""\n'
    '  if points < 0 or points > 100:\n    return "invalid"\n'
    '  if points >= 90:\n    return "A"\n  if points >= 70:\n    return "B"\n'
    '  if points >= 50:\n    return "C"\n  return "F"\n',
    ((95,), (90,), (89,), (70,), (69,), (50,), (49,), (0,), (100,), (-1,),
     (101,)),
  ),
  Tested(
    'rotate',
    'def rotate(items, k):\n'
    '  """Returns a list with its last k items put first."""\n'
    '  if not items:\n    return []\n  k = k % len(items)\n'
    '  return items[len(items) - k:] + items[:len(items) - k]\n',
    (([1, 2, 3], 1), ([], 2), ([1, 2, 3], 5), ([1, 2], 0), ([1, 2], -1)),
  ),
)  # fmt: skip
