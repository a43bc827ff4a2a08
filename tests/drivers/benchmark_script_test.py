"""A benchmark of a user's own, graded, resumed, judged, compared."""

import json
import pathlib
import re
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from configs import benchmark as config_file
from ttc import benchmarks, tasks
from ttc.drivers import benchmark as driver
from ttc.drivers import benchmark_figures, draw_samples, grading
from ttc.drivers.benchmark import benchmark

pytest.importorskip('matplotlib')
ROOT = pathlib.Path(__file__).parents[2]
CONFIG = config_file.get_config().to_dict() | {
  'grade_seconds': 2.0, 'num_workers': 1, 'num_resamples': 100,
}  # fmt: skip

# What a user writes: thirty lines.
OWN = textwrap.dedent('''
  """Sums, and what else a grader may meet."""

  import os
  import time

  from ttc.benchmarks import Benchmark, Field, Verdict, from_records
  from ttc.tasks import Item

  SCHEMA = (Field('n', int), Field('group', allowed=('even', 'odd')))


  def own(official=False):
    return Benchmark(
      name='own', title='Sums of Our Own', paper='none', metric='right',
      schema=SCHEMA, load=from_records(SCHEMA, to_item),
      prompt=lambda item: f'{item.question} = ?', grade=grade,
      cluster=lambda item: item.meta['group'],
      categories=lambda item: {'group': item.meta['group']},
    )


  def to_item(record):
    n = record['n']
    group = {'group': record['group']}
    return Item(f'own/{n}', f'{n} + {n}', str(2 * n), group)


  def grade(item, completion, judge):
    if completion == 'hang':
      time.sleep(100)
    if completion == 'crash':
      os.abort()
    if completion in ('nan', '2'):
      return Verdict(float(completion), None, 'out of range')
    if completion == 'list':
      return Verdict(1.0, ['2'], 'no text')
    while completion == 'print':
      print('x' * 10**6)
    if completion.startswith('ask'):
      votes = judge([f'Is {completion} right?', 'Sure?'], 3)
      share = sum(said == 'Yes' for said in votes[0]) / 3
      return Verdict(share, completion, 'judged', {'length': 3.0})
    right = float(completion == item.answer)
    return Verdict(right, completion, 'exact', {'length': len(completion)})
''')


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
  """They take longer than all the rest; one test is run as a user does."""
  monkeypatch.setattr(
    'ttc.drivers.benchmark_report.save_intervals', lambda *a, **k: None
  )


@pytest.fixture
def place(tmp_path):
  """A directory with the benchmark and 8 records."""
  (tmp_path / 'own.py').write_text(OWN)
  write(
    tmp_path / 'data.jsonl',
    *({'n': n, 'group': 'odd' if n % 2 else 'even'} for n in range(8)),
  )
  return tmp_path


def write(path, *records):
  path.write_text(''.join(json.dumps(record) + '\n' for record in records))
  return path


def predictions(path, completions):
  lines = ({'item_id': f'own/{n}', 'completion': c}
           for n, c in completions.items())  # fmt: skip
  return write(path, *lines)


def run(place, workdir='run', config=(), **arguments):
  benchmark(CONFIG | dict(config), str(place / 'own.py'),
            place / 'data.jsonl', place / workdir, **arguments)  # fmt: skip
  return place / workdir


def scores(workdir):
  lines = (workdir / 'scores.jsonl').read_text().splitlines()
  return {line['item_id']: line for line in map(json.loads, lines)}


def test_a_benchmark_of_ones_own_through_the_script(place):
  said = {n: str(2 * n) for n in range(7)} | {1: '3'}
  predictions(place / 'p.jsonl', said)
  command = [
    sys.executable, str(ROOT / 'scripts' / 'benchmark.py'),
    f'--benchmark={place}/own.py', f'--data={place}/data.jsonl',
    f'--predictions={place}/p.jsonl', f'--workdir={place}/run',
  ]  # fmt: skip
  subprocess.run(command, check=True, capture_output=True, cwd=place)
  figures = json.loads((place / 'run' / 'figures.json').read_text())
  assert list(figures) == ['length', 'right']
  assert figures['right']['value'] == pytest.approx(6 / 8)  # one is missing
  report = (place / 'run' / 'report.md').read_text()
  assert 'coverage 87.5%' in report and '| group | even | 1.0000 |' in report
  assert (place / 'run' / 'figures.png').stat().st_size > 1000


