"""Few-shot families that a model of 135M parameters can half do.

Seven seeded families of questions for raw completion: four solved examples,
then the question. They were chosen because SmolLM2-135M-Instruct gets each
right sometimes and not always, so coverage, votes and verifiers have something
to show; multi-step word problems are out of its reach. Its pass@1 at a
temperature of 0.7, by family: times_table .55, addition_1digit .53,
letter_count .33, addition_2digit .26, largest_of_five .21,
multiplication_2digit .19, addition_subtraction .08.

A large family never repeats an item, a small one only when it is used up; no
item equals one of the solved examples.
"""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from ttc.tasks import graders, text_task

_NUM_SHOTS = 4
_STOP = ('\n',)
_LETTER_WORDS = (
  'apple banana cherry coffee letter little mirror butter carrot puppet '
  'bottle kitten summer winter pepper rabbit button cookie tomato potato '
  'orange window garden school church bubble giggle goggle puzzle middle '
  'yellow balloon address success process message village million mission '
  'blossom tobacco cabbage baggage luggage settler better bitter sister '
  'paper people seven level radar civic onion cocoon lesson dinner hammer'
).split()


class _Question(NamedTuple):
  text: str
  answer: str
  meta: dict[str, Any]


class _Family(NamedTuple):
  draw: Callable[[random.Random], _Question]
  size: int  # the number of different questions


def addition_1digit(
  *, num_items: int = 20, seed: int = 0
) -> text_task.TextTask:
  """Adds two numbers from 1 to 9; 81 questions."""
  return _few_shot('addition_1digit', _sum(1, 9), num_items, seed)


def addition_2digit(
  *, num_items: int = 80, seed: int = 0
) -> text_task.TextTask:
  """Adds two numbers from 10 to 99; 8100 questions."""
  return _few_shot('addition_2digit', _sum(10, 99), num_items, seed)


def times_table(*, num_items: int = 20, seed: int = 0) -> text_task.TextTask:
  """Multiplies two numbers from 3 to 12; 100 questions."""
  family = _product((3, 12), (3, 12))
  return _few_shot('times_table', family, num_items, seed)


def multiplication_2digit(
  *, num_items: int = 80, seed: int = 0
) -> text_task.TextTask:
  """Multiplies a number from 10 to 99 by one from 2 to 9; 720 questions."""
  family = _product((10, 99), (2, 9))
  return _few_shot('multiplication_2digit', family, num_items, seed)


def addition_subtraction(
  *, num_items: int = 80, seed: int = 0
) -> text_task.TextTask:
  """Asks for a + b - c of numbers from 1 to 20, never below zero."""

  def draw(source):
    a, b = source.randint(1, 20), source.randint(1, 20)
    c = source.randint(1, min(20, a + b))
    return _Question(f'What is {a} + {b} - {c}?', str(a + b - c), {})

  family = _Family(
    draw,
    sum(min(20, a + b) for a in range(1, 21) for b in range(1, 21)),
  )
  return _few_shot('addition_subtraction', family, num_items, seed)


def largest_of_five(
  *, num_items: int = 80, seed: int = 0
) -> text_task.TextTask:
  """Asks for the largest of five different numbers from 10 to 99."""

  def draw(source):
    numbers = source.sample(range(10, 100), 5)
    listed = ', '.join(map(str, numbers))
    return _Question(
      f'Which is the largest of {listed}?',
      str(max(numbers)),
      {'numbers': numbers},
    )

  family = _Family(draw, 90 * 89 * 88 * 87 * 86)
  return _few_shot('largest_of_five', family, num_items, seed)


def letter_count(*, num_items: int = 80, seed: int = 0) -> text_task.TextTask:
  """Asks how often a letter occurs in a word, 1, 2 or 3 equally often.

  Until a count is used up. Unbalanced, the answer 1 is right in two of three.
  """
  questions = [
    (word, letter) for word in _LETTER_WORDS for letter in sorted(set(word))
  ]
  by_count = [
    [(word, letter) for word, letter in questions if word.count(letter) == n]
    for n in (1, 2, 3)
  ]

  def draw(source):
    word, letter = source.choice(source.choice(by_count))
    return _Question(
      f'How many times does the letter {letter} occur in the word {word}?',
      str(word.count(letter)),
      {'word': word, 'letter': letter},
    )

  family = _Family(draw, sum(map(len, by_count)))
  return _few_shot('letter_count', family, num_items, seed)


def is_plausible(item: text_task.Item, completion: str) -> bool:
  """Returns whether an answer to `largest_of_five` is one of the five numbers.

  An honest partial verifier: it reads the question, not the gold answer.
  """
  if 'numbers' not in item.meta:
    raise ValueError(f'{item.id} is not an item of largest_of_five.')
  answer = text_task.cut(completion, _STOP).strip()
  return answer in [str(number) for number in item.meta['numbers']]


def grade(item: text_task.Item, completion: str) -> text_task.Grade:
  """Compares the first line with the gold answer, character by character."""
  return graders.exact(item.answer, text_task.cut(completion, _STOP))


def _sum(low: int, high: int) -> _Family:
  def draw(source):
    a, b = source.randint(low, high), source.randint(low, high)
    return _Question(f'What is {a} + {b}?', str(a + b), {})

  return _Family(draw, (high - low + 1) ** 2)


def _product(first: tuple[int, int], second: tuple[int, int]) -> _Family:
  def draw(source):
    a, b = source.randint(*first), source.randint(*second)
    return _Question(f'What is {a} * {b}?', str(a * b), {})

  return _Family(draw, (first[1] - first[0] + 1) * (second[1] - second[0] + 1))


def _few_shot(
  name: str, family: _Family, num_items: int, seed: int
) -> text_task.TextTask:
  """Draws the solved examples, then the items; more items extend fewer."""
  source = random.Random(f'{name}/{seed}')
  shots: dict[str, _Question] = {}
  while len(shots) < _NUM_SHOTS:
    question = family.draw(source)
    shots.setdefault(question.text, question)
  items, seen = [], set(shots)
  while len(items) < num_items:
    question = family.draw(source)
    if question.text in seen:
      continue
    seen.add(question.text)
    items.append(text_task.Item(f'{name}/{seed}/{len(items)}', *question))
    if len(seen) == family.size:
      seen = set(shots)  # all are used up: begin again

  solved = ''.join(
    f'Question: {q.text}\nAnswer: {q.answer}\n\n' for q in shots.values()
  )

  def prompt(item: text_task.Item) -> str:
    return f'{solved}Question: {item.question}\nAnswer:'

  return text_task.TextTask(name, items, prompt, _STOP, 12, grade, front=solved)
