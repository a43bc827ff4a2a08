"""Questions of time: dates, clocks, durations, zones, rhythms and order.

Eight seeded families of multiple choice with four options, in the manner of
what Timo (arXiv 2406.14192) is trained on: some are reckoned with times, some
ask for what everybody knows of them. Answers are those of `datetime`. Each item
brings a worked solution, so that models can be taught and judges be checked.
"""

import calendar
import datetime
import itertools
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ttc.tasks import text_task

LETTERS = 'abcd'
DAYS = tuple(calendar.day_name)
MONTHS = tuple(calendar.month_name)[1:]
CITIES = ('Accra', 'Bergen', 'Cusco', 'Dhaka', 'Esbjerg', 'Fukuoka')
EVENTS = (
  'concert',
  'election',
  'flood',
  'harvest',
  'race',
  'strike',
  'wedding',
)
_ORDINALS = ('first', 'second', 'third', 'fourth', 'fifth')


class Question(NamedTuple):
  """What a family draws.

  Attributes:
    text: the question without its options.
    answer: the right option.
    near: wrong options that are likely mistakes; equal ones are dropped.
    working: sentences that lead to the answer.
  """

  text: str
  answer: str
  near: Sequence[str]
  working: Sequence[str]


def weekday(source: random.Random) -> Question:
  """A day of the week, some days on."""
  start, number = source.randrange(7), source.randint(2, 13)
  rest = number % 7
  names = [DAYS[(start + i) % 7] for i in range(rest + 1)]
  others = [DAYS[(start + number + i) % 7] for i in (1, -1, 2, -2)]
  return Question(
    f'Today is {DAYS[start]}. Which day is it {number} days later?',
    names[-1],
    others,
    [f'{number} days end like {rest}.', ' '.join(names) + '.'],
  )


def date(source: random.Random) -> Question:
  """A date, some days on, often in the next month."""
  start = datetime.date(2023, 1, 1) + datetime.timedelta(source.randrange(360))
  number = source.randint(3, 20)
  end = start + datetime.timedelta(number)
  total = start.day + number
  length = calendar.monthrange(start.year, start.month)[1]
  month = MONTHS[start.month - 1]
  working = [
    f'{month} has {length} days.',
    f'{start.day} + {number} = {total}.',
  ]
  if total > length:
    working.append(f'{total} - {length} = {end.day}.')
  near = [end + datetime.timedelta(i) for i in (1, -1, 2, -2)]
  return Question(
    f'Which date is {number} days after {month} {start.day}?',
    _day(end),
    [_day(x) for x in near],
    working,
  )


def clock(source: random.Random) -> Question:
  """An hour of the 12-hour clock, some hours on, on the 24-hour clock."""
  start, number = source.randrange(24), source.randint(1, 9)
  hour, half = (start - 1) % 12 + 1, 'am' if start < 12 else 'pm'
  total = start + number
  end = total % 24
  working = [f'{hour} {half} is {start}.', f'{start} + {number} = {total}.']
  if total >= 24:
    working.append(f'{total} - 24 = {end}.')
  return Question(
    f'It is {hour} {half}. Which hour does a clock of 24 hours show {number} '
    'hours later?',
    str(end),
    [str((end + i) % 24) for i in (12, 1, -1, 2)],
    working,
  )


def duration(source: random.Random) -> Question:
  """Minutes from one time to another."""
  start = _time(source.randrange(1, 20), source.randrange(0, 60, 5))
  number = source.randrange(15, 125, 5)
  end = _later(start, number)
  hours = end.hour - start.hour
  minutes = end.minute - start.minute
  sign = '+' if minutes >= 0 else '-'
  return Question(
    f'A film runs from {_clock(start)} to {_clock(end)}. How many minutes?',
    f'{number} minutes',
    [f'{number + i} minutes' for i in (5, -5, 10, 60)],
    [
      f'{hours} x 60 = {60 * hours}.',
      f'{60 * hours} {sign} {abs(minutes)} = {number}.',
    ],
  )


def zone(source: random.Random) -> Question:
  """The time in another city."""
  here, there = source.sample(CITIES, 2)
  time = _time(source.randrange(24), source.randrange(0, 60, 15))
  number = source.randint(2, 9)
  total, end = time.hour + number, _later(time, 60 * number)
  working = [f'{time.hour} + {number} = {total}.']
  if total >= 24:
    working.append(f'{total} - 24 = {end.hour}.')
  return Question(
    f'It is {_clock(time)} in {here}, and {there} is {number} hours ahead. '
    f'What time is it in {there}?',
    _clock(end),
    [_clock(_later(end, 60 * i)) for i in (1, -1, 2, -2)],
    working,
  )


