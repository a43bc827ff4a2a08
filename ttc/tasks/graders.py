"""Graders: `(gold, completion) -> Grade` with a score of exactly 0 or 1.

Each says in `detail` which pattern found the answer. Where a pattern matches
more than once the last match wins, for a chain of thought ends with its answer.
A grader never raises because of a completion: what breaks it scores 0 with the
detail `GRADER_ERROR`, so that the rate of such grades can be reported.
"""

import fractions
import re
import threading

from ttc.tasks import text_task

_NUMBER = (
  r'(?<![\w.)])[-+]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?<=\d)(?!\d)'
)
# In the order in which they are tried.
_NUMBER_PATTERNS = {
  'hashes': re.compile(rf'####\s*({_NUMBER})'),
  'answer_is': re.compile(
    rf'answer\s*(?:is|:|=)\s*:?[\s*$]*({_NUMBER})', re.IGNORECASE
  ),
  'boxed': re.compile(rf'\\boxed\{{\s*({_NUMBER})'),
  'last_number': re.compile(rf'({_NUMBER})'),
}
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
  extracted = completion.strip()
  score = float(extracted == gold.strip())
  return text_task.Grade(score, extracted or None, 'exact')


def numeric(gold: str, completion: str) -> text_task.Grade:
  r"""Compares numbers by value, exactly: `1,234.50` is `1234.5`.

  Looks for `#### 12`, then `the answer is 12`, then `\boxed{12}`, then the last
  number at all. Thousands separators and dollar signs are ignored.
  """
  for detail, pattern in _NUMBER_PATTERNS.items():
    matches = pattern.findall(completion)
    if matches:
      return text_task.Grade(
        float(_value(matches[-1]) == _value(gold)), matches[-1], detail
      )
  return text_task.Grade(0.0, None, 'no_answer')


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
  letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[:num_choices]
  for detail, pattern in _CHOICE_PATTERNS.items():
    matches = re.findall(pattern.format(letters=letters), completion)
    if matches:
      score = float(matches[-1] == gold.strip())
      return text_task.Grade(score, matches[-1], detail)
  return text_task.Grade(0.0, None, 'no_answer')


def math(
  gold: str, completion: str, timeout_seconds: int = 5
) -> text_task.Grade:
  r"""Compares mathematical expressions with the `math-verify` library.

  The gold answer goes first, for its comparison is not symmetric: a gold
  `1 < x < 2` accepts the interval `(1, 2)`, not the other way round. Its time
  limit is a SIGALRM, which only a main thread can have. In any other thread
  there is NO limit: to grade in parallel use a pool of processes, whose workers
  have a main thread each.

  Args:
    gold: LaTeX without dollar signs, or a plain expression.
    completion: what the model wrote; a `\boxed{}` is preferred.
    timeout_seconds: limit of each parse and each comparison.
  """
  try:
    import math_verify
    from math_verify import errors
  except ImportError as error:
    raise ImportError(
      "math-verify is needed: pip install 'ttc-jax[eval]'"
    ) from error
  is_main = threading.current_thread() is threading.main_thread()
  limit = timeout_seconds if is_main else None

  def parse(text):
    return math_verify.parse(text, parsing_timeout=limit, raise_on_error=True)

  # Its TimeoutException is a BaseException: `except Exception` would miss it.
  broken = (Exception, errors.TimeoutException)
  try:
    gold_forms = parse(f'\\boxed{{{gold}}}')
    forms = parse(completion)
  except broken:
    return text_task.Grade(0.0, None, text_task.GRADER_ERROR)
  if not gold_forms:
    return text_task.Grade(0.0, None, text_task.GRADER_ERROR)
  if not forms:
    return text_task.Grade(0.0, None, 'no_answer')
  detail = 'math_verify'
  for gold_form in gold_forms:
    for form in forms:
      try:
        is_equal = math_verify.verify(
          gold_form, form, timeout_seconds=limit, raise_on_error=True
        )
      except broken:
        detail = text_task.GRADER_ERROR
        continue
      if is_equal:
        return text_task.Grade(1.0, str(forms[-1]), 'math_verify')
  return text_task.Grade(0.0, str(forms[-1]), detail)


def last_boxed(text: str) -> str | None:
  r"""Returns what is inside the last `\boxed{}` or `\fbox{}`, None if none.

  Braces are balanced; `\boxed 7`, as some solutions write, gives 7. A box that
  is not closed is passed over.
  """
  for match in reversed(list(re.finditer(r'\\(?:boxed|fbox)\s*', text))):
    rest = text[match.end() :]
    if not rest.startswith('{'):
      bare = re.match(r'\w+', rest)
      if bare:
        return bare.group()
      continue
    depth = 0
    for position, character in enumerate(rest):
      depth += (character == '{') - (character == '}')
      if depth == 0:
        return rest[1:position]
  return None


def _value(number: str) -> fractions.Fraction | None:
  """Reads a number; None if it is none."""
  try:
    return fractions.Fraction(re.sub(r'[,$\s+]', '', number))
  except ValueError:
    return None
