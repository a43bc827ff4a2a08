r"""GSM8K: grade-school word problems (Cobbe et al., arXiv 2110.14168).

The few-shot prompt has the form of Wei et al., "Chain-of-Thought Prompting
Elicits Reasoning in Large Language Models", arXiv 2201.11903: `Q: ...\nA: ...
The answer is N.`. Its solved examples were written for this library, so figures
are not comparable with those of the paper's own examples. Zero shots give a
user's turn that asks for a line `#### N`, the notation of the data set. Graded
as numbers.
"""

from collections.abc import Mapping
from typing import Any

from ttc.tasks import data_files, graders, numbers, text_task

_STOP = ('\nQ:',)
_INSTRUCTION = (
  'Solve the problem step by step. Then write the final answer, only the '
  'number, on a line of its own after "#### ".'
)
# Written for this library; the format is that of arXiv 2201.11903.
_SHOTS = (
  (
    'A ferry leaves the harbour with 48 people. At the island 19 of them get '
    'off and 7 others get on. How many people are on the ferry now?',
    'The ferry starts with 48 people. After 19 get off there are 48 - 19 = '
    '29. Then 7 get on, so there are 29 + 7 = 36. The answer is 36.',
  ),
  (
    'Nadia bakes 6 trays of rolls with 8 rolls on each. She keeps 5 rolls for '
    'herself. How many rolls can she sell?',
    'On 6 trays of 8 there are 6 * 8 = 48 rolls. Without the 5 that she keeps '
    'there are 48 - 5 = 43. The answer is 43.',
  ),
  (
    'A rope of 90 metres is cut into pieces of 6 metres. Four of the pieces '
    'are used. How many pieces are left?',
    'The rope gives 90 / 6 = 15 pieces. With 4 used there are 15 - 4 = 11. '
    'The answer is 11.',
  ),
  (
    'Tickets for the museum cost $9 for an adult and $4 for a child. What do '
    'two adults and five children pay together?',
    'Two adults pay 2 * 9 = 18 dollars. Five children pay 5 * 4 = 20 dollars. '
    'Together that is 18 + 20 = 38 dollars. The answer is 38.',
  ),
  (
    'Ivo reads 12 pages every evening. His book has 200 pages and he has read '
    'for 9 evenings. How many pages does he still have to read?',
    'In 9 evenings he has read 9 * 12 = 108 pages. Of 200 pages 200 - 108 = '
    '92 are left. The answer is 92.',
  ),
  (
    'A farm has three times as many hens as ducks. There are 14 ducks. How '
    'many birds are there in all?',
    'There are 3 * 14 = 42 hens. With the 14 ducks there are 42 + 14 = 56 '
    'birds. The answer is 56.',
  ),
  (
    'Water runs into a tank at 15 litres a minute and out of it at 9 litres a '
    'minute. How many minutes does it take to gain 72 litres?',
    'Each minute the tank gains 15 - 9 = 6 litres. To gain 72 litres it takes '
    '72 / 6 = 12 minutes. The answer is 12.',
  ),
  (
    'Mirela had 64 stamps. She gave half of them to her brother and then '
    'bought 10 more. How many stamps does she have?',
    'She gave away 64 / 2 = 32 stamps and kept 64 - 32 = 32. With 10 more she '
    'has 32 + 10 = 42. The answer is 42.',
  ),
)


def gsm8k(
  *,
  num_items: int | None = None,
  seed: int = 0,
  path: str | None = None,
  num_shots: int = 8,
) -> text_task.TextTask:
  """Loads the test split, 1319 problems.

  Args:
    num_items: how many, chosen by the seed; None takes all, in their order.
    seed: which ones.
    path: a JSONL file (.gz too) of records {question, answer}, the answer
      ending in `#### N`; without it see `data_files.read_gsm8k`.
    num_shots: solved examples in the prompt, 0 to 8.
  """
  if not 0 <= num_shots <= len(_SHOTS):
    raise ValueError(f'{num_shots=} is not in [0, {len(_SHOTS)}].')
  items = [
    text_task.Item(
      id=f'gsm8k/{index}',
      question=record['question'],
      answer=_gold(record['answer']),
      meta={'solution': record['answer']},
    )
    for index, record in enumerate(data_files.read_gsm8k(path, _check))
  ]
  solved = ''.join(f'Q: {q}\nA: {a}\n\n' for q, a in _SHOTS[:num_shots])

  def prompt(item: text_task.Item) -> str:
    if num_shots == 0:
      return f'{item.question}\n\n{_INSTRUCTION}'
    return f'{solved}Q: {item.question}\nA:'

  return text_task.TextTask(
    name='gsm8k',
    items=text_task.choose(items, num_items, seed),
    prompt=prompt,
    stop=_STOP if num_shots else (),
    max_new_tokens=320 if num_shots else 1024,
    grade=_grade_continued if num_shots else _grade,
    is_chat=num_shots == 0,
    same=graders.same_number,
    front=solved,
  )


def _check(record: Mapping[str, Any]) -> None:
  """Refuses a record without question or without a number as its answer."""
  data_files.text_field(record, 'question')
  answer = data_files.text_field(record, 'answer')
  gold = _gold(answer or '')
  if numbers.value(gold) is None:
    raise ValueError(f"field 'answer' ends in '#### {gold}', not in a number")


def _gold(answer: str) -> str:
  """Returns the number after the last `####`, without commas and dollars."""
  _, mark, number = answer.rpartition('####')
  if not mark:
    raise ValueError(f"field 'answer' has no '####': {answer[:60]!r}")
  return number.strip().replace(',', '').replace('$', '')


def _grade(item: text_task.Item, completion: str) -> text_task.Grade:
  return graders.numeric(item.answer, completion)


def _grade_continued(item: text_task.Item, completion: str) -> text_task.Grade:
  return graders.numeric(item.answer, text_task.cut(completion, _STOP))
