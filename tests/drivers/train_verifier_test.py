"""A head learned from records: kept, resumed, loaded again, and refused."""

import json

import jax
import numpy as np
import pytest

from ttc import models, tasks, verifiers
from ttc.drivers import journal, runs
from ttc.drivers.train_verifier import train_verifier
from ttc.evaluation import SampleRecord, ScoreRecord

tokenizers = pytest.importorskip('tokenizers')
pytest.importorskip('safetensors')

NUM_ITEMS, NUM_SAMPLES = 12, 4
OPTIONS = {
  'head': 'outcome',
  'two_layers': False,
  'num_layers': 0,
  'split': '',
  'end': '\n',
  'num_rollouts': 2,
  'num_held_out': 4,
  'seed': 0,
  'num_steps': 250,
  'batch_size': 32,
  'learning_rate': 0.05,
  'decay': 0.0,
}
TASK = tasks.load('addition_1digit', num_items=NUM_ITEMS, seed=3)


def write_model(path):
  """A random decoder over bytes."""
  alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
  backend = tokenizers.Tokenizer(
    tokenizers.models.BPE({x: i for i, x in enumerate(alphabet)}, [])
  )
  backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False, use_regex=False
  )
  backend.decoder = tokenizers.decoders.ByteLevel()
  backend.add_special_tokens(['<|endoftext|>'])
  config = models.TransformerConfig(
    vocab_size=257,
    num_layers=2,
    embed_dim=16,
    mlp_dim=16,
    num_heads=2,
    num_kv_heads=1,
    head_dim=8,
    max_length=1024,
  )
  params = models.transformer(config).init(jax.random.key(0))
  codec = models.Tokenizer(backend)
  models.save_safetensors(path, config, params, tokenizer=codec)


