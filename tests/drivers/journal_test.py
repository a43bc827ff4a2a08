import dataclasses
import json
import math
import pathlib
import random
import tempfile

from absl.testing import absltest

from ttc import evaluation
from ttc.drivers import journal
from ttc.evaluation import SampleRecord, ScoreRecord


def make_sample(item, index, **changes):
  record = SampleRecord(
    item_id=f'gsm8k/{item:04d}',
    sample_idx=index,
    seed=2**63 + item,
    prompt_hash='p' * 8,
    prompt_tokens=17,
    completion_tokens=5,
    completion=f'line one\nline two: √2 \u2028 "{item}" \ud83d',
    finish_reason='stop',
    sum_logprob=-3.25,
    mean_logprob=-0.65,
    wall_s=0.1 * index,
  )
  return dataclasses.replace(record, **changes)


def make_score(item, index, grader='exact'):
  return ScoreRecord(
    item_id=f'gsm8k/{item:04d}',
    sample_idx=index,
    grader=grader,
    grader_version='1',
    score=1.0,
  )


class RecordsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.directory = pathlib.Path(
      self.enter_context(tempfile.TemporaryDirectory())
    )
    self.path = self.directory / 'samples.jsonl'

  def read(self):
    return journal.read_records(self.directory, SampleRecord)

  def test_what_is_written_is_read(self):
    records = [make_sample(i, j) for i in range(3) for j in range(2)]
    records[1] = dataclasses.replace(
      records[1], verifier_scores={'prm': -0.5}, sum_logprob=float('-inf')
    )
    self.assertEqual(self.read(), [])
    journal.append_records(self.directory, records[:4])
    journal.append_records(self.directory, records[4:])
    journal.append_records(self.directory, [])
    self.assertEqual(self.read(), records)
    self.assertLen(self.path.read_bytes().split(b'\n'), 7)

  def test_samples_of_an_item_stay_apart(self):
    journal.append_records(
      self.directory, [make_sample(0, 0), make_sample(0, 1)]
    )
    self.assertEqual(
      journal.recorded_keys(self.directory, SampleRecord),
      {('gsm8k/0000', 0), ('gsm8k/0000', 1)},
    )

  def test_graders_of_a_sample_stay_apart(self):
    scores = [make_score(0, 0), make_score(0, 0, 'judge')]
    journal.append_records(self.directory, scores)
    self.assertEqual(journal.read_records(self.directory, ScoreRecord), scores)

  def test_resumed_equals_uninterrupted_after_any_crash(self):
    jobs = [(i, j) for i in range(6) for j in range(3)]
    expected = evaluation.canonical(make_sample(*job) for job in jobs)
    journal.append_records(self.directory, [make_sample(*j) for j in jobs])
    content = self.path.read_bytes()
    cuts = random.Random(0).sample(range(len(content) + 1), 20)
    for cut in cuts:
      self.path.write_bytes(content[:cut])
      done = journal.recorded_keys(self.directory, SampleRecord)
      self.assertLen(done, content[:cut].count(b'\n'))
      rest = [
        make_sample(i, j, wall_s=9.0)
        for i, j in reversed(jobs)
        if (f'gsm8k/{i:04d}', j) not in done
      ]
      for start in range(0, len(rest), 4):
        journal.append_records(self.directory, rest[start : start + 4])
      self.assertEqual(evaluation.canonical(self.read()), expected)

  def test_a_long_truncated_line_is_removed_whole(self):
    journal.append_records(self.directory, [make_sample(0, 0)])
    with self.path.open('ab') as file:
      file.write(b'{"item_id": "' + b'x' * 10_000)
    journal.append_records(self.directory, [make_sample(1, 0)])
    self.assertEqual(self.read(), [make_sample(0, 0), make_sample(1, 0)])

  def test_a_corrupt_line_in_the_middle_is_named(self):
    journal.append_records(
      self.directory, [make_sample(i, 0) for i in range(3)]
    )
    good = self.path.read_bytes().split(b'\n')
    cases = {
      b'{"item_id": \x00\x00': '',
      b'{"item_id": "a"}': "field 'sample_idx' is missing",
      b'[]': 'an object, not list',
      good[1].replace(b'"seed"', b'"sed"'): "field 'sed' is not one of",
      good[1].replace(b'"prompt_tokens": 17', b'"prompt_tokens": "17"'): (
        "field 'prompt_tokens' is '17', not of int"
      ),
      good[1].replace(b'"stop"', b'"stopped"'): "'finish_reason' is 'stopped'",
      b'\xff\xfe': 'not UTF-8',
    }
    for damage, message in cases.items():
      self.path.write_bytes(b'\n'.join([good[0], damage, *good[2:]]))
      with self.assertRaisesRegex(
        ValueError, rf'samples\.jsonl:2: .*{message}'
      ):
        self.read()

  def test_numbers_that_json_lacks_are_strings_there(self):
    records = [
      make_sample(i, 0, sum_logprob=x, verifier_scores={'prm': x})
      for i, x in enumerate((math.nan, math.inf, -math.inf))
    ]
    journal.append_records(self.directory, records)
    refuse = lambda name: self.fail(f'{name} is not JSON')
    for line, name in zip(
      self.path.read_text().splitlines(),
      ('NaN', 'Infinity', '-Infinity'),
      strict=True,
    ):
      line = json.loads(line, parse_constant=refuse)
      self.assertEqual(line['sum_logprob'], name)
    self.assertEqual(
      [str(r.sum_logprob) for r in self.read()], ['nan', 'inf', '-inf']
    )

  def test_equal_duplicates_count_once_and_contradictions_are_refused(self):
    first, again = make_sample(0, 0), make_sample(0, 0, wall_s=3.0)
    journal.append_records(self.directory, [first, again])
    self.assertEqual(self.read(), [first])
    journal.append_records(
      self.directory, [make_sample(0, 0, completion='other')]
    )
    with self.assertRaisesRegex(ValueError, r":3: contradicts \('gsm8k/0000'"):
      self.read()

  def test_shards_are_read_together_and_merged_into_one_sorted_file(self):
    records = [make_sample(i, j) for i in range(4) for j in range(12)]
    for process in range(2):
      journal.append_records(
        self.directory,
        records[1 - process :: 2],
        process_index=process,
        process_count=2,
      )
    self.assertTrue((self.directory / 'samples-00001-of-00002.jsonl').exists())
    self.assertCountEqual(
      [r.key for r in self.read()], [r.key for r in records]
    )
    merged = journal.merge_shards(self.directory, SampleRecord)
    self.assertEqual([p.name for p in self.directory.iterdir()], [merged.name])
    self.assertEqual(self.read(), records)  # sorted: index 10 after 9
    content = merged.read_bytes()
    journal.merge_shards(self.directory, SampleRecord)
    self.assertEqual(merged.read_bytes(), content)

  def test_a_merge_that_died_before_deleting_shards_loses_nothing(self):
    records = [make_sample(i, 0) for i in range(3)]
    journal.append_records(
      self.directory, records, process_index=0, process_count=2
    )
    shard = self.directory / 'samples-00000-of-00002.jsonl'
    kept = shard.read_bytes()
    journal.merge_shards(self.directory, SampleRecord)
    shard.write_bytes(kept)
    self.assertEqual(self.read(), records)

  def test_kinds_do_not_mix(self):
    with self.assertRaisesRegex(ValueError, 'one kind'):
      journal.append_records(
        self.directory, [make_sample(0, 0), make_score(0, 0)]
      )

  def test_lines_are_deterministic_json(self):
    journal.append_records(self.directory, [make_sample(0, 0)])
    line = json.loads(self.path.read_text())
    self.assertEqual(list(line), sorted(line))
    self.assertNotIn('token_logprobs', line)

  def test_parquet(self):
    try:
      from pyarrow import parquet
    except ImportError:
      self.skipTest('pyarrow is not installed')
    records = [
      make_sample(i, 0, completion='x', verifier_scores={'orm': 0.5})
      for i in range(3)
    ]
    path = self.directory / 'samples.parquet'
    evaluation.write_parquet(records, path)
    table = parquet.read_table(path).to_pylist()
    self.assertEqual(
      [r['item_id'] for r in table], [r.item_id for r in records]
    )
    self.assertEqual([r['seed'] for r in table], [r.seed for r in records])
    self.assertEqual(json.loads(table[0]['verifier_scores']), {'orm': 0.5})
    self.assertIsNone(table[0]['meta'])


class JournalTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    directory = self.enter_context(tempfile.TemporaryDirectory())
    self.path = pathlib.Path(directory, 'lines.jsonl')

  def test_what_was_measured_is_found_again_after_any_cut(self):
    lines = journal.Journal(self.path)
    for i in range(4):
      lines.append({'name': 'a', 'n': i}, value=[i, math.nan])
    content = self.path.read_bytes()
    for cut in range(len(content) + 1):
      self.path.write_bytes(content[:cut])
      found = journal.Journal(self.path)
      done = content[:cut].count(b'\n')
      self.assertLen(found.lines(), done)
      for i in range(4):
        self.assertEqual({'n': i, 'name': 'a'} in found, i < done)
      for i in range(done, 4):
        found.append({'name': 'a', 'n': i}, value=[i, math.nan])
      self.assertEqual(self.path.read_bytes(), content)

  def test_a_second_measurement_and_other_files_are_refused(self):
    lines = journal.Journal(self.path)
    lines.append({'n': 1}, value=2)
    with self.assertRaisesRegex(ValueError, 'measured twice'):
      lines.append({'n': 1}, value=3)
    self.path.write_text('{"what": {"n": 1}}\n{"n": 2}\n')
    with self.assertRaisesRegex(ValueError, r'lines\.jsonl:2: corrupt'):
      journal.Journal(self.path)

  def test_processes_write_shards_that_are_merged(self):
    path = self.path
    journal.Journal(path).append({'job': 0}, x=0)
    shards = [journal.Journal(path, i, 2) for i in range(2)]
    for i, shard in enumerate(shards):
      self.assertIn({'job': 0}, shard)
      shard.append({'job': 1 + i}, x=1 + i)
    self.assertNotIn({'job': 2}, shards[0])  # what the other wrote since
    again = journal.Journal(path, 1, 2)  # after a kill
    self.assertIn({'job': 1}, again)
    shards[0].merge()
    names = [file.name for file in path.parent.iterdir()]
    self.assertEqual(names, ['lines.jsonl'])
    lines = shards[0].lines()
    self.assertEqual(lines, journal.Journal(path).lines())
    self.assertEqual([line['x'] for line in lines], [0, 1, 2])

  def test_a_merge_that_died_loses_nothing(self):
    path = self.path
    shard = journal.Journal(path, 0, 2)
    shard.append({'job': 0}, x=0)
    path.write_text(
      shard.path.with_name('lines-00000-of-00002.jsonl').read_text()
    )  # and then it died
    merged = journal.Journal(path)
    merged.merge()
    self.assertEqual(len(journal.Journal(path).lines()), 1)
    self.assertLen(list(path.parent.iterdir()), 1)


if __name__ == '__main__':
  absltest.main()
