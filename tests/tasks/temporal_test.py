"""Questions of time, answered once more from their text."""

import datetime
import re

import pytest

from ttc import tasks
from ttc.tasks import temporal


def solve(family, text):
  """Another way to the answer than the task's."""
  numbers = [int(x) for x in re.findall(r'\d+', text)]
  times = [
    datetime.timedelta(hours=int(h), minutes=int(m))
    for h, m in re.findall(r'(\d+):(\d+)', text)
  ]
  show = lambda t: (
    f'{int(t.total_seconds()) // 3600 % 24}:'
    + (f'{int(t.total_seconds()) // 60 % 60:02}')
  )
  if family == 'weekday':
    day = re.search(r'Today is (\w+)', text)[1]
    return temporal.DAYS[(temporal.DAYS.index(day) + numbers[0]) % 7]
  if family == 'date':
    number, day = numbers
    month = re.search(r'after (\w+)', text)[1]
    start = datetime.datetime.strptime(f'2023 {month} {day}', '%Y %B %d')
    end = start + datetime.timedelta(days=number)
    return f'{end:%B} {end.day}'
  if family == 'clock':
    hour = datetime.datetime.strptime(
      re.search(r'(\d+ [ap]m)', text)[1].upper(), '%I %p'
    ).hour
    return str((hour + numbers[-1]) % 24)
  if family == 'duration':
    return f'{int((times[1] - times[0]).total_seconds()) // 60} minutes'
  if family == 'zone':
    return show(times[0] + datetime.timedelta(hours=numbers[2]))
  if family == 'frequency':
    which = ['first', 'second', 'third', 'fourth', 'fifth'].index(
      re.search(r'does the (\w+)', text)[1]
    )
    return show(times[0] + which * datetime.timedelta(minutes=numbers[2]))
  if family == 'month_length':
    month, year = re.search(r'has (\w+) (\d+)', text).groups()
    start = datetime.datetime.strptime(f'{year} {month}', '%Y %B')
    after = (start + datetime.timedelta(days=32)).replace(day=1)
    return f'{(after - start).days} days'
  pairs = re.findall(r'The (\w+) was before the (\w+)', text)
  firsts, seconds = map(set, zip(*pairs, strict=True))
  ends = {'first': firsts - seconds, 'last': seconds - firsts}
  return ends[re.search(r'Which was (\w+)', text)[1]].pop()


@pytest.mark.parametrize('family', temporal.FAMILIES)
def test_answers_are_those_of_datetime(family):
  task = temporal.temporal(num_items=60, seed=1, families=[family])
  letters = set()
  for item in task.items:
    options = item.meta['options']
    assert len(set(options)) == 4
    assert options['abcd'.index(item.answer)] == solve(
      family, item.meta['text']
    )
    letters.add(item.answer)
    assert item.meta['working'] and item.meta['family'] == family
    assert task.grade(item, item.meta['response']).score == 1
    for sign, want in re.findall(r'(\d+ [+x-] \d+) = (\d+)', str(item.meta)):
      assert eval(sign.replace('x', '*')) == int(want)
  assert letters == set('abcd')


def test_items_extend_and_families_take_turns():
  few, many = (tasks.load('temporal', num_items=n, seed=4) for n in (9, 20))
  assert many.items[:9] == few.items
  assert [x.meta['family'] for x in few.items[:8]] == list(temporal.FAMILIES)
  assert tasks.load('temporal', num_items=9, seed=5).items != few.items
  assert set(temporal.MATH_TIME) | set(temporal.PURE_TIME) == set(
    temporal.FAMILIES
  )


def test_grades_by_the_last_letter():
  task = tasks.load('temporal', num_items=1)
  item = task.items[0]
  wrong = next(x for x in 'abcd' if x != item.answer)
  said = f'The answer is ({wrong}). No: the answer is ({item.answer}).'
  assert task.grade(item, said) == (1, item.answer, 'letter')
  assert task.grade(item, f'The answer is ({wrong}).').score == 0
  for nothing in ('', 'The answer is a.', 'The answer is (e).'):
    assert task.grade(item, nothing) == (0, None, 'no letter')
  assert item.question in task.prompt(item)


def test_refuses_families_that_there_are_not():
  with pytest.raises(ValueError, match="families=\\['eons'\\]"):
    temporal.temporal(families=['eons'])
