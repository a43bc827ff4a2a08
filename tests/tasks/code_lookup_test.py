import pytest

from ttc import tasks


def test_the_asked_code_is_in_the_prompt_once():
  task = tasks.load('code_lookup', num_items=6)
  assert len({item.id for item in task.items}) == 6
  for item in task.items:
    prompt = task.prompt(item)
    assert prompt.count(f'{item.question} {item.answer}.\n') == 1
    assert prompt.endswith(item.question)
    assert len(item.meta['lines']) == 100
    line = item.meta['lines'][int(item.meta['depth'] * 100 + 0.5)]
    assert line == f'{item.question} {item.answer}.'


def test_grades_the_code_before_the_stop():
  task = tasks.load('code_lookup', num_items=1)
  item = task.items[0]
  assert task.grade(item, f' {item.answer}.\nThe').score == 1
  assert task.grade(item, f' {item.answer}7.').score == 0
  assert task.grade(item, ' ').score == 0


def test_more_items_extend_fewer_and_lines_are_checked():
  few, many = (tasks.code_lookup(num_items=n, num_lines=9) for n in (2, 5))
  assert many.items[:2] == few.items
  with pytest.raises(ValueError, match='num_lines=0'):
    tasks.code_lookup(num_lines=0)
