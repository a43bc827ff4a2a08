"""A model as a judge, of one process among several too."""

import types

import pytest
from memory_bucket import make_bucket

from configs.benchmark import get_config
from ttc.benchmarks.judges import Question
from ttc.drivers import draw_samples, journal, judging, options, processes
from ttc.drivers.benchmark_options import BenchmarkOptions
from ttc.evaluation import SampleRecord


def test_the_process_that_grades_asks_every_question(monkeypatch, tmp_path):
  def draw(self, workdir, params, place, missing, bar):
    records = [
      SampleRecord(
        item_id=name, sample_idx=i, seed=0, prompt_hash='', prompt_tokens=1,
        completion_tokens=1, completion=f'said {i}', finish_reason='stop',
        sum_logprob=0.0, mean_logprob=0.0, verifier_scores=None,
        flops_est=0.0, kv_bytes_est=0.0, meta=None,
      )
      for name, samples in missing.items()
      for i in samples
    ]  # fmt: skip
    journal.append_records(workdir, records)

  opened = types.SimpleNamespace(
    digests={}, loaded=types.SimpleNamespace(params=None)
  )
  monkeypatch.setattr(draw_samples.Opened, 'of', lambda chosen: opened)
  monkeypatch.setattr(
    draw_samples.Job,
    '__init__',
    lambda self, chosen, opened, task: setattr(self, 'task', task),
  )
  monkeypatch.setattr(draw_samples.Job, 'draw', draw)
  # The others of three processes wait at the end.
  monkeypatch.setattr(processes, 'share', lambda items: list(items)[::3])
  config = get_config().to_dict() | {'tasks': ('own',), 'task_path': ''}
  config['judge'] = 'smollm2-135m'
  answer = judging.by_model(options.parse(BenchmarkOptions, config), tmp_path)
  questions = [Question(f'{n}?', vote) for n in range(5) for vote in (0, 1)]
  assert answer(questions) == ['said 0', 'said 1'] * 5


def test_recorded_judgements_may_be_on_a_bucket(monkeypatch, tmp_path):
  monkeypatch.setattr('tempfile.tempdir', str(tmp_path))  # where copies go
  path = make_bucket(monkeypatch) / 'told.jsonl'
  config = get_config().to_dict() | {'tasks': ('own',), 'task_path': ''}
  config['judge'] = 'gs://bucket/told.jsonl'
  chosen = options.parse(BenchmarkOptions, config)
  with pytest.raises(FileNotFoundError, match=r'no judge.*gs://bucket/told'):
    judging.make_judge(chosen, tmp_path)
  path.write_text('{"prompt": "a?", "reply": "yes"}\n')
  answer = judging.make_judge(chosen, tmp_path)
  assert answer([Question('a?', 0)]) == ['yes']
