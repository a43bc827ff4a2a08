r"""AMO-Bench: problems of olympiads whose answers can be checked (2510.26768).

50 problems whose answer is a number, a set, an expression in variables, or a
description; 39 are graded by a parser, descriptions by the majority of five
judgements. The answer is what follows the last "### The final answer is:"; it
is also tried up to a rule or `\medskip`, and right if either is. Numbers and
sets are compared by math-verify both ways, rounded to 4 decimals, also behind
an equals sign; expressions at many values of their variables. (The released
scorer has lists of values for two questions, n = 1..20 and 17 triples of
consecutive numbers; the rule here gives both.) Best published: 65.1.
"""

import re

from ttc.benchmarks import judges
from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.tasks import Item
from ttc.tasks.graders import last_boxed, math_verify_library, reply

SCHEMA = (
  Field('question_id', object),
  Field('prompt'),
  Field('answer'),
  Field('answer_type', allowed=('number', 'set', 'variable', 'description')),
)
PREFIX = '### The final answer is:'
_PREFIX = re.compile(r'#*\s*the final answer is\s*:?', re.IGNORECASE)
_CUT = re.compile(r'\\medskip|\n---')
# Minus and dashes; full-width marks; quotation marks; a wide blank.
_MARKS = str.maketrans(
  '\u2212\u2013\u2014\uff0c\uff1a\uff1b\uff08\uff09'
  '\u201c\u201d\u2018\u2019\u3000',
  '---,:;()""\'\' ',
)
_VOTES = 5
_VALUES = range(1, 21)
_SECONDS = 5  # for each parse and comparison


def amo_bench() -> Benchmark:
  """Makes the benchmark."""
  return Benchmark(
    name='amo_bench',
    title='AMO-Bench: LLMs Still Struggle in High School Math Competitions',
    paper='2510.26768',
    metric='accuracy',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_item),
    prompt=_prompt,
    grade=_grade,
    categories=lambda item: {'answer': item.meta['answer_type']},
    max_new_tokens=8192,
  )


def final_answer(completion: str) -> str | None:
  """What follows the last prefix, or else the last box; None if nothing."""
  said = reply(completion)
  found = list(_PREFIX.finditer(said))
  if found:
    return said[found[-1].end() :].strip() or None
  return last_boxed(said)


def normalize(text: str, answer_type: str) -> str:
  """Without what changes only how an answer looks."""
  text = re.sub(r'\\(?:left|right|[bB]igg?[lrm]?)(?![a-zA-Z])', '', text)
  text = text.translate(_MARKS).replace(' }', '}').replace('.}', '}')
  text = text.replace('\\,', '').replace('\\;', '').replace('{,}', ',')
  if answer_type in ('number', 'variable'):
    text = text.replace(',', '')
    for opening, closing in (('\\{', '\\}'), ('\\[', '\\]')):
      text = text.replace(opening, '(').replace(closing, ')')
  return text.strip().rstrip('.')


def _to_item(record: Record) -> Item:
  kind, answer = record['answer_type'], record['answer']
  if kind != 'description' and not _forms(normalize(_unboxed(answer), kind)):
    raise ValueError(
      f"field 'answer' is {answer!r}; expected a {kind} that math-verify reads"
    )
  return Item(
    str(record['question_id']), record['prompt'], answer, {'answer_type': kind}
  )


def _prompt(item: Item) -> str:
  return (
    f'{item.question}\n\nEnd with a line that begins with "{PREFIX}" and gives '
    'the answer within \\boxed{}; decimals to at least 4 places.'
  )


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  said = final_answer(completion)
  if said is None:
    return Verdict(0.0, None, 'no_answer')
  kind = item.meta['answer_type']
  if kind == 'description':
    prompt = (
      f'Problem: {item.question}\nReference answer: {item.answer}\nAnswer: '
      f'{said}\n\nIs the answer equivalent to the reference? Say yes or no.'
    )
    is_right = judges.majority(judge, prompt, _VOTES, 'yes')
    return Verdict(float(is_right), said, f'majority of {_VOTES}')
  gold = normalize(_unboxed(item.answer), kind)
  equal = _equal_expressions if kind == 'variable' else _equal_values
  readings = dict.fromkeys([said, _CUT.split(said)[0]])
  is_right = any(
    equal(gold, normalize(_unboxed(text), kind)) for text in readings
  )
  return Verdict(float(is_right), said, kind)


def _unboxed(text: str) -> str:
  r"""Inside the last `\boxed{}`, or all without dollar signs."""
  boxed = last_boxed(text)
  return text.strip().strip('$').strip() if boxed is None else boxed


def _forms(text: str) -> list:
  library, broken = math_verify_library()
  try:
    return library.parse(f'\\boxed{{{text}}}', parsing_timeout=_SECONDS)
  except broken:
    return []


def _equal_values(gold: str, said: str) -> bool:
  """Numbers or sets, either way round, also behind an equals sign."""
  library, broken = math_verify_library()
  wanted = _forms(gold)
  for text in dict.fromkeys([said, said.rpartition('=')[2]]):
    found = _forms(text)
    for pair in ((wanted, found), (found, wanted)):
      try:
        if all(pair) and library.verify(
          *pair, float_rounding=4, timeout_seconds=_SECONDS
        ):
          return True
      except broken:
        continue
  return False


def _equal_expressions(gold: str, said: str) -> bool:
  """Right sides agree to 8 decimals wherever they are tried."""
  sides = [_forms(text.rpartition('=')[2]) for text in (gold, said)]
  if not all(sides):
    return False
  wanted, found = (forms[0] for forms in sides)
  symbols = sorted(getattr(wanted, 'free_symbols', ()), key=str)
  if not symbols or {*map(str, symbols)} != {
    *map(str, getattr(found, 'free_symbols', ()))
  }:
    return _equal_values(gold, said)
  for first in _VALUES[: 20 if len(symbols) == 1 else 17]:
    values = {str(s): first + i for i, s in enumerate(symbols)}
    one, other = (_number(side, values) for side in (wanted, found))
    if one is None or other is None or abs(one - other) > 0.5e-8:
      return False
  return True


def _number(expression, values) -> complex | None:
  """The value of an expression, None where it has none."""
  try:
    by_symbol = {s: values[str(s)] for s in expression.free_symbols}
    return complex(expression.subs(by_symbol).evalf(30))
  except (TypeError, ValueError, ZeroDivisionError, AttributeError):
    return None
