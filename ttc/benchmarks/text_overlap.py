r"""How much of one text is in another: exact match, token F1, ROUGE-L, runs.

Rajpurkar et al., "SQuAD", arXiv 1606.05250 (normalisation, exact match, F1);
Lin, "ROUGE", 2004 (longest common subsequence).
"""

import collections
import re
import string
from collections.abc import Sequence

_ARTICLES = re.compile(r'\b(a|an|the)\b')
_MARKS = str.maketrans('', '', string.punctuation)


def normalize(text: str) -> str:
  """Lower case, without punctuation, articles and superfluous blanks."""
  return ' '.join(_ARTICLES.sub(' ', text.lower().translate(_MARKS)).split())


def exact_match(gold: str, said: str) -> float:
  """1 if both are the same when normalised."""
  return float(normalize(gold) == normalize(said))


def token_f1(gold: str, said: str) -> float:
  """F1 of normalised tokens; without any on one side, 1 if on neither."""
  wanted, found = normalize(gold).split(), normalize(said).split()
  if not wanted or not found:
    return float(wanted == found)
  shared = sum(
    (collections.Counter(wanted) & collections.Counter(found)).values()
  )
  return _f1(shared, len(found), len(wanted))


def rouge_l(gold: str, said: str) -> float:
  """F1 of the longest common subsequence of normalised tokens."""
  wanted, found = normalize(gold).split(), normalize(said).split()
  return _f1(longest_subsequence(wanted, found), len(found), len(wanted))


def longest_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
  """Length of the longest common subsequence; `len(a) len(b)` steps."""
  row = [0] * (len(b) + 1)
  for x in a:
    corner = 0
    for j, y in enumerate(b, start=1):
      above = row[j]
      row[j] = corner + 1 if x == y else max(above, row[j - 1])
      corner = above
  return row[-1]


def longest_substring(a: str, b: str) -> int:
  """Characters of the longest run that both have."""
  row, best = [0] * (len(b) + 1), 0
  for x in a:
    previous, row = row, [0] * (len(b) + 1)
    for j, y in enumerate(b, start=1):
      if x == y:
        row[j] = previous[j - 1] + 1
        best = max(best, row[j])
  return best


def _f1(shared: int, said: int, wanted: int) -> float:
  return 2 * shared / (said + wanted) if said and wanted else 0.0
