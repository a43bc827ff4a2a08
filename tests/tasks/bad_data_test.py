"""Task files that are damaged: one line with file, line and field."""

import gzip
import json

import pytest

from ttc import tasks
from ttc.tasks import humaneval

GSM8K = {'question': 'Two and two?', 'answer': '2 + 2 = 4\n#### 4'}
MATH = {'problem': 'Half?', 'solution': r'It is \boxed{\frac{1}{2}}.'}
HUMANEVAL = {
  'task_id': 'Toy/0',
  'prompt': 'def add(x, y):\n',
  'entry_point': 'add',
  'canonical_solution': '  return x + y\n',
  'test': 'def check(candidate):\n  assert candidate(1, 2) == 3\n',
}
GOOD = {'gsm8k': GSM8K, 'math': MATH, 'humaneval': HUMANEVAL}


def without(record, name):
  return {key: value for key, value in record.items() if key != name}


BAD_RECORDS = [
  ('gsm8k', without(GSM8K, 'question'), "'question' is missing; there are"),
  ('gsm8k', without(GSM8K, 'answer'), "field 'answer' is missing"),
  ('gsm8k', GSM8K | {'question': 7}, "field 'question' is 7, not a text"),
  ('gsm8k', GSM8K | {'question': None}, "'question' is None, not a text"),
  ('gsm8k', GSM8K | {'question': ['x']}, r"'question' is \['x'\], not a text"),
  ('gsm8k', GSM8K | {'question': ' \n'}, 'not a text'),
  ('gsm8k', GSM8K | {'answer': 4}, "field 'answer' is 4, not a text"),
  ('gsm8k', GSM8K | {'answer': {}}, "field 'answer' is {}, not a text"),
  ('gsm8k', GSM8K | {'answer': '4'}, "field 'answer' has no '####': '4'"),
  ('gsm8k', GSM8K | {'answer': '####'}, "ends in '#### ', not in a number"),
  ('gsm8k', GSM8K | {'answer': '#### four'}, "ends in '#### four', not in a"),
  ('gsm8k', GSM8K | {'answer': '#### 3 + 4'}, "in '#### 3 [+] 4', not in a"),
  ('gsm8k', {'doc': []}, r'\[\] is not a JSON object'),
  ('gsm8k', {'doc': 'x'}, "'x' is not a JSON object"),
  ('gsm8k', {'doc': {}}, "field 'question' is missing"),
  ('gsm8k', {}, "field 'question' is missing"),
  ('gsm8k', [], r'\[\] is not a JSON object'),
  ('gsm8k', [GSM8K], 'is not a JSON object'),
  ('gsm8k', 'text', "'text' is not a JSON object"),
  ('gsm8k', 7, '7 is not a JSON object'),
  ('gsm8k', None, 'None is not a JSON object'),
  ('gsm8k', True, 'True is not a JSON object'),
  ('math', without(MATH, 'problem'), "field 'problem' is missing"),
  ('math', without(MATH, 'solution'), "field 'solution' is missing"),
  ('math', MATH | {'problem': 1.5}, "field 'problem' is 1.5, not a text"),
  ('math', MATH | {'solution': None}, "'solution' is None, not a text"),
  ('math', MATH | {'solution': 'none'}, 'has no box, and there is no'),
  ('math', MATH | {'solution': r'\boxed{4'}, 'has no box, and there is no'),
  ('math', MATH | {'solution': r'\boxed{}'}, 'the last box of .* is empty'),
  ('math', MATH | {'answer': 7}, "field 'answer' is 7, not a text"),
  ('math', MATH | {'type': []}, r"field 'type' is \[\], not a text"),
  ('math', MATH | {'subject': 3}, "field 'subject' is 3, not a text"),
  ('math', MATH | {'level': [5]}, r"'level' is \[5\], neither"),
  ('math', MATH | {'level': True}, "'level' is True, neither"),
  ('humaneval', without(HUMANEVAL, 'test'), "field 'test' is missing"),
  ('humaneval', without(HUMANEVAL, 'prompt'), "field 'prompt' is missing"),
  ('humaneval', HUMANEVAL | {'task_id': 0}, "field 'task_id' is 0, not a"),
  ('humaneval', HUMANEVAL | {'entry_point': 'a b'}, "'a b', not a Python name"),
  ('humaneval', HUMANEVAL | {'entry_point': 'f()'}, 'not a Python name'),
  ('humaneval', HUMANEVAL | {'test': 'def check('}, "'test' is no Python"),
  ('humaneval', HUMANEVAL | {'test': 'x = "\0"'}, "'test' is no Python"),
  ('humaneval', HUMANEVAL | {'test': 'pass'}, "no function 'check'"),
]


def load(name, path):
  if name == 'humaneval':
    return humaneval.load(str(path))
  return tasks.load(name, path=str(path))


def refused(name, path, message, line):
  with pytest.raises(ValueError, match=message) as error:
    load(name, path)
  text = str(error.value)
  assert '\n' not in text and len(text) < 400
  assert text.startswith(f'{path}:{line}: ' if line else f'{path}: '), text


@pytest.mark.parametrize(('name', 'record', 'message'), BAD_RECORDS)
def test_records(tmp_path, name, record, message):
  path = tmp_path / 'x.jsonl'
  good = json.dumps(GOOD[name])
  path.write_text(f'{good}\n\n{json.dumps(record)}\n{good}\n')
  refused(name, path, message, 3)


WHOLE = (json.dumps(GSM8K) + '\n').encode()
PACKED = gzip.compress(WHOLE * 9, mtime=0)
FILES = [
  ('x.jsonl', b'', 'holds no record', None),
  ('x.jsonl', b'\n \n', 'holds no record', None),
  ('x.jsonl', WHOLE + WHOLE[:9], 'not JSON', 2),
  ('x.jsonl', b'nothing', 'not JSON', 1),
  ('x.jsonl', b'[' * 100_000, 'not JSON', 1),
  ('x.jsonl', WHOLE + 'é'.encode('latin-1'), 'not UTF-8', 2),
  ('x.jsonl', WHOLE.decode().encode('utf-16'), 'not UTF-8', 1),
  ('x.jsonl', b'\xef\xbb\xbf' + WHOLE, 'not JSON: Unexpected UTF-8 BOM', 1),
  ('x.jsonl', PACKED, 'not UTF-8', 1),
  ('x.jsonl.gz', PACKED[:-9], 'truncated or damaged gzip', None),
  ('x.jsonl.gz', PACKED[:20], 'truncated or damaged gzip', None),
  ('x.jsonl.gz', PACKED[:30] + b'\0' + PACKED[31:], 'damaged gzip', None),
  ('x.jsonl.gz', WHOLE, 'truncated or damaged gzip', None),
  ('x.jsonl.gz', b'', 'holds no record', None),
  ('x.jsonl.gz', gzip.compress(WHOLE + b'{', mtime=0), 'not JSON', 2),
]


@pytest.mark.parametrize(('file', 'data', 'message', 'line'), FILES)
def test_files(tmp_path, file, data, message, line):
  path = tmp_path / file
  path.write_bytes(data)
  refused('gsm8k', path, message, line)


@pytest.mark.parametrize('name', GOOD)
def test_the_tables_change_records_that_are_good(tmp_path, name):
  path = tmp_path / 'x.jsonl.gz'
  path.write_bytes(gzip.compress(json.dumps(GOOD[name]).encode()))
  load(name, path)
  with pytest.raises(FileNotFoundError, match='gone'):
    load(name, tmp_path / 'gone')
