"""Text tasks by name, for scripts and configs."""

import difflib
from collections.abc import Callable
from typing import Any

from ttc.tasks import arithmetic, temporal, text_task
from ttc.tasks.code_lookup import code_lookup
from ttc.tasks.competition_math import competition_math, math_500
from ttc.tasks.gsm8k import gsm8k
from ttc.tasks.reasoning_gym import reasoning_gym

_TASKS: dict[str, Callable[..., text_task.TextTask]] = {
  'addition_1digit': arithmetic.addition_1digit,
  'addition_2digit': arithmetic.addition_2digit,
  'addition_subtraction': arithmetic.addition_subtraction,
  'code_lookup': code_lookup,
  'gsm8k': gsm8k,
  'largest_of_five': arithmetic.largest_of_five,
  'letter_count': arithmetic.letter_count,
  'math': competition_math,
  'math_500': math_500,
  'multiplication_2digit': arithmetic.multiplication_2digit,
  'temporal': temporal.temporal,
  'times_table': arithmetic.times_table,
}
_FROM_FILES = ('gsm8k', 'math', 'math_500')
_GYM = 'reasoning_gym/'


def load(
  name: str,
  *,
  num_items: int | None = None,
  seed: int = 0,
  path: str | None = None,
) -> text_task.TextTask:
  """Returns a text task; every other option is an argument of its factory.

  Args:
    name: a key of the table above, or 'reasoning_gym/<data set>'.
    num_items: how many items; None is the factory's default, for a data set
      from a file all of it.
    seed: which items.
    path: a JSONL file; only for data sets from files.

  Raises:
    ValueError: if there is no task of that name, or it takes no path.
    FileNotFoundError: if a data set is not on this machine; says how to get it.
  """
  arguments: dict[str, Any] = {'seed': seed}
  if num_items is not None:
    arguments['num_items'] = num_items
  if path is not None:
    if name not in _FROM_FILES:
      raise ValueError(f'{name!r} takes no path; {_FROM_FILES} do.')
    arguments['path'] = path
  if name.startswith(_GYM):
    return reasoning_gym(name.removeprefix(_GYM), **arguments)
  if name not in _TASKS:
    close = difflib.get_close_matches(name, _TASKS, n=1)
    hint = f' Did you mean {close[0]!r}?' if close else ''
    raise ValueError(
      f'No task {name!r}.{hint} There are {sorted(_TASKS)} and '
      f'{_GYM}<data set>.'
    )
  return _TASKS[name](**arguments)
