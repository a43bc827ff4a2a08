r"""GSM8K: grade-school word problems (Cobbe et al., arXiv 2110.14168).

The few-shot prompt is the chain of thought of Wei et al., "Chain-of-Thought
Prompting Elicits Reasoning in Large Language Models", arXiv 2201.11903, Table
20: `Q: ...\nA: ... The answer is N.`. Zero shots give a user's turn that asks
for a line `#### N`, the notation of the data set. Graded as numbers.
"""

from collections.abc import Mapping
from typing import Any

from ttc.tasks import data_files, graders, numbers, text_task

_STOP = ('\nQ:',)
_INSTRUCTION = (
  'Solve the problem step by step. Then write the final answer, only the '
  'number, on a line of its own after "#### ".'
)
_SHOTS = (
  (
    'There are 15 trees in the grove. Grove workers will plant trees in '
    'the grove today. After they are done, there will be 21 trees. How '
    'many trees did the grove workers plant today?',
    'There are 15 trees originally. Then there were 21 trees after some '
    'more were planted. So there must have been 21 - 15 = 6. The answer '
    'is 6.',
  ),
  (
    'If there are 3 cars in the parking lot and 2 more cars arrive, how '
    'many cars are in the parking lot?',
    'There are originally 3 cars. 2 more cars arrive. 3 + 2 = 5. The '
    'answer is 5.',
  ),
  (
    'Leah had 32 chocolates and her sister had 42. If they ate 35, how '
    'many pieces do they have left in total?',
    'Originally, Leah had 32 chocolates. Her sister had 42. So in total '
    'they had 32 + 42 = 74. After eating 35, they had 74 - 35 = 39. The '
    'answer is 39.',
  ),
  (
    'Jason had 20 lollipops. He gave Denny some lollipops. Now Jason has '
    '12 lollipops. How many lollipops did Jason give to Denny?',
    'Jason started with 20 lollipops. Then he had 12 after giving some to '
    'Denny. So he gave Denny 20 - 12 = 8. The answer is 8.',
  ),
  (
    'Shawn has five toys. For Christmas, he got two toys each from his '
    'mom and dad. How many toys does he have now?',
    'Shawn started with 5 toys. If he got 2 toys each from his mom and '
    'dad, then that is 4 more toys. 5 + 4 = 9. The answer is 9.',
  ),
  (
    'There were nine computers in the server room. Five more computers '
    'were installed each day, from monday to thursday. How many computers '
    'are now in the server room?',
    'There were originally 9 computers. For each of 4 days, 5 more '
    'computers were added. So 5 * 4 = 20 computers were added. 9 + 20 is '
    '29. The answer is 29.',
  ),
  (
    'Michael had 58 golf balls. On tuesday, he lost 23 golf balls. On '
    'wednesday, he lost 2 more. How many golf balls did he have at the '
    'end of wednesday?',
    'Michael started with 58 golf balls. After losing 23 on tuesday, he '
    'had 58 - 23 = 35. After losing 2 more, he had 35 - 2 = 33 golf '
    'balls. The answer is 33.',
  ),
  (
    'Olivia has $23. She bought five bagels for $3 each. How much money '
    'does she have left?',
    'Olivia had 23 dollars. 5 bagels for 3 dollars each will be 5 x 3 = '
    '15 dollars. So she has 23 - 15 dollars left. 23 - 15 is 8. The '
    'answer is 8.',
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
