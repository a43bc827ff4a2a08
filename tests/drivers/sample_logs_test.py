"""What other engines wrote: whose it is, and what is none of it."""

import json

import pytest

from ttc import tasks
from ttc.drivers.sample_logs import read_predictions

ITEMS = [tasks.Item(f'own/{n}', f'{n} + {n}', str(2 * n), {}) for n in range(8)]
INSPECT = {
  'id': 3, 'epoch': 2,
  'output': {'choices': [{'message': {'content': [{'text': '4'}]},
                          'stop_reason': 'max_tokens'}]},
}  # fmt: skip


def harness(path, *documents):
  """A log of lm-evaluation-harness of (number, document, completions)."""
  return write(
    path,
    *({'doc_id': n, 'doc': doc, 'resps': [said]} for n, doc, said in documents),
  )


def write(path, *lines):
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
  return path


def inspect(path, **changes):
  path.write_text(json.dumps({'samples': [INSPECT | changes]}))
  return path


def test_documents_without_an_id_are_numbered_in_all_the_data(tmp_path):
  path = harness(tmp_path / 'h.jsonl', (2, {'n': 2}, ['4', '5']))
  found = read_predictions(path, ITEMS)
  assert [(r.item_id, r.sample_idx, r.completion) for r in found] == [
    ('own/2', 0, '4'), ('own/2', 1, '5'),
  ]  # fmt: skip
  # What is not chosen is left out.
  harness(path, *((n, {'n': n}, [str(n)]) for n in range(8)))
  for chosen in (ITEMS[5:6], [ITEMS[6], ITEMS[2]]):
    found = read_predictions(path, chosen, ITEMS)
    assert {r.item_id: r.completion for r in found} == {
      item.id: item.id[-1] for item in chosen
    }


def test_a_document_with_an_id_that_no_item_has_is_nobodys(tmp_path):
  documents = [
    (n, {'id': x, 'not': 'own/4'}, ['1'])
    for n, x in enumerate(['own/9', 'own/3'])
  ]
  path = harness(tmp_path / 'h.jsonl', *documents)
  assert [r.item_id for r in read_predictions(path, ITEMS)] == ['own/3']


def test_the_last_line_of_others_may_lack_its_newline(tmp_path):
  lines = ({'item_id': f'own/{n}', 'completion': str(n)} for n in range(2))
  path = write(tmp_path / 'samples.jsonl', *lines)
  path.write_text(path.read_text().rstrip('\n'))
  assert [r.completion for r in read_predictions(path, ITEMS)] == ['0', '1']
  # That of a run was cut by a crash.
  assert [r.completion for r in read_predictions(tmp_path, ITEMS)] == ['0']


def test_samples_of_inspect(tmp_path):
  path = inspect(tmp_path / 'log.json')
  (record,) = read_predictions(path, ITEMS)
  assert record.key == ('own/2', 1) and record.finish_reason == 'length'
  assert read_predictions(path, [ITEMS[2]], ITEMS) == [record]
  silent = {'choices': [{'message': {'content': None}}]}
  (record,) = read_predictions(inspect(path, output=silent), ITEMS)
  assert record.completion == ''
  for change in ({'id': 0}, {'id': 9}, {'epoch': 0}):
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=f"field '{name}' is {value}"):
      read_predictions(inspect(path, **change), ITEMS)


@pytest.mark.parametrize(
  ('text', 'says'),
  [
    ('{"item_id": "own/1"}', 'h.jsonl:1: not a prediction: fields'),
    ('{"item_id": "x", "completion": "1"}', 'no completion of an item'),
    ('[]', 'it is no object'),
    ('{"doc_id": 99, "doc": {}, "resps": [["1"]]}', "'doc_id' is 99"),
    ('{"doc_id": 0, "doc": {}, "resps": [[[1.5, true]]]}', 'holds no texts'),
  ],
)
def test_what_is_no_prediction_is_named(tmp_path, text, says):
  path = tmp_path / 'h.jsonl'
  path.write_text(text + '\n')
  with pytest.raises(ValueError, match=says):
    read_predictions(path, ITEMS)
  with pytest.raises(FileNotFoundError):
    read_predictions(tmp_path / 'nothing', ITEMS)
