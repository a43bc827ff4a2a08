import dataclasses
import json
import pathlib
import random
import tempfile

from absl.testing import absltest

from ttc import evaluation
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
    return evaluation.read_records(self.directory, SampleRecord)

  def test_what_is_written_is_read(self):
    records = [make_sample(i, j) for i in range(3) for j in range(2)]
    records[1] = dataclasses.replace(
      records[1], verifier_scores={'prm': -0.5}, sum_logprob=float('-inf')
    )
    self.assertEqual(self.read(), [])
    evaluation.append_records(self.directory, records[:4])
    evaluation.append_records(self.directory, records[4:])
    evaluation.append_records(self.directory, [])
    self.assertEqual(self.read(), records)
    self.assertLen(self.path.read_bytes().split(b'\n'), 7)

  def test_samples_of_an_item_stay_apart(self):
    evaluation.append_records(
      self.directory, [make_sample(0, 0), make_sample(0, 1)]
    )
    self.assertEqual(
      evaluation.recorded_keys(self.directory, SampleRecord),
      {('gsm8k/0000', 0), ('gsm8k/0000', 1)},
    )

  def test_graders_of_a_sample_stay_apart(self):
    scores = [make_score(0, 0), make_score(0, 0, 'judge')]
    evaluation.append_records(self.directory, scores)
    self.assertEqual(
      evaluation.read_records(self.directory, ScoreRecord), scores
    )

  def test_resumed_equals_uninterrupted_after_any_crash(self):
    jobs = [(i, j) for i in range(6) for j in range(3)]
    expected = evaluation.canonical(make_sample(*job) for job in jobs)
    evaluation.append_records(self.directory, [make_sample(*j) for j in jobs])
    content = self.path.read_bytes()
    cuts = random.Random(0).sample(range(len(content) + 1), 20)
    for cut in cuts:
      self.path.write_bytes(content[:cut])
      done = evaluation.recorded_keys(self.directory, SampleRecord)
      self.assertLen(done, content[:cut].count(b'\n'))
      rest = [
        make_sample(i, j, wall_s=9.0)
        for i, j in reversed(jobs)
        if (f'gsm8k/{i:04d}', j) not in done
      ]
      for start in range(0, len(rest), 4):
        evaluation.append_records(self.directory, rest[start : start + 4])
      self.assertEqual(evaluation.canonical(self.read()), expected)

  def test_a_long_truncated_line_is_removed_whole(self):
    evaluation.append_records(self.directory, [make_sample(0, 0)])
    with self.path.open('ab') as file:
      file.write(b'{"item_id": "' + b'x' * 10_000)
    evaluation.append_records(self.directory, [make_sample(1, 0)])
    self.assertEqual(self.read(), [make_sample(0, 0), make_sample(1, 0)])

  def test_a_corrupt_line_in_the_middle_is_named(self):
    evaluation.append_records(
      self.directory, [make_sample(i, 0) for i in range(3)]
    )
    good = self.path.read_bytes().split(b'\n')
    for damage in (b'{"item_id": \x00\x00', b'{"item_id": "a"}', b'[]'):
      self.path.write_bytes(b'\n'.join([good[0], damage, *good[2:]]))
      with self.assertRaisesRegex(ValueError, r'samples\.jsonl:2: corrupt'):
        self.read()

  def test_equal_duplicates_count_once_and_contradictions_are_refused(self):
    first, again = make_sample(0, 0), make_sample(0, 0, wall_s=3.0)
    evaluation.append_records(self.directory, [first, again])
    self.assertEqual(self.read(), [first])
    evaluation.append_records(
      self.directory, [make_sample(0, 0, completion='other')]
    )
    with self.assertRaisesRegex(ValueError, r":3: contradicts \('gsm8k/0000'"):
      self.read()

  def test_shards_are_read_together_and_merged_into_one_sorted_file(self):
    records = [make_sample(i, j) for i in range(4) for j in range(12)]
    for process in range(2):
      evaluation.append_records(
        self.directory,
        records[1 - process :: 2],
        process_index=process,
        process_count=2,
      )
    self.assertTrue((self.directory / 'samples-00001-of-00002.jsonl').exists())
    self.assertCountEqual(
      [r.key for r in self.read()], [r.key for r in records]
    )
    merged = evaluation.merge_shards(self.directory, SampleRecord)
    self.assertEqual([p.name for p in self.directory.iterdir()], [merged.name])
    self.assertEqual(self.read(), records)  # sorted: index 10 after 9
    content = merged.read_bytes()
    evaluation.merge_shards(self.directory, SampleRecord)
    self.assertEqual(merged.read_bytes(), content)

  def test_a_merge_that_died_before_deleting_shards_loses_nothing(self):
    records = [make_sample(i, 0) for i in range(3)]
    evaluation.append_records(
      self.directory, records, process_index=0, process_count=2
    )
    shard = self.directory / 'samples-00000-of-00002.jsonl'
    kept = shard.read_bytes()
    evaluation.merge_shards(self.directory, SampleRecord)
    shard.write_bytes(kept)
    self.assertEqual(self.read(), records)

  def test_kinds_do_not_mix(self):
    with self.assertRaisesRegex(ValueError, 'one kind'):
      evaluation.append_records(
        self.directory, [make_sample(0, 0), make_score(0, 0)]
      )

  def test_lines_are_deterministic_json(self):
    evaluation.append_records(self.directory, [make_sample(0, 0)])
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