def test_what_a_grader_does_not_survive_costs_one_record(place):
  said = {0: '0', 1: 'hang', 2: '4', 3: 'crash', 4: '8', 5: 'print', 6: '12'}
  workdir = run(place, predictions=predictions(place / 'p.jsonl', said))
  found = scores(workdir)
  assert [found[f'own/{n}']['score'] for n in range(7)] == [1, 0, 1, 0, 1, 0, 1]
  details = [found[f'own/{n}']['detail'] for n in (1, 3, 5)]
  assert details == [
    'grader_error: no answer in 2 s',
    'grader_error: crashed: SIGABRT',
    'grader_error: printed more than 67108864 bytes',
  ]
  report = (workdir / 'report.md').read_text()
  assert 'Graders that failed: 3 of 7' in report
  assert '| own/1 (0) | grader_error: no answer in 2 s |' in report
  # A part that every graded completion has is 0 where the grader failed.
  figures = json.loads((workdir / 'figures.json').read_text())
  assert figures['length']['value'] == pytest.approx((1 + 1 + 1 + 2) / 8)


def test_a_verdict_that_means_nothing_is_an_error_of_its_grader(place):
  said = {1: 'nan', 2: '2', 3: 'list', 4: '8'}
  workdir = run(place, predictions=predictions(place / 'p.jsonl', said))
  found = scores(workdir)
  assert [found[f'own/{n}']['score'] for n in said] == [0, 0, 0, 1]
  assert [found[f'own/{n}']['detail'] for n in said] == [
    'grader_error: the grader gives the score nan, not 0 to 1',
    'grader_error: the grader gives the score 2.0, not 0 to 1',
    "grader_error: the grader extracts ['2'], no text",
    'exact',
  ]


def test_what_is_graded_is_written_though_the_run_ends(place, monkeypatch):
  graded = grading._verdicts

  def interrupted(*arguments):
    yield next(graded(*arguments))
    raise KeyboardInterrupt

  monkeypatch.setattr(grading, '_verdicts', interrupted)
  p = predictions(place / 'p.jsonl', {0: '0', 1: '2'})
  with pytest.raises(KeyboardInterrupt):
    run(place, predictions=p)
  assert len(scores(place / 'run')) == 1
  monkeypatch.undo()
  # As much when the time is up, before there is a batch.
  lines = []
  append = driver.journal.append_records
  monkeypatch.setattr(
    driver.journal, 'append_records',
    lambda place, batch: lines.append(len(batch)) or append(place, batch),
  )  # fmt: skip
  monkeypatch.setattr(grading, '_SECONDS', 0.0)
  run(place, 'timed', predictions=p)
  assert lines == [2, 1, 1, 0]  # the samples, and each score


def test_a_run_is_of_one_benchmark_its_data_and_predictions(place):
  p = predictions(place / 'p.jsonl', {0: '0', 1: '2'})
  again = lambda: run(place, predictions=p)
  again()
  predictions(p, {0: '0', 1: '3'})
  with pytest.raises(ValueError, match='the predictions changed; use another'):
    again()
  predictions(p, {0: '0', 1: '2'})
  again()
  (place / 'own.py').write_text(OWN + '\n')
  with pytest.raises(ValueError, match='the benchmark changed; use another'):
    again()
  # What an item is graded by, where neither its question nor answer tells.
  changed = OWN.replace("{'group': record", "{'by': {2, 1}, 'group': record")
  (place / 'own.py').write_text(changed)
  with pytest.raises(ValueError, match='the data, the benchmark changed'):
    again()