def frequency(source: random.Random) -> Question:
  """When something that comes at intervals comes again."""
  start = _time(source.randrange(5, 22), source.randrange(0, 60, 10))
  every, which = source.choice((10, 15, 20, 25)), source.randint(2, 5)
  number = every * (which - 1)
  end = _later(start, number)
  times = [_clock(_later(start, every * i)) for i in range(which)]
  return Question(
    f'The first bus comes at {_clock(start)}, then one every {every} minutes. '
    f'When does the {_ORDINALS[which - 1]} come?',
    _clock(end),
    [_clock(_later(end, i)) for i in (every, -every, 5, -5)],
    [' '.join(times) + '.'],
  )


def order(source: random.Random) -> Question:
  """The first or the last of four events."""
  events = source.sample(EVENTS, 4)
  pairs = list(itertools.pairwise(events))
  source.shuffle(pairs)
  told = ' '.join(f'The {a} was before the {b}.' for a, b in pairs)
  which, place = source.choice((('first', 0), ('last', 3)))
  return Question(
    f'{told} Which was {which}?',
    events[place],
    [event for event in events if event != events[place]],
    [' '.join(events) + '.'],
  )


def month_length(source: random.Random) -> Question:
  """Days of a month."""
  year, month = source.randint(2001, 2040), source.randint(1, 12)
  length = calendar.monthrange(year, month)[1]
  kind = 'a leap' if calendar.isleap(year) else 'no leap'
  name = MONTHS[month - 1]
  return Question(
    f'How many days has {name} {year}?',
    f'{length} days',
    [f'{n} days' for n in (28, 29, 30, 31) if n != length],
    [f'{year} is {kind} year.', f'{name} has {length} days.'],
  )


# As the two halves of TRAM's questions: with reckoning, and without.
MATH_TIME: dict[str, Callable[[random.Random], Question]] = {
  'date': date,
  'duration': duration,
  'frequency': frequency,
  'weekday': weekday,
  'zone': zone,
}
PURE_TIME: dict[str, Callable[[random.Random], Question]] = {
  'clock': clock,
  'month_length': month_length,
  'order': order,
}
FAMILIES = MATH_TIME | PURE_TIME


def temporal(
  *,
  num_items: int = 160,
  seed: int = 0,
  families: Sequence[str] = tuple(FAMILIES),
) -> text_task.TextTask:
  """Makes the task; families take turns, and more items extend fewer.

  Args:
    num_items: how many; they may repeat in a small family.
    seed: which.
    families: some of `FAMILIES`.

  Raises:
    ValueError: for a family that there is not, or none.
  """
  if not families or set(families) - set(FAMILIES):
    raise ValueError(f'{families=} must be some of {sorted(FAMILIES)}.')
  source = random.Random(f'temporal/{seed}')
  items = []
  for i in range(num_items):
    family = families[i % len(families)]
    question = FAMILIES[family](source)
    items.append(make_item(source, question, family, f'temporal/{seed}/{i}'))
  return text_task.TextTask(
    'temporal', items, prompt, ('\n\n',), 160, grade, is_chat=True
  )


def make_item(
  source: random.Random, question: Question, family: str, name: str
) -> text_task.Item:
  """A question of multiple choice, its options in an order of their own.

  `meta` has the family, the bare text, the options, the sentences of the worked
  solution, and a whole response that is right.
  """
  wrong = [x for x in dict.fromkeys(question.near) if x != question.answer][:3]
  options = [question.answer, *wrong]
  source.shuffle(options)
  letter = LETTERS[options.index(question.answer)]
  shown = ' '.join(f'({a}) {x}' for a, x in zip(LETTERS, options, strict=True))
  meta = {
    'family': family,
    'text': question.text,
    'options': options,
    'working': list(question.working),
    'response': respond(question.working, letter),
  }
  return text_task.Item(name, f'{question.text}\n{shown}', letter, meta)


def respond(working: Sequence[str], letter: str) -> str:
  """A response: its working, if any, and a last line with the choice."""
  lines = [' '.join(working)] if working else []
  return '\n'.join([*lines, f'The answer is ({letter}).'])


def prompt(item: text_task.Item) -> str:
  """The question, and how to end the answer."""
  return (
    f'{item.question}\nReckon step by step, then write one last line: "The '
    'answer is (x).", with the letter of your choice for x.'
  )


def grade(item: text_task.Item, completion: str) -> text_task.Grade:
  """Compares the letter in the last "The answer is (x)"."""
  _, phrase, rest = completion.lower().rpartition('the answer is (')
  letter = rest[:1] if phrase and rest[1:2] == ')' else ''
  if not letter or letter not in LETTERS:
    return text_task.Grade(0.0, None, 'no letter')
  return text_task.Grade(float(letter == item.answer), letter, 'letter')


def _time(hour: int, minute: int) -> datetime.datetime:
  return datetime.datetime(2023, 1, 1, hour, minute)


def _later(time: datetime.datetime, minutes: int) -> datetime.datetime:
  return time + datetime.timedelta(minutes=minutes)


def _clock(time: datetime.datetime) -> str:
  return f'{time.hour}:{time.minute:02}'


def _day(day: datetime.date) -> str:
  return f'{MONTHS[day.month - 1]} {day.day}'
