"""The scorer on counted cases, and the loop on two projects of ours."""

import json

import numpy as np
import pytest

from ttc.benchmarks import web_bench
from ttc.testbeds import small_projects


def table(*failures, tasks=20):
  """Passed attempts, where tasks (from 1) have failed so many times."""
  passed = np.ones((tasks, 2), bool)
  for task, count in failures:
    passed[task - 1, :count] = False
    if count == 2:
      passed[task:] = False
  return passed


def test_how_far_a_project_comes():
  # Tasks 1 to 5 pass; 6 and 9 fail once, 16 twice.
  passed = table((6, 1), (9, 1), (16, 2))
  assert web_bench.pass_at(passed, 1) == 0.25
  assert web_bench.pass_at(passed, 2) == 0.75
  assert web_bench.error_at_1(passed) == 3 / 20
  assert (
    web_bench.pass_at(table(), 1) == 1 and web_bench.error_at_1(table()) == 0
  )
  assert web_bench.pass_at(table((1, 2)), 2) == 0
  with pytest.raises(ValueError, match='num_attempts=3'):
    web_bench.pass_at(passed, 3)


def test_projects_are_done_task_by_task():
  notes, menu = small_projects.PROJECTS
  seen = []

  def watched(attempt):
    seen.append(attempt)
    return small_projects.agent({'notes-2': 1, 'notes-4': 2})(attempt)

  run = web_bench.run_project(notes, watched)
  assert run.passed.tolist() == table((2, 1), (4, 2), tasks=5).tolist()
  assert [(x.task.id, x.number) for x in seen] == [
    ('notes-1', 0), ('notes-2', 0), ('notes-2', 1), ('notes-3', 0),
    ('notes-4', 0), ('notes-4', 1),
  ]  # fmt: skip
  assert 'test_it' in seen[2].error and not seen[3].error
  assert 'failed' in web_bench.prompt(seen[2])
  # The second attempt began where the first did, and the last left nothing.
  assert seen[1].files == seen[2].files
  assert 'def find' in run.files['notes.py']
  assert 'def count' not in run.files['notes.py']
  whole = web_bench.run_project(menu, small_projects.agent({}))
  figures = web_bench.summarize([run, whole])
  assert figures == {
    'pass@1': (1 / 5 + 1) / 2, 'pass@2': (3 / 5 + 1) / 2, 'error@1': 1 / 5
  }  # fmt: skip
  with pytest.raises(ValueError, match='at least one project'):
    web_bench.summarize([])


def test_edits_that_are_no_program_are_errors():
  notes = small_projects.PROJECTS[0]
  (broken,) = {web_bench.python_tests({'a.py': 'def'}, notes.tasks[0])}
  assert broken.startswith('a.py: SyntaxError')
  assert 'no files of Python' in web_bench.python_tests({}, notes.tasks[0])
  deletes = web_bench.run_project(notes, lambda attempt: {'notes.py': None})
  assert not deletes.passed.any() and deletes.files == notes.files
  said = (
    'Here:\n\n**src/a.py**:\n```python\nx = 1\n```\n\nb.css:\n```\n.x {}\n```'
  )
  assert web_bench.read_edits(said) == {
    'src/a.py': 'x = 1\n',
    'b.css': '.x {}\n',
  }


def test_a_project_is_read_from_its_folder(tmp_path):
  notes = small_projects.PROJECTS[0]
  (tmp_path / 'tests').mkdir()
  (tmp_path / 'notes.py').write_text(notes.files['notes.py'])
  (tmp_path / 'tests' / 'one.py').write_text(notes.tasks[0].tests)
  record = {'id': 't', 'description': 'd', 'test_file': 'tests/one.py'}
  path = tmp_path / 'tasks.jsonl'
  path.write_text(json.dumps(record) + '\n')
  project = web_bench.load_project(tmp_path)
  assert project.files == notes.files
  assert project.tasks[0].tests == notes.tasks[0].tests
  for lines, said in (
    ([record, record], "2.*key 't'"),
    ([record | {'test_file': 'x'}], "1.*'test_file' is 'x'"),
    ([{'id': 't'}], "1.*'description' is missing"),
  ):
    path.write_text(''.join(json.dumps(x) + '\n' for x in lines))
    with pytest.raises(ValueError, match=f'tasks.jsonl.*{said}'):
      web_bench.load_project(tmp_path)
