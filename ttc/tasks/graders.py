r"""Graders: `(gold, completion) -> Grade` with a score of exactly 0 or 1.

Each says in `detail` which pattern found the answer. Where a pattern matches
more than once the last match wins, for a chain of thought ends with its answer;
what stands between `<think>` and `</think>` is no answer. An answer is read
whole or not at all: the first number of `1/2` or of `3 + 4` is not what was
said. A grader never raises because of a completion: what breaks it scores 0
with the detail `GRADER_ERROR`, so that the rate of such grades can be reported.

Beside each grader stands the equivalence of the answers that it extracts,
`same_text`, `same_number` and `same_math`. Votes are counted with it, and it
never sees the gold answer.
"""

import functools
import re
import threading
from typing import Any

from ttc.tasks import numbers, text_task
from ttc.tasks.numbers import same_number as same_number
from ttc.tasks.text_task import same_text as same_text

# In the order in which they are tried; the last box comes before the last
# number.
_NUMBER_PATTERNS = {
  'hashes': re.compile(rf'####[\s*]*{numbers.ANCHORED}'),
  'answer_is': re.compile(
    rf'answer\s*(?:is|:|=)\s*:?[\s*$]*{numbers.ANCHORED}', re.IGNORECASE
  ),
}
_ANY_NUMBER = re.compile(numbers.ANYWHERE)
_CONNECTIVE = re.compile(
  r'[\s$]*(?:,|;|and|or|\\(?:text|mbox)\{\s*(?:and|or)\s*\})?[\s$]*'
)
_ANSWER_ANCHOR = r'\banswer\s*(?:is\s*:?|:)[\s*]*'
_CHOICE_PATTERNS = {
  'answer': rf'(?i:{_ANSWER_ANCHOR}\(?)([{{letters}}])\b(?!\')',
  'boxed': r'\\boxed\{{\s*(?:\\text\{{)?\s*\(?([{letters}])\)?\s*\}}',
  'parenthesis': r'\(([{letters}])\)',
  # Not the article in `A dog`, nor the pronoun in `I think`.
  'letter': r'(?<![\w\'])(?![AI]\s+[a-z])([{letters}])(?![\w\'])',
}


def exact(gold: str, completion: str) -> text_task.Grade:
  """Compares the stripped texts, character by character."""
  extracted = reply(completion).strip()
  score = float(extracted == gold.strip())
  return text_task.Grade(score, extracted or None, 'exact')


def numeric(gold: str, completion: str) -> text_task.Grade:
  r"""Compares numbers by value, exactly: `1,234.50` is `1234.5`.

  Looks for `#### 12`, then `the answer is 12`, then the last `\boxed{12}`, then
  the last number at all. How numbers are written is said in `numbers`; what is
  more than one number, such as `3 + 4`, is extracted and never right.
  """
  found, detail = _find_number(reply(completion))
  if found is None:
    return text_task.Grade(0.0, None, detail)
  said, wanted = numbers.value(found), numbers.value(gold)
  score = float(said is not None and said == wanted)
  return text_task.Grade(score, found, detail)


def _find_number(text: str) -> tuple[str | None, str]:
  """The text of the answer and what found it."""
  for detail, pattern in _NUMBER_PATTERNS.items():
    matches = list(pattern.finditer(text))
    if matches:
      return _whole(text, matches[-1]), detail
  boxed = last_boxed(text)
  if boxed is not None and any(c.isdigit() for c in boxed):
    return boxed.strip(), 'boxed'
  matches = list(_ANY_NUMBER.finditer(text))
  if matches:
    return _whole(text, matches[-1]), 'last_number'
  return None, 'no_answer'


def _whole(text: str, match: re.Match[str]) -> str:
  """The match, and what belongs to it behind its end."""
  end = match.end(1)
  if numbers.unfinished(text, end):
    return match[1] + re.split(r'\s', text[end:], maxsplit=1)[0]
  word = re.match(r'\s+(?:thousand|million|billion)\b', text[end:])
  return match[1] + (word.group() if word else '')


def multiple_choice(
  gold: str, completion: str, num_choices: int = 4
) -> text_task.Grade:
  r"""Compares letters from A on.

  Looks for `Answer: B` (or `the answer is B`), then `\boxed{B}`, then `(B)`,
  then a capital that stands alone and is not a word of a sentence.

  Args:
    gold: one capital letter.
    completion: what the model wrote.
    num_choices: how many letters are choices; others are not looked for.
  """
  text = reply(completion)
  letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[:num_choices]
  for detail, pattern in _CHOICE_PATTERNS.items():
    matches = re.findall(pattern.format(letters=letters), text)
    if matches:
      score = float(matches[-1] == gold.strip())
      return text_task.Grade(score, matches[-1], detail)
  return text_task.Grade(0.0, None, 'no_answer')


def math(
  gold: str, completion: str, timeout_seconds: int = 5
) -> text_task.Grade:
  r"""Compares mathematical expressions with the `math-verify` library.

  The answer is the last `\boxed{}` and nothing else; boxes with only `and`,
  `or` or a comma between them are one answer. Without a box it is the last
  expression. The gold answer goes first, for the comparison is not symmetric: a
  gold `1 < x < 2` accepts the interval `(1, 2)`, not the other way round. Its
  time limit is a SIGALRM, which only a main thread can have. In any other
  thread there is NO limit: to grade in parallel use a pool of processes, whose
  workers have a main thread each.

  Args:
    gold: LaTeX without dollar signs, or a plain expression.
    completion: what the model wrote; a `\boxed{}` is preferred.
    timeout_seconds: limit of each parse and each comparison.
  """
  text = reply(completion)
  boxed = boxed_answer(text)
  if boxed is not None:
    text = _in_box(boxed)
  gold_forms = _parse(_in_box(gold), timeout_seconds)
  forms = _parse(text, timeout_seconds)
  if forms is None or not gold_forms:
    return text_task.Grade(0.0, None, text_task.GRADER_ERROR)
  if not forms:
    return text_task.Grade(0.0, None, 'no_answer')
  extracted = str(forms[-1]) if boxed is None else boxed.strip()
  if _equal_values(gold, extracted):
    return text_task.Grade(1.0, extracted, 'math_verify')
  is_equal = _verify(gold_forms, forms, timeout_seconds)
  if is_equal is None:
    return text_task.Grade(0.0, extracted, text_task.GRADER_ERROR)
  return text_task.Grade(float(is_equal), extracted, 'math_verify')


