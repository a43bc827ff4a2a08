r"""MATH and MATH-500: competition problems with LaTeX answers.

Hendrycks et al., "Measuring Mathematical Problem Solving With the MATH
Dataset", arXiv 2103.03874; the 500 are the test problems of Lightman et al.,
"Let's Verify Step by Step", arXiv 2305.20050. The prompt is a user's turn that
asks for a `\boxed{}`; graded by `graders.math`.

The gold answer is the last box of the SOLUTION (with those that it goes on
from, as in `graders.boxed_answer`). An `answer` field is used only
where the solution has no box: in one widely spread copy it went through a
normaliser that damaged it (`\le(3,\frac{\pi}{2}\right)`).
"""

from collections.abc import Mapping
from typing import Any

from ttc.tasks import data_files, graders, text_task

_INSTRUCTION = (
  'Reason step by step, and put your final answer within \\boxed{}.'
)


def competition_math(
  *, num_items: int | None = None, seed: int = 0, path: str | None = None
) -> text_task.TextTask:
  """Loads the test split of MATH, 5000 problems of seven subjects.

  Args:
    num_items: how many, chosen by the seed; None takes all, in their order.
    seed: which ones.
    path: a JSONL file (.gz too) of records {problem, solution, level, type};
      without it see `data_files.read_math`.
  """
  return _task('math', data_files.read_math(path, _check), num_items, seed)


def math_500(
  *, num_items: int | None = None, seed: int = 0, path: str | None = None
) -> text_task.TextTask:
  """Loads MATH-500; arguments as in `competition_math`."""
  return _task(
    'math_500', data_files.read_math_500(path, _check), num_items, seed
  )


def _task(
  name: str, records: list[dict[str, Any]], num_items: int | None, seed: int
) -> text_task.TextTask:
  items = [
    text_task.Item(
      id=f'{name}/{index}',
      question=record['problem'],
      answer=_gold(record),
      meta={
        # 'Level 5' or 5; 'Level ?' occurs and becomes None.
        'level': _level(record.get('level')),
        'subject': record.get('type') or record.get('subject') or '',
        'solution': record['solution'],
      },
    )
    for index, record in enumerate(records)
  ]
  return text_task.TextTask(
    name=name,
    items=text_task.choose(items, num_items, seed),
    prompt=_prompt,
    stop=(),
    max_new_tokens=2048,
    grade=_grade,
    is_chat=True,
    same=graders.same_math,
  )


def _check(record: Mapping[str, Any]) -> None:
  """Refuses a record without problem or answer, or with other odd fields."""
  for name in ('problem', 'solution'):
    data_files.text_field(record, name)
  for name in ('answer', 'type', 'subject'):
    data_files.text_field(record, name, optional=True)
  level = record.get('level')
  if type(level) not in (int, str, type(None)):
    raise ValueError(f"field 'level' is {level!r}, neither a text nor a number")
  if not _gold(record).strip():
    raise ValueError("the last box of field 'solution' is empty")


def _gold(record: Mapping[str, Any]) -> str:
  boxed = graders.boxed_answer(record['solution'])
  if boxed is None:
    boxed = record.get('answer')
  if boxed is None:
    raise ValueError("field 'solution' has no box, and there is no 'answer'")
  return boxed


def _level(level: Any) -> int | None:
  digits = ''.join(c for c in str(level) if c.isdigit())
  return int(digits) if digits else None


def _prompt(item: text_task.Item) -> str:
  return f'{item.question}\n\n{_INSTRUCTION}'


def _grade(item: text_task.Item, completion: str) -> text_task.Grade:
  return graders.math(item.answer, completion)
