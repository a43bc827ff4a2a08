"""Ten functions, each written thrice: one loop, two loops, and in between.

The ground truth takes one loop and some more; the quick solution is cheaper
than it, the slow one has a loop in a loop. All are right.
"""

from typing import Any, NamedTuple


class Problem(NamedTuple):
  """A function in three ways."""

  name: str
  arguments: str
  says: str
  quick: str  # bodies
  truth: str
  slow: str
  small: tuple[Any, ...]  # arguments of a test of correctness
  large: tuple[Any, ...]  # of a stressful test

  def source(self, body: str) -> str:
    """The function with one of the bodies."""
    lines = ''.join(f'  {line}\n' for line in body.splitlines())
    return f'def {self.name}({self.arguments}):\n{lines}'


def record(problem: Problem) -> dict[str, Any]:
  """The problem in COFFE's schema; expected values are the truth's."""
  names: dict[str, Any] = {}
  truth = problem.source(problem.truth)
  exec(truth, names)  # of ours
  test = lambda arguments: {
    'input': repr(list(arguments)),
    'output': repr(names[problem.name](*arguments)),
  }
  return {
    'prompt': f'def {problem.name}({problem.arguments}):\n'
    f'  """{problem.says}"""\n',
    'entry_point': problem.name,
    'testcases': [test(problem.small)],
    'stressful_testcases': [test(problem.large)],
    'best_solutions': [truth],
  }


_UP = [(7 * i) % 101 for i in range(101)]

PROBLEMS = (
  Problem(
    'total', 'n', 'Returns the sum of 1 to n.',
    'return n * (n + 1) // 2',
    's = 0\nfor i in range(n + 1):\n  s += i\nreturn s',
    's = 0\nfor i in range(n + 1):\n  for _ in range(i):\n    s += 1\nreturn s',
    (4,), (90,),
  ),
  Problem(
    'has_twice', 'items', 'Returns whether an item comes twice.',
    'return len(set(items)) < len(items)',
    'seen = set()\nfor x in items:\n  if x in seen:\n    return True\n'
    '  seen.add(x)\nreturn False',
    'for i in range(len(items)):\n  for j in range(i):\n'
    '    if items[i] == items[j]:\n      return True\nreturn False',
    ([1, 2, 1],), (_UP,),
  ),
  Problem(
    'prefix_sums', 'items', 'Returns the sums of all beginnings.',
    's, out = 0, []\nfor x in items:\n  s += x\n  out.append(s)\nreturn out',
    's, out = 0, []\nfor i in range(len(items)):\n  x = items[i]\n  s = s + x\n'
    '  out = out + [s]\nreturn out',
    'out = []\nfor i in range(len(items)):\n  s = 0\n'
    '  for j in range(i + 1):\n    s += items[j]\n  out.append(s)\nreturn out',
    ([1, 2, 3],), (_UP,),
  ),
  Problem(
    'largest_gain', 'prices', 'Returns the largest later less earlier price.',
    'low, best = prices[0], 0\nfor p in prices:\n  if p < low:\n    low = p\n'
    '  elif p - low > best:\n    best = p - low\nreturn best',
    'low, best = prices[0], 0\nfor p in prices:\n  low = min(low, p)\n'
    '  gain = p - low\n  best = max(best, gain)\nreturn best',
    'best = 0\nfor i in range(len(prices)):\n'
    '  for j in range(i, len(prices)):\n'
    '    if prices[j] - prices[i] > best:\n'
    '      best = prices[j] - prices[i]\nreturn best',
    ([3, 1, 4, 2],), (_UP,),
  ),
  Problem(
    'count_pairs', 'items, s', 'Returns how many pairs i < j sum to s.',
    'seen, n = {}, 0\nfor x in items:\n  n += seen.get(s - x, 0)\n'
    '  seen[x] = seen.get(x, 0) + 1\nreturn n',
    'seen, n = {}, 0\nfor i in range(len(items)):\n  x = items[i]\n'
    '  y = s - x\n  if y in seen:\n    n = n + seen[y]\n'
    '  if x not in seen:\n    seen[x] = 0\n  seen[x] = seen[x] + 1\nreturn n',
    'n = 0\nfor i in range(len(items)):\n  for j in range(i):\n'
    '    if items[i] + items[j] == s:\n      n += 1\nreturn n',
    ([1, 2, 3, 3], 4), (_UP, 100),
  ),
  Problem(
    'reverse_words', 'text', 'Returns the words of a text in reverse.',
    'return " ".join(text.split()[::-1])',
    'out = ""\nfor w in text.split():\n  out = w + " " + out\n'
    'return out.strip()',
    'words = text.split()\nfor i in range(len(words)):\n'
    '  for j in range(len(words) - 1 - i):\n'
    '    words[j], words[j + 1] = words[j + 1], words[j]\n'
    'return " ".join(words)',
    ('a b c',), (' '.join(map(str, _UP)),),
  ),
  Problem(
    'ascending', 'items', 'Returns the items in order.',
    'return sorted(items)',
    'out = []\nfor x in items:\n  i = len(out)\n  out.append(x)\n'
    'out.sort()\nfor i in range(len(out)):\n  out[i] = out[i]\nreturn out',
    'out = list(items)\nfor i in range(len(out)):\n'
    '  for j in range(i + 1, len(out)):\n    if out[j] < out[i]:\n'
    '      out[i], out[j] = out[j], out[i]\nreturn out',
    ([3, 1, 2],), (_UP,),
  ),
  Problem(
    'most_common', 'text', 'Returns the first of the commonest characters.',
    'return max(text, key=text.count)',
    'counts = {}\nfor c in text:\n  counts[c] = counts.get(c, 0) + 1\n'
    'best = None\nfor c in counts:\n'
    '  if best is None or counts[c] > counts[best]:\n    best = c\nreturn best',
    'best, most = None, 0\nfor c in text:\n  n = 0\n  for d in text:\n'
    '    if c == d:\n      n += 1\n  if n > most:\n    best, most = c, n\n'
    'return best',
    ('abb',), ('abcdefghij' * 9 + 'j',),
  ),
  Problem(
    'longest_run', 'items', 'Returns the length of the longest run.',
    'best, n, old = 0, 0, None\nfor x in items:\n'
    '  n = n + 1 if x == old else 1\n  old = x\n  if n > best:\n'
    '    best = n\nreturn best',
    'best = 0\nn = 0\nfor i in range(len(items)):\n'
    '  if i > 0 and items[i] == items[i - 1]:\n    n = n + 1\n  else:\n'
    '    n = 1\n  best = max(best, n)\nreturn best',
    'best = 0\nfor i in range(len(items)):\n  for j in range(i, len(items)):\n'
    '    if items[j] != items[i]:\n      break\n'
    '    best = max(best, j - i + 1)\nreturn best',
    ([1, 1, 2],), ([3] * 80 + [4] * 20,),
  ),
  Problem(
    'common', 'a, b', 'Returns the sorted items that both have.',
    'return sorted(set(a) & set(b))',
    'out = []\nother = set(b)\nfor x in set(a):\n  if x in other:\n'
    '    out.append(x)\nout.sort()\nreturn out',
    'out = []\nfor x in a:\n  for y in b:\n    if x == y and x not in out:\n'
    '      out.append(x)\nout.sort()\nreturn out',
    ([1, 2], [2, 3]), (_UP, _UP[::2]),
  ),
)  # fmt: skip
