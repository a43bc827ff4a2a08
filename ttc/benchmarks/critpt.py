r"""CritPt: unpublished problems of research in physics (2509.26574).

Zhu et al., "Probing the Critical Point of AI Reasoning". A model solves a
challenge, then fills in a template `def answer(...)`; both are asked for at
once here. The answers of the 70 public challenges are with the authors, whose
server grades a batch of all of them: `submission` makes its records, and such
items are not graded. Where there is an `answer_code`, both functions run in
sandboxes and what they return is compared: numbers within a relative tolerance,
expressions of sympy by their values at five points of their symbols, containers
element by element, texts exactly. An answer is consistent if four of five
samples are right (from memory).
"""

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ttc import evaluation
from ttc.benchmarks import plain_answers
from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.tasks import Item
from ttc.tasks.graders import reply

SCHEMA = (
  Field('problem_id'),
  Field('problem_type', allowed=('main', 'sub')),
  Field('problem_description'),
  Field('code_template'),
  Field('answer_code', optional=True, empty=True),
  Field('answer_only_code', optional=True, empty=True),
  Field('testcases', list, optional=True),  # lists of arguments
  Field('metadata', dict, optional=True),
)
UNGRADED = 'the answer is with the authors'
_FENCE = re.compile(r'```(?:python)?\s*\n(.*?)(?:```|\Z)', re.DOTALL)
_SECONDS, _MEMORY = 30.0, 2**30
_PACKAGES = ('sympy', 'mpmath')
_TOLERANCE, _DOMAIN = 1e-6, (0.5, 2.0)


def critpt() -> Benchmark:
  """Makes the benchmark."""
  return Benchmark(
    name='critpt',
    title='Probing the Critical Point (CritPt) of AI Reasoning',
    paper='2509.26574',
    metric='accuracy',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_item),
    prompt=_prompt,
    grade=_grade,
    aggregate=over_runs,
    categories=lambda item: {'problem': item.meta['type']},
    max_new_tokens=8192,
  )


def over_runs(
  items: Sequence[Item], verdicts: Sequence[Sequence[Verdict]]
) -> Mapping[str, float]:
  """Mean accuracy and consistency, of the items that can be graded."""
  graded = [
    [v.score for v in row]
    for item, row in zip(items, verdicts, strict=True)
    if item.answer
  ]
  shares = [sum(row) / len(row) for row in graded]
  num = max(len(graded), 1)
  return {
    'accuracy': sum(shares) / num,
    'consistently solved': sum(share >= 0.8 for share in shares) / num,
    'can be graded here': len(graded) / len(items),
  }


def submission(
  items: Sequence[Item],
  completions: Mapping[str, str],
  model: str,
  timestamp: str,
  generation_config: Mapping[str, Any],
) -> list[dict[str, Any]]:
  """Records for the authors' server, one for each item.

  Args:
    items: all of the challenges; the server refuses fewer.
    completions: by item.
    model: that wrote them.
    timestamp: ISO 8601.
    generation_config: of JSON types.

  Raises:
    ValueError: if an item has no completion.
  """
  if missing := [item.id for item in items if item.id not in completions]:
    raise ValueError(f'{len(missing)} items have no completion: {missing[0]!r}')
  return [
    {
      'problem_id': item.id,
      'generated_code': extract_code(completions[item.id]) or '',
      'model': model,
      'timestamp': timestamp,
      'generation_config': dict(generation_config),
      'messages': [
        {'role': 'user', 'content': _prompt(item)},
        {'role': 'assistant', 'content': completions[item.id]},
      ],
    }
    for item in items
  ]


def extract_code(completion: str) -> str | None:
  """The last block of code that defines `answer`; None if there is none."""
  blocks = _FENCE.findall(reply(completion))
  return next((x for x in reversed(blocks) if 'def answer(' in x), None)


def _to_item(record: Record) -> Item:
  code = record.get('answer_code') or ''
  metadata = record.get('metadata') or {}
  cases = record.get('testcases') or [[]]
  if code and 'def answer(' not in code:
    raise ValueError("field 'answer_code' defines no function 'answer'")
  if not all(isinstance(case, list) for case in cases):
    raise ValueError("field 'testcases' must hold lists of arguments")
  meta = {
    'type': record['problem_type'],
    'template': record['code_template'],
    'cases': cases,
    'tolerance': metadata.get('tolerance', _TOLERANCE),
    'domain': metadata.get('domain', _DOMAIN),
  }
  return Item(record['problem_id'], record['problem_description'], code, meta)


def _prompt(item: Item) -> str:
  return (
    f'{item.question}\n\nSolve the problem step by step. Then write your final '
    'answer into this template, in one block of Python that may import sympy:\n'
    f'```python\n{item.meta["template"]}\n```'
  )


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  del judge
  code = extract_code(completion)
  if not item.answer:
    return Verdict(0.0, code, UNGRADED)
  if code is None:
    return Verdict(0.0, None, 'no function answer')
  helper = inspect.getsource(plain_answers)
  cases = [(case, item.meta['domain']) for case in item.meta['cases']]
  check = evaluation.FunctionCheck(
    source=f'{code}\n\n{helper}\n\ndef said(arguments, domain):\n'
    '  return to_plain(answer(*arguments), domain)\n',
    name='said',
    tests=f'{item.answer}\n\n{helper}\n\ndef check(candidate):\n'
    f'  for case, domain in json.loads({json.dumps(cases)!r}):\n'
    '    wanted = to_plain(answer(*case), domain)\n'
    f'    assert agree(wanted, candidate(case, domain), '
    f'{item.meta["tolerance"]}), f"differs at {{case}}"\n',
  )
  (found,) = evaluation.check_functions(
    [check],
    allow_execution=True,
    seconds=_SECONDS,
    call_seconds=_SECONDS,
    memory=_MEMORY,
    num_workers=1,
    packages=_PACKAGES,
  )
  detail = 'passed' if found.passed else f'{found.status}: {found.detail}'
  return Verdict(float(found.passed), code, detail)