def completion(index):
  """Samples 0 and 2 are one response; what is right ends in a 7."""
  return [' 17', ' 21\n5', ' 17', ' 4\n7'][index]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The records of an evaluation, in which answers that end in 7 are right."""
  folder = tmp_path_factory.mktemp('run')
  write_model(folder / 'model')
  config = {
    'model': str(folder / 'model'),
    'dtype': 'float32',
    'tasks': ['addition_1digit'],
    'task_path': '',
    'num_items': NUM_ITEMS,
    'task_seed': 3,
    'temperature': 1.0,
    'top_k': 0,
    'top_p': 1.0,
    'min_p': 0.0,
    'preset': 'hf',
    'max_new_tokens': 6,
  }
  runs.start_run(folder, config, 0)
  samples, scores = [], []
  for item in TASK.items:
    for n in range(NUM_SAMPLES):
      name = {'item_id': item.id, 'sample_idx': n}
      text = completion(n)
      samples.append(
        SampleRecord(
          **name,
          seed=0,
          prompt_hash='',
          prompt_tokens=1,
          completion_tokens=len(text),
          completion=text,
          finish_reason='stop',
          sum_logprob=-1.0,
          mean_logprob=-1.0 if n == 1 else -2.0,
        )
      )
      right = float(text.endswith('7'))
      scores.append(
        ScoreRecord(**name, grader='x', grader_version='1', score=right)
      )
  journal.append_records(folder, samples)
  journal.append_records(folder, scores)
  return folder


def held_out(workdir):
  lines = (workdir / 'held_out.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
  'two_layers', [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_an_outcome_is_learned_saved_and_loaded(run, tmp_path, two_layers):
  changes = {'learning_rate': 0.01} if two_layers else {}
  config = {**OPTIONS, 'run': str(run), 'two_layers': two_layers, **changes}
  train_verifier(config, tmp_path)
  rows = held_out(tmp_path)
  assert len({row['item_id'] for row in rows}) == 4
  if not two_layers:
    for row in rows:
      assert (row['score'] > 0.5) == row['correct'], row
  # The policy's confidence prefers what is wrong, everywhere.
  report = (tmp_path / 'report.md').read_text()
  assert '100.0 [100.0, 100.0] points; it beats' in report
  verifier = verifiers.load_verifier(tmp_path / 'verifier')
  home = {item.id: TASK.prompt(item) for item in TASK.items}
  first = rows[0]['item_id']
  texts = [completion(n) for n in range(NUM_SAMPLES)]
  (scores,) = verifiers.score_texts(verifier, [home[first]], [texts])
  expected = [row['score'] for row in rows[:NUM_SAMPLES]]
  np.testing.assert_allclose(scores, expected, atol=1e-5)
  assert scores[0] == scores[2]


@pytest.mark.slow
def test_a_training_goes_on_with_the_same_head(run, tmp_path):
  config = {**OPTIONS, 'run': str(run)}
  train_verifier(config, tmp_path / 'whole')
  (tmp_path / 'cut').mkdir()
  train_verifier(config, tmp_path / 'cut')
  for name in ('held_out.jsonl', 'report.md'):
    (tmp_path / 'cut' / name).unlink()
  last = tmp_path / 'cut' / 'checkpoints' / '250'
  for path in sorted(last.rglob('*'), reverse=True):
    path.rmdir() if path.is_dir() else path.unlink()
  last.rmdir()  # as if it had been killed at step 200 and some
  features = sorted((tmp_path / 'cut' / 'features').iterdir())
  features[0].unlink()
  kept = features[1].stat().st_mtime_ns
  train_verifier(config, tmp_path / 'cut')
  assert features[1].stat().st_mtime_ns == kept and features[0].exists()
  assert held_out(tmp_path / 'cut') == held_out(tmp_path / 'whole')
  metrics = [
    (tmp_path / name / 'metrics.jsonl').read_text() for name in ('cut', 'whole')
  ]
  assert metrics[0] == metrics[1] and len(metrics[0].splitlines()) == 250
  with pytest.raises(ValueError, match='holds a run with another config'):
    train_verifier({**config, 'seed': 1}, tmp_path / 'cut')


@pytest.mark.slow
def test_steps_are_labelled_by_continuations(run, tmp_path):
  config = {**OPTIONS, 'run': str(run), 'head': 'process', 'split': '\n'}
  train_verifier({**config, 'num_steps': 5}, tmp_path)
  lines = (tmp_path / 'rollouts.jsonl').read_text().splitlines()
  rollouts = [json.loads(line) for line in lines]
  # Of each of the items learned from, the first steps of two responses.
  assert len(rollouts) == (NUM_ITEMS - 4) * 2
  assert {row['what']['prefix'] for row in rollouts} == {' 21', ' 4'}
  assert all(row['value'] in (0.0, 0.5, 1.0) for row in rollouts)
  verifier = verifiers.load_verifier(tmp_path / 'verifier')
  assert verifier.kind.split == '\n' and not verifier.kind.strip
  steps = verifiers.step_scores_of_texts(verifier, ['p'], [[' 1\n2', ' 1']])[0]
  assert [len(x) for x in steps] == [2, 1]
  np.testing.assert_allclose(steps[0][0], steps[1][0], atol=1e-6)


@pytest.mark.parametrize(
  ('changed', 'says'),
  [
    ({'head': 'value'}, "config.head='value' must be one of outcome, process"),
    ({'head': 'process'}, "config.split='' must be a text that separates"),
    ({'num_held_out': 12}, 'config.num_held_out=12 must be below the 12 items'),
    ({'decay': -1.0}, 'config.decay=-1.0 must be a finite number at least 0'),
    ({'num_layers': 3}, 'config.num_layers=3 must be at most the 2 of'),
    ({'layers': 1}, 'config.layers is not known'),
  ],
)
def test_bad_options_are_refused(changed, says, run, tmp_path):
  with pytest.raises(ValueError, match=says):
    train_verifier({**OPTIONS, 'run': str(run), **changed}, tmp_path)


def test_a_directory_without_records_is_told(tmp_path):
  config = {**OPTIONS, 'run': str(tmp_path)}
  with pytest.raises(FileNotFoundError, match='makes one'):
    train_verifier(config, tmp_path / 'out')
