"""Long-context retrieval: one code among many, asked for at the end.

  The code of tiger lemon is 4821.
  ...
  The code of river candle is

Every name is a pair of common words, so names share words and none can be found
by one word alone. With 100 lines a prompt has about 1300 tokens. Written for
decoding that reads only part of its context: what is asked for lies anywhere.
"""

import random

from ttc.tasks import graders, text_task

_STOP = ('.', '\n')
_WORDS = (
  'anchor apple autumn basket bottle bridge camera candle castle cloud '
  'copper desert dragon eagle engine falcon feather forest garden glacier '
  'guitar hammer harbor island jacket kettle ladder lantern lemon magnet '
  'marble mirror needle orange oyster pencil pepper piano quartz ribbon '
  'river rocket saddle sailor silver stone thunder tiger timber tunnel '
  'umbrella valley velvet violet wagon walnut wheel window yellow zebra'
).split()


def code_lookup(
  *, num_items: int = 48, seed: int = 0, num_lines: int = 100
) -> text_task.TextTask:
  """Asks for the code of one of `num_lines` names; codes have four digits.

  Args:
    num_items: number of prompts; each has its own lines.
    seed: which.
    num_lines: of a prompt, 1 to 1000; about 13 tokens each.

  Returns:
    The task; a completion is right if it begins with the code.
  """
  if not 1 <= num_lines <= 1000:
    raise ValueError(f'{num_lines=} is not in [1, 1000].')
  source = random.Random(f'code_lookup/{num_lines}/{seed}')
  name = 'code_lookup' if num_lines == 100 else f'code_lookup_{num_lines}'
  items = []
  while len(items) < num_items:
    codes: dict[str, int] = {}
    while len(codes) < num_lines:
      codes[' '.join(source.sample(_WORDS, 2))] = source.randint(1000, 9999)
    asked = source.choice(list(codes))
    lines = [f'The code of {key} is {value}.' for key, value in codes.items()]
    items.append(
      text_task.Item(
        f'{name}/{seed}/{len(items)}',
        f'The code of {asked} is',
        str(codes[asked]),
        {'lines': lines, 'depth': list(codes).index(asked) / num_lines},
      )
    )

  def prompt(item: text_task.Item) -> str:
    return '\n'.join(item.meta['lines']) + '\n\n' + item.question

  return text_task.TextTask(name, items, prompt, _STOP, 8, grade)


def grade(item: text_task.Item, completion: str) -> text_task.Grade:
  """Compares what comes before the full stop with the code."""
  return graders.exact(item.answer, text_task.cut(completion, _STOP))