def test_judgements_are_kept_and_voted(place, monkeypatch):
  said = {0: 'ask a', 1: 'ask b', 2: '4'}
  p = predictions(place / 'p.jsonl', said)
  with pytest.raises(ValueError, match='own needs a judge for 9 questions'):
    run(place, predictions=p)
  replies = {'a': 'Yes No Yes', 'b': 'No No No'}
  judgements = write(
    place / 'j.jsonl',
    *({'prompt': f'Is ask {x} right?', 'vote': i, 'reply': reply}
      for x, row in replies.items() for i, reply in enumerate(row.split())),
    *({'prompt': 'Sure?', 'vote': i, 'reply': 'Yes'} for i in range(3)),
  )  # fmt: skip
  judge = {'judge': str(judgements)}
  (place / 'run' / 'samples.jsonl').unlink()  # then the judge may change
  workdir = run(place, config=judge, predictions=p)
  whole = (workdir / 'scores.jsonl').read_bytes()
  assert scores(workdir)['own/0']['score'] == pytest.approx(2 / 3)
  kept = (workdir / 'judgements.jsonl').read_text().splitlines()
  assert len({json.loads(line)['key'] for line in kept}) == len(kept) == 9
  # A second run asks nobody, also where it grades again; its judgements are a
  # judge for others.
  ask = lambda path: lambda questions: pytest.fail('the judge was asked')
  monkeypatch.setattr('ttc.benchmarks.judges.read_recorded', ask)
  (workdir / 'scores.jsonl').unlink()
  run(place, config=judge, predictions=p)
  assert (workdir / 'scores.jsonl').read_bytes() == whole
  monkeypatch.undo()
  other = run(place, 'other', {'judge': str(workdir / 'judgements.jsonl')},
              predictions=p)  # fmt: skip
  assert (other / 'scores.jsonl').read_bytes() == whole


def test_a_second_run_calls_no_model_and_grades_nothing(place, monkeypatch):
  drawn = []

  def draw(chosen, workdir, loaded_tasks, begin):
    begin({})
    done = driver.journal.recorded_keys(workdir, driver.SampleRecord)
    (task,) = loaded_tasks
    new = [
      driver.SampleRecord(
        item_id=item.id, sample_idx=j, seed=0, prompt_hash='', prompt_tokens=3,
        completion_tokens=1, completion=item.answer, sum_logprob=-1.0,
        mean_logprob=-1.0, finish_reason='length' if j else 'stop',
      )
      for item in task.items
      for j in range(chosen.num_samples)
      if (item.id, j) not in done
    ]  # fmt: skip
    drawn.append(len(new))
    driver.journal.append_records(workdir, new)

  monkeypatch.setattr(draw_samples, 'draw_samples', draw)
  config = {'num_samples': 2, 'num_items': 6}
  workdir = run(place, config=config)
  assert scores(workdir)['own/1']['detail'] == grading.CUT
  whole = (workdir / 'scores.jsonl').read_bytes()
  monkeypatch.setattr(
    'ttc.evaluation.map_guarded', lambda *a, **k: pytest.fail('graded again')
  )
  run(place, config=config)
  assert drawn == [12, 0]
  assert (workdir / 'scores.jsonl').read_bytes() == whole
  report = (workdir / 'report.md').read_text()
  assert 'length 50.0%' in report and 'self-consistency' in report
  with pytest.raises(ValueError, match='seed changed'):
    run(place, config=config | {'seed': 1})


def test_runs_are_compared_on_common_items(place):
  first = {n: str(2 * n) for n in range(8)} | {6: 'x'}
  second = {n: str(2 * n) if n in (0, 1, 6) else 'y' for n in range(6)}
  run(place, 'a', predictions=predictions(place / 'p.jsonl', first))
  run(place, 'b', predictions=predictions(place / 'q.jsonl', second),
      compare=place / 'a')  # fmt: skip
  report = (place / 'b' / 'report.md').read_text()
  assert '## Against a' in report and '| difference | -0.6667 |' in report
  with pytest.raises(ValueError, match='scores of own; expected own/official'):
    run(place, 'c', compare=place / 'a', official=True)


