"""Files on what can only write, read and list whole objects.

A path of `etils.epath` stands for a bucket: one that leads to a local
directory, and one of `gs://` that `fsspec` keeps in memory.
"""

import os
import zipfile

import numpy as np
import pytest
from etils import epath
from memory_bucket import make_bucket

from ttc.drivers import journal, sample_logs, training_files
from ttc.io import files, paths
from ttc.io.arrays import read_arrays, write_arrays
from ttc.tasks import Item


@pytest.fixture(params=['disk', 'gs'])
def bucket(request, monkeypatch, tmp_path):
  monkeypatch.setattr('tempfile.tempdir', str(tmp_path))  # where copies go
  if request.param == 'gs':
    return make_bucket(monkeypatch)
  return epath.Path(tmp_path / 'bucket')


def test_lines_are_parts_that_are_read_as_one_file(bucket):
  path = bucket / 'run' / 'metrics.jsonl'
  assert files.read_lines(path) == [] and not paths.exists(path)
  files.append_lines(path, ['a', 'b'])
  files.append_lines(path, [])
  files.append_lines(path, ['c'])
  (bucket / 'run' / 'metrics.jsonl.note').write_text('no part')
  assert paths.exists(path) and not path.exists()
  assert [x.name for x in paths.parts(path)] == [
    'metrics.jsonl.000000',
    'metrics.jsonl.000001',
  ]
  assert files.read_lines(path) == ['a', 'b', 'c']
  files.write_atomically(path, 'a\n')
  assert files.read_lines(path) == ['a'] and not paths.parts(path)
  files.append_lines(path, ['d'])
  assert files.read_lines(path) == ['a', 'd']
  paths.unlink(path)
  assert not paths.exists(path)


def test_more_than_a_million_parts_keep_their_order(bucket):
  path = bucket / 'lines'
  for number in (999_999, 1_000_000):
    bucket.mkdir(parents=True, exist_ok=True)
    path.with_name(f'lines.{number:06d}').write_text(f'{number}\n')
  assert paths.next_part(path).name == 'lines.1000001'
  files.append_lines(path, ['last'])
  assert files.read_lines(path) == ['999999', '1000000', 'last']


def test_shards_of_processes_become_one_file(bucket):
  for process in (0, 1):
    mine = journal.Journal(bucket / 'outcomes.jsonl', process, 2)
    mine.append({'item': process}, score=process)
    mine.append({'item': process + 2}, score=process)
  whole = journal.Journal(bucket / 'outcomes.jsonl')
  assert len(whole.lines()) == 4
  whole.merge()
  assert [x.name for x in bucket.iterdir()] == ['outcomes.jsonl']
  again = journal.Journal(bucket / 'outcomes.jsonl')
  assert again.lines() == whole.lines() and {'item': 3} in again


def test_a_training_keeps_its_config_and_forgets_what_was_not_saved(bucket):
  training_files.keep_config({'steps': 3}, bucket)
  path = bucket / 'metrics.jsonl'
  training_files.append(path, [{'step': 1}])
  training_files.append(path, [{'step': 2}, {'step': 3}])
  with pytest.raises(ValueError, match='another config'):
    training_files.keep_config({'steps': 4}, bucket)
  training_files.forget_after(path, 2)
  assert files.read_lines(path) == ['{"step": 1}', '{"step": 2}']


def test_a_directory_goes_to_the_bucket_and_comes_back(bucket, tmp_path):
  with paths.local_directory(bucket / 'model') as scratch:
    (scratch / 'part').mkdir()
    (scratch / 'part' / 'weights').write_bytes(b'\0\1')
    (scratch / 'config').write_text('{}')
  assert (bucket / 'model' / 'part' / 'weights').read_bytes() == b'\0\1'
  copy = paths.local_copy(bucket / 'model')
  assert (copy / 'part' / 'weights').read_bytes() == b'\0\1'
  (bucket / 'model' / 'config').write_text('{"new": 1}')
  assert (paths.local_copy(bucket / 'model') / 'config').read_text() != '{}'
  assert files.digest(copy) == files.digest(bucket / 'model')
  (bucket / 'model' / 'config').unlink()
  assert not (paths.local_copy(bucket / 'model') / 'config').exists()
  with pytest.raises(FileNotFoundError, match='nothing'):
    paths.local_copy(bucket / 'nothing')
  with paths.local_directory(tmp_path / 'here') as scratch:
    assert scratch == tmp_path / 'here'


def test_an_object_of_the_same_length_is_fetched_again(tmp_path, monkeypatch):
  monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
  weights = tmp_path / 'weights'
  for second, content in enumerate((b'old', b'new')):
    weights.write_bytes(content)
    os.utime(weights, (second, second))
    assert paths.local_copy(epath.Path(weights)).read_bytes() == content


def test_arrays_and_archives_are_read_from_a_bucket(bucket):
  write_arrays(bucket / 'run' / 'x.npz', {'x': np.arange(3)})
  assert read_arrays(bucket / 'run' / 'x.npz')['x'].tolist() == [0, 1, 2]
  log = bucket / 'run' / 'log.eval'
  choices = [{'message': {'content': 'ok'}}]
  sample = files.to_json({'id': 'a', 'output': {'choices': choices}})
  with files.writing(log) as file, zipfile.ZipFile(file, 'w') as archive:
    archive.writestr('samples/a_epoch_1.json', sample)
  (read,) = sample_logs.read_predictions(log, [Item('a', 'why?', 'yes', {})])
  assert read.completion == 'ok'


def test_names_of_models_stay_what_they_are():
  assert paths.fetched('smollm2-135m') == 'smollm2-135m'
  assert paths.fetched('random:/here') == 'random:/here'


def test_a_model_on_a_bucket_is_fetched(tmp_path, monkeypatch):
  monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
  config = make_bucket(monkeypatch) / 'model' / 'config.json'
  config.write_text('{}')
  name = paths.fetched('random:gs://bucket/model')
  word, _, path = name.partition(':')
  assert word == 'random'
  assert os.listdir(path) == ['config.json'] and path.startswith(str(tmp_path))


def test_a_cache_is_on_a_disk(bucket, tmp_path):
  assert paths.local_only(str(tmp_path), '--cache') == tmp_path
  with pytest.raises(ValueError, match=r'--cache=.*disk of this machine'):
    paths.local_only(bucket, '--cache')


@pytest.mark.parametrize('path', ['ftp://host/x', 'random:gs://x', 'hdfs://x'])
def test_other_schemes_are_refused(path):
  with pytest.raises(ValueError, match='is not known; there are gs://'):
    paths.as_path(path)


def test_a_bucket_without_its_library_is_named(monkeypatch):
  paths._check_library.cache_clear()
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  with pytest.raises(ValueError, match=r'az://.*pip install adlfs'):
    paths.as_path('az://container/run')
  paths._check_library.cache_clear()
