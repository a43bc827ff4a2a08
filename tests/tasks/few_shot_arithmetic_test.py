"""The few-shot families."""

import collections
import math
import re

import pytest

from ttc import tasks
from ttc.tasks import arithmetic

_FAMILIES = {
  'addition_1digit': 81,
  'addition_2digit': 8100,
  'addition_subtraction': None,
  'largest_of_five': None,
  'letter_count': None,
  'times_table': 100,
  'multiplication_2digit': 720,
}


def _solve(question):
  """Answers from the text alone."""
  numbers = [int(n) for n in re.findall(r'\d+', question)]
  if 'largest' in question:
    return max(numbers)
  if 'letter' in question:
    letter, word = re.search(
      r'letter (\w) occur in the word (\w+)', question
    ).groups()
    return word.count(letter)
  return eval(question.removeprefix('What is ').removesuffix('?'))


@pytest.fixture(params=_FAMILIES, name='task')
def _task_fixture(request):
  return tasks.load(request.param, num_items=50, seed=3)


def test_answers_are_right(task):
  for item in task.items:
    assert item.answer == str(_solve(item.question))
    assert int(item.answer) >= 0


def test_prompt_is_four_solved_examples_and_the_question(task):
  for item in task.items:
    *solved, last = task.prompt(item).split('\n\n')
    assert task.prompt(item).startswith(task.front + 'Question: ')
    assert last == f'Question: {item.question}\nAnswer:'
    assert len(set(solved)) == 4
    for example in solved:
      question, answer = re.fullmatch(
        r'Question: (.*)\nAnswer: (.*)', example
      ).groups()
      assert answer == str(_solve(question))
      assert question != item.question


def test_items_are_distinct_and_named(task):
  assert len({item.question for item in task.items}) == 50
  assert len({item.id for item in task.items}) == 50


def test_seed_determines_and_more_items_extend_fewer(task):
  again = tasks.load(task.name, num_items=20, seed=3)
  assert again.items == task.items[:20]
  other = tasks.load(task.name, num_items=50, seed=4)
  assert other.items != task.items
  assert other.prompt(task.items[0]) != task.prompt(task.items[0])


@pytest.mark.parametrize('name', ['addition_1digit', 'times_table'])
def test_small_families_are_used_up_before_they_repeat(name):
  rest = _FAMILIES[name] - 4
  items = tasks.load(name, num_items=2 * rest, seed=0).items
  counts = collections.Counter(item.question for item in items)
  assert len(counts) == rest and set(counts.values()) == {2}
  assert len({item.id for item in items}) == 2 * rest


@pytest.mark.parametrize('name', _FAMILIES)
def test_declared_size_is_the_number_of_questions(name, monkeypatch):
  """If it were too small items would repeat; too large, never end."""
  few_shot, sizes = arithmetic._few_shot, []

  def spy(name, family, *arguments):
    sizes.append(family.size)
    return few_shot(name, family, *arguments)

  monkeypatch.setattr(arithmetic, '_few_shot', spy)
  tasks.load(name, num_items=1)
  numbers = range(1, 21)
  expected = (
    _FAMILIES[name]
    or {
      'addition_subtraction': sum(
        c <= a + b for a in numbers for b in numbers for c in numbers
      ),
      'largest_of_five': math.perm(90, 5),
      'letter_count': sum(len(set(w)) for w in set(arithmetic._LETTER_WORDS)),
    }[name]
  )
  assert sizes == [expected]


def test_letter_counts_are_balanced():
  items = tasks.load('letter_count', num_items=24, seed=0).items
  counts = collections.Counter(item.answer for item in items)
  assert set(counts) == {'1', '2', '3'}
  # Unbalanced, 24 answers would hold 17 ones.
  assert counts['1'] < 14


def test_grades_compare_the_first_line(task):
  item = task.items[0]
  assert task.grade(item, f' {item.answer}\n\nQuestion: 1').score == 1.0
  assert task.grade(item, f' {item.answer}').extracted == item.answer
  assert task.grade(item, f' {int(item.answer) + 1}').score == 0.0
  assert task.grade(item, f' {item.answer} or so').score == 0.0
  assert task.grade(item, f'\n{item.answer}').score == 0.0
  assert task.grade(item, '').extracted is None


def test_plausible_answers_are_those_listed():
  items = tasks.load('largest_of_five', num_items=20).items
  for item in items:
    numbers = re.findall(r'\d+', item.question)
    assert all(arithmetic.is_plausible(item, f' {n}\n') for n in numbers)
    others = set(map(str, range(100))) - set(numbers)
    assert not any(arithmetic.is_plausible(item, n) for n in others)
    assert not arithmetic.is_plausible(item, '')
  with pytest.raises(ValueError, match='largest_of_five'):
    arithmetic.is_plausible(tasks.load('letter_count').items[0], '3')