def test_statistics_of_a_comparison():
  own = benchmarks.find('timeqa')._replace(cluster=None)
  items = [tasks.Item(str(i), '', '', {}) for i in range(40)]
  graded = lambda values: benchmark_figures.Graded(
    items, [[benchmarks.Verdict(float(v))] for v in values]
  )
  a = [1] * 9 + [0] * 3 + [1] * 20 + [0] * 8
  b = [0] * 9 + [1] * 3 + [1] * 20 + [0] * 8
  found = benchmark_figures.compare(own, graded(a), graded(b), 1000)
  assert found.difference.value == pytest.approx(6 / 40)
  assert found.p_mcnemar == pytest.approx(0.1460, abs=1e-4)
  assert found.p_sign_flip == pytest.approx(0.1460, abs=0.02)
  d = np.subtract(a, b)
  error = d.std(ddof=1) / np.sqrt(40)
  assert found.detectable == pytest.approx(
    (1.95996 + 0.84162) * error, rel=1e-3
  )
  assert found.difference.high - found.difference.low == pytest.approx(
    2 * 2.0227 * error, rel=1e-3
  )
  # An aggregate that is the mean gives about the interval of the mean.
  mean = lambda items, rows: {
    'exact match': np.mean([r[0].score for r in rows])
  }
  twin = own._replace(aggregate=mean)
  by_resamples = benchmark_figures.compare(twin, graded(a), graded(b), 2000)
  assert by_resamples.difference.value == pytest.approx(6 / 40)
  np.testing.assert_allclose(
    by_resamples.difference[1:3],
    found.difference[1:3],
    atol=0.03,  # an item is 0.025
  )


def test_logs_of_others_are_read_and_written(place):
  said = {n: str(2 * n) if n < 5 else 'no' for n in range(8)}
  p = predictions(place / 'p.jsonl', said)
  first = run(place, 'a', predictions=p, write_logs=True)
  for log in ('samples_own.jsonl', 'inspect_own.json', ''):
    again = run(place, f'b{log}', predictions=first / log)
    assert (again / 'scores.jsonl').read_bytes() == (
      first / 'scores.jsonl'
    ).read_bytes()


def test_bad_data_is_named_by_file_line_and_field(place):
  load = benchmarks.find(str(place / 'own.py')).load
  good = {'n': 1, 'group': 'odd'}
  cases = [
    ([good, {'n': 2}], ":2: field 'group' is missing; expected n: whole"),
    ([good, good], ":2: the key 'own/1' is that of an earlier record"),
    ([{**good, 'n': '1'}], ":1: field 'n' is '1'; expected n: whole number"),
    ([{**good, 'n': True}], ":1: field 'n' is True"),
    ([{**good, 'group': 'both'}], "is 'both'; expected group: even | odd"),
    ([{'idx': 'a', 'question': 'b'}], "found ['idx', 'question']"),
  ]
  for records, says in cases:
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
      load(write(place / 'bad.jsonl', *records))
    assert 'bad.jsonl' in str(caught.value)
  with pytest.raises(ValueError, match="no benchmark 'timeq'"):
    benchmarks.find('timeq')
  (place / 'broken.py').write_text('1 / 0')
  with pytest.raises(ValueError, match='raises ZeroDivisionError'):
    benchmarks.find(str(place / 'broken.py'))
  for made, says in (
    ('3', 'bad.py returns int; expected a Benchmark'),
    ('1 / 0', 'bad.py raises ZeroDivisionError'),
    ("Benchmark(nmae='x')", "bad.py raises TypeError: .*'nmae'"),
  ):
    text = f'from ttc.benchmarks import Benchmark\nbad = lambda: {made}\n'
    (place / 'bad.py').write_text(text)
    with pytest.raises(ValueError, match=says) as caught:
      benchmarks.find(str(place / 'bad.py'))
    assert '\n' not in str(caught.value)
  (place / 'empty.py').write_text('x = 1')
  with pytest.raises(ValueError, match="no function 'empty'"):
    benchmarks.find(str(place / 'empty.py'))


@pytest.mark.slow
def test_ten_thousand_records_take_less_than_a_minute(place):
  records = ({'n': n, 'group': 'odd' if n % 2 else 'even'}
             for n in range(10_000))  # fmt: skip
  write(place / 'data.jsonl', *records)
  said = {n: str(2 * n) if n % 3 else 'x' for n in range(10_000)}
  said |= {5: 'hang', 6: 'crash', 7: 'print'}
  p = predictions(place / 'p.jsonl', said)
  began = time.perf_counter()
  workdir = run(place, config={'num_workers': 2}, predictions=p)
  assert time.perf_counter() - began < 60
  report = (workdir / 'report.md').read_text()
  assert 'Graders that failed: 3 of 10000' in report
  figures = json.loads((workdir / 'figures.json').read_text())
  right = sum(said[n] == str(2 * n) for n in said)
  assert figures['right']['value'] == pytest.approx(right / 10_000)
