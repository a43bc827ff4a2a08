"""Tasks by name, the small text helpers, and Reasoning Gym."""

import sys

import pytest

from ttc import tasks
from ttc.tasks import text_task


def test_unknown_names_are_answered_with_the_known():
  with pytest.raises(ValueError) as error:
    tasks.load('gsm9k')
  message = str(error.value)
  assert "Did you mean 'gsm8k'?" in message
  assert "'addition_2digit'" in message and 'reasoning_gym/' in message


def test_only_files_take_a_path():
  with pytest.raises(ValueError, match='no path'):
    tasks.load('addition_2digit', path='x.jsonl')


def test_public_names_exist_and_are_sorted():
  assert tasks.__all__ == sorted(tasks.__all__)
  assert all(hasattr(tasks, name) for name in tasks.__all__)


def test_cut_ends_at_the_first_stop():
  assert text_task.cut('a\nb;c', (';', '\n')) == 'a'
  assert text_task.cut('abc', ('\n',)) == 'abc'
  assert text_task.cut('abc', ()) == 'abc'
  assert text_task.cut('\nabc', ('\n',)) == ''


def test_reasoning_gym_is_right_or_wrong():
  pytest.importorskip('reasoning_gym')
  task = tasks.load('reasoning_gym/chain_sum', num_items=5, seed=1)
  assert len(task.items) == 5
  assert (
    task.items
    == tasks.load('reasoning_gym/chain_sum', num_items=5, seed=1).items
  )
  item = task.items[0]
  assert task.is_chat and task.prompt(item).startswith(item.question)
  right = f'2 <answer> 5 </answer> no <answer>{item.answer}</answer>.'
  grade = task.grade(item, right)
  assert grade == text_task.Grade(1.0, item.answer, 'raw=1')
  assert task.grade(item, item.answer).score == 1.0
  # The gold inside a sentence earns partial credit there, none here.
  partly = task.grade(item, f'It is {item.answer}')
  assert partly.score == 0.0 and 0 < float(partly.detail[4:]) < 1
  assert task.grade(item, '').score == 0.0


def test_reasoning_gym_grades_by_rules_not_by_the_gold():
  """Countdown there: any right expression; 0.05 for a wrong one."""
  pytest.importorskip('reasoning_gym')
  task = tasks.reasoning_gym(
    'countdown', num_items=3, config={'min_numbers': 3, 'max_numbers': 3}
  )
  for item in task.items:
    expression = item.meta['metadata']['expression']
    assert task.grade(item, f'({expression})').score == 1.0
    wrong = task.grade(item, f'<answer>{expression} + 1</answer>')
    assert wrong.score == 0.0
    assert wrong.detail == 'raw=0.05'


def test_missing_library_names_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 'reasoning_gym', None)
  with pytest.raises(ImportError, match=r'ttc-jax\[eval\]'):
    tasks.load('reasoning_gym/chain_sum')
  monkeypatch.setitem(sys.modules, 'math_verify', None)
  with pytest.raises(ImportError, match=r'ttc-jax\[eval\]'):
    tasks.graders.math('1', '1')