def same_math(first: str, second: str, timeout_seconds: int = 5) -> bool:
  """Whether `math` takes one of two extracted answers for the other.

  Args:
    first: what `math` extracted.
    second: likewise; the order does not matter.
    timeout_seconds: as in `math`; what takes longer is not the same.
  """
  if first.strip() == second.strip() or _equal_values(first, second):
    return True
  forms = [_parse(_in_box(text), timeout_seconds) for text in (first, second)]
  one, other = forms
  if not one or not other:
    return False
  return bool(
    _verify(one, other, timeout_seconds) or _verify(other, one, timeout_seconds)
  )


def reply(completion: str) -> str:
  """What a model says when it has thought: all behind the last `</think>`.

  Of thoughts that have no end nothing is a reply.
  """
  _, end, said = completion.rpartition('</think>')
  return said if end else completion.partition('<think>')[0]


def boxed_answer(text: str) -> str | None:
  r"""The last `\boxed{}` with those that belong to it, None if there is none.

  `\boxed{3} or \boxed{5}` is `3,5`; with any other words in between the last
  box replaces the earlier ones.
  """
  boxes = _boxes(text)
  if not boxes:
    return None
  first = len(boxes) - 1
  while first and _CONNECTIVE.fullmatch(
    text[boxes[first - 1][1] : boxes[first][0]]
  ):
    first -= 1
  return ','.join(inside for _, _, inside in boxes[first:])


def last_boxed(text: str) -> str | None:
  r"""Returns what is inside the last `\boxed{}` or `\fbox{}`, None if none.

  Braces are balanced; `\boxed 7`, as some solutions write, gives 7. A box that
  is not closed is passed over.
  """
  boxes = _boxes(text)
  return boxes[-1][2] if boxes else None


def _boxes(text: str) -> list[tuple[int, int, str]]:
  """Begin, end and content of every box."""
  found = []
  for match in re.finditer(r'\\(?:boxed|fbox)\s*', text):
    rest = text[match.end() :]
    if not rest.startswith('{'):
      bare = re.match(r'\w+', rest)
      if bare:
        end = match.end() + bare.end()
        found.append((match.start(), end, bare.group()))
      continue
    depth = 0
    for position, character in enumerate(rest):
      depth += (character == '{') - (character == '}')
      if depth == 0:
        end = match.end() + position + 1
        found.append((match.start(), end, rest[1:position]))
        break
  return found


def _in_box(text: str) -> str:
  r"""An expression in a box, written as `math-verify` reads it."""
  text = text.replace('\u2212', '-').replace('{,}', ',')
  text = re.sub(r'(?<=\d)\\[,!; ](?=\d{3}(?!\d))', '', text)
  if re.fullmatch(r'\s*-?\d{1,3}(?:[ \u00a0\u2009\u202f]\d{3})+\s*', text):
    text = re.sub(r'\s', '', text)
  if re.fullmatch(r'\s*-?[\d.]+[eE][-+]?\d+\s*', text):
    value = numbers.value(text)
    text = text if value is None else str(value)
  return f'\\boxed{{{text}}}'


def _equal_values(first: str, second: str) -> bool:
  """Whether both are plain numbers, and the same."""
  if any('%' in text for text in (first, second)):
    return False  # to `math` a percentage is a hundredth
  value = numbers.value(first)
  return value is not None and value == numbers.value(second)


@functools.lru_cache(maxsize=4096)
def _parse(text: str, timeout_seconds: int) -> tuple[Any, ...] | None:
  """The readings of a text, none if it has none; None if reading broke."""
  math_verify, broken = math_verify_library()
  try:
    return tuple(
      math_verify.parse(
        text, parsing_timeout=_limit(timeout_seconds), raise_on_error=True
      )
    )
  except broken:
    return None


def _verify(
  gold_forms: tuple[Any, ...], forms: tuple[Any, ...], timeout_seconds: int
) -> bool | None:
  """Whether any two readings agree; None if none does and some broke."""
  math_verify, broken = math_verify_library()
  result = False
  for gold_form in gold_forms:
    for form in forms:
      try:
        if math_verify.verify(
          gold_form,
          form,
          timeout_seconds=_limit(timeout_seconds),
          raise_on_error=True,
        ):
          return True
      except broken:
        result = None
  return result


def _limit(timeout_seconds: int) -> int | None:
  is_main = threading.current_thread() is threading.main_thread()
  return timeout_seconds if is_main else None


def math_verify_library() -> tuple[Any, tuple[type[BaseException], ...]]:
  """The library, and what it raises where a text breaks it.

  Raises:
    ImportError: naming the extra, if it is not installed.
  """
  try:
    import math_verify
    from math_verify import errors
  except ImportError as error:
    raise ImportError(
      "math-verify is needed: pip install 'ttc-jax[eval]'"
    ) from error
  # Its TimeoutException is a BaseException: `except Exception` would miss it.
  return math_verify, (Exception, errors.TimeoutException)
