"""evaluate.py and sample.py with methods that steer decoding, tiny models."""

import json
import random
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip('tokenizers')
pytest.importorskip('safetensors.numpy')
from evaluate_script_test import (
  ROOT,
  environment,
  run,
  write_tiny_model,
)

from configs import math_search as config_file
from ttc import evaluation
from ttc.drivers import evaluate as driver
from ttc.drivers import journal, options
from ttc.drivers.draw_samples import Opened
from ttc.drivers.draw_searches import leaf_fields
from ttc.drivers.evaluate_options import (
  SearchOptions,
  check_search,
)
from ttc.drivers.score_functions import Verifier
from ttc.drivers.show_search import search_lines
from ttc.evaluation import SampleRecord, SearchRecord
from ttc.types import FinishReason, Leaves

FILES = ('searches.jsonl', 'samples.jsonl', 'metrics.jsonl', 'report.md')


@pytest.fixture(scope='module')
def tiny_model(tmp_path_factory):
  return write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny')


def config_of(model, **changes):
  return config_file.get_config().to_dict() | {
    'model': str(model),
    'num_items': 5,
    'num_samples': 2,
    'budgets': (1, 2),
    'num_permutations': 8,
    'num_resamples': 50,
    'temperature': 1.0,
    'max_new_tokens': 4,
    'batch_size': 2,
    'methods': ('self_consistency', 'beam_search:log_prob'),
    **changes,
  }


def records(workdir):
  return evaluation.canonical(journal.read_records(workdir, SearchRecord))


def read_head(model, methods=('best_of_n:head', 'dvts:head'), **changes):
  return config_of(
    model,
    methods=methods,
    verifiers=('head=somewhere',),
    baseline='',
    **changes,
  )


@pytest.fixture
def head(monkeypatch):
  """A verifier that likes long responses, of 10 FLOPs a token."""

  def make(bias):
    # A weight that is closed over would be written into each program.
    assert isinstance(bias, jax.core.Tracer)
    return lambda prompt, r: r.lengths / (bias + r.lengths)

  made = Verifier(lambda asked: make, jnp.float32(1.0), 10.0, 'digest')
  monkeypatch.setattr(driver, 'load_verifier', lambda directory: made)


def test_searches_are_written_once_and_resumed(
  tiny_model, tmp_path, monkeypatch
):
  workdir = tmp_path / 'run'
  config = config_of(tiny_model, budgets=(2,))
  driver.evaluate(config, workdir)
  before = {name: (workdir / name).read_bytes() for name in FILES}
  whole = records(workdir)
  found = journal.read_records(workdir, SearchRecord)
  assert len({r.key for r in found}) == 5
  for record in found:
    assert record.verifier_flops_est == 0 < record.flops_est
    for leaf in record.leaves:
      assert leaf['step_ends'][-1] == leaf['tokens']
      assert leaf['parent'] == [-1, *leaf['nodes']][-2]
      assert len(leaf['nodes']) == len(leaf['step_scores'])
  # What is lost is made again, in a batch with what is not; nothing else is.
  lines = before['searches.jsonl'].splitlines(keepends=True)
  kept = b''.join([lines[0], lines[3], lines[4][:40]])
  (workdir / 'searches.jsonl').write_bytes(kept)
  driver.evaluate(config, workdir)
  assert records(workdir) == whole
  # Then no model is needed.
  with monkeypatch.context() as without:
    without.setattr(Opened, 'of', lambda *a: pytest.fail('opened'))
    driver.evaluate(config, workdir)
  for name in FILES:
    assert (workdir / name).read_bytes() == before[name], name
  report = before['report.md'].decode()
  assert '| beam search, log_prob verifier | 2 | ' in report
  assert (workdir / 'scaling.png').stat().st_size > 1000
  names = before['metrics.jsonl'].decode()
  assert 'addition_2digit/beam search, log_prob verifier/flops' in names


@pytest.mark.slow
@pytest.mark.parametrize('batch_size', [1, 5])
def test_batches_change_no_search(tiny_model, tmp_path, batch_size):
  config = config_of(tiny_model, methods=('mcts', 'qalign'), baseline='')
  driver.evaluate(config, tmp_path / 'a')
  driver.evaluate(config | {'batch_size': batch_size}, tmp_path / 'b')
  for got, want in zip(
    journal.read_records(tmp_path / 'b', SearchRecord),
    journal.read_records(tmp_path / 'a', SearchRecord),
    strict=True,
  ):
    assert got.key == want.key and got.tokens == want.tokens
    texts = lambda r: [(x['text'], x['nodes']) for x in r.leaves]
    assert texts(got) == texts(want)
  assert not (tmp_path / 'a' / 'samples.jsonl').exists()  # nobody chooses


@pytest.mark.slow
def test_a_verifier_is_asked_and_paid_for(tiny_model, tmp_path, head):
  workdir = tmp_path / 'run'
  driver.evaluate(read_head(tiny_model), workdir)
  for record in journal.read_records(workdir, SampleRecord):
    length = record.completion_tokens
    said = record.verifier_scores['head']
    assert said == pytest.approx(length / (1 + length))
  for record in journal.read_records(workdir, SearchRecord):
    assert record.verifier_flops_est == 10 * 4 * record.verifier_calls > 0
    for leaf in record.leaves:
      ends = np.array(leaf['step_ends'])
      np.testing.assert_allclose(leaf['step_scores'], ends / (1 + ends), 1e-6)
  info = json.loads((workdir / 'run.json').read_text())
  assert info['inputs']['verifier head'] == 'digest'
  metrics = [
    json.loads(x) for x in (workdir / 'metrics.jsonl').read_text().splitlines()
  ]
  flops = {
    (line['step'], name): x
    for line in metrics
    for name, x in line.items()
    if name.endswith('/flops') or name.endswith('/verifier_calls')
  }
  prefix = 'addition_2digit/best-of-N, head verifier/'
  assert flops[2, prefix + 'verifier_calls'] == 2
  assert flops[2, prefix + 'flops'] > 2 * 10 * 4


class TestBadInput:
  @pytest.mark.parametrize(
    ('changes', 'says'),
    [
      ({'methods': ('beam',)}, "'beam' is not one of"),
      ({'methods': ('atts',)}, "'atts' is not one of"),
      ({'methods': ('mcts:prm',)}, "verifier 'prm' is not one of"),
      (
        {'methods': ('dvts:exact',), 'baseline': ''},
        "'dvts:exact' would ask the grader about unfinished responses",
      ),
      ({'verifiers': ('prm',)}, "'prm' must be name=directory"),
      ({'verifiers': ('exact=x',)}, 'the name none of'),
      ({'baseline': 'mcts'}, "config.baseline='mcts' is not one of"),
      ({'step_ends': ('',)}, 'must be texts that are not empty'),
      ({'max_steps': 0}, 'config.max_steps=0 must be'),
      ({'budgets': (4,)}, 'must be numbers of samples'),
    ],
  )
  def test_is_refused_before_anything(self, changes, says):
    config = config_of('nowhere', **changes)
    with pytest.raises(ValueError, match=says) as error:
      check_search(options.parse(SearchOptions, config))
    assert '\n' not in str(error.value)

  def test_a_pool_bounds_only_those_that_choose(self):
    config = config_of(
      'nowhere', methods=('mcts', 'qalign:exact'), baseline='', budgets=(4,)
    )
    choices, baseline = check_search(options.parse(SearchOptions, config))
    assert baseline.name == 'mcts' and choices[1].verifier == 'exact'

  @pytest.mark.parametrize('method', ['revisions', 'generative_verification'])
  def test_what_cannot_be_served_is_refused_before_a_sample(
    self, tiny_model, tmp_path, method
  ):
    config = config_of(tiny_model, methods=('self_consistency', method))
    with pytest.raises(ValueError, match=f'{method} needs .*beam_search') as e:
      driver.evaluate(config, tmp_path / 'run')
    assert '\n' not in str(e.value)
    assert not (tmp_path / 'run' / 'samples.jsonl').exists()
    assert not (tmp_path / 'run' / 'run.json').exists()

  def test_a_default_is_not_recorded(self):
    plain = config_of('nowhere')
    for name in ('verifiers', 'baseline', 'step_ends', 'max_steps'):
      plain.pop(name)
    recorded = options.parse(SearchOptions, plain).recorded
    assert 'max_steps' not in recorded and recorded['max_step_tokens'] == 1


class TestShownTree:
  LEAVES = Leaves(  # two of the three go on from the first step
    tokens=np.array([[5, 6, 7], [5, 6, 8], [9, 0, 0]]),
    lengths=np.array([3, 3, 1]),
    log_probs=np.array([-3.0, -6.0, -1.0]),
    finish_reasons=np.array([FinishReason.STOP] * 3),
    parents=np.array([0, 0, -1]),
    nodes=np.array([[0, 2], [0, 3], [1, -1]]),
    scores=np.array([[0.5, 0.75], [0.5, 0.25], [0.125, 0]]),
    ends=np.array([[2, 3], [2, 3], [1, 0]]),
  )

  def test_branches_are_indented_below_what_they_share(self):
    leaves = [
      {**leaf, 'finish_reason': 'stop', 'answer': None}
      for leaf in leaf_fields(self.LEAVES)
    ]
    leaves[1]['answer'] = '8'
    decode = lambda ids: ''.join(map(str, ids))
    assert search_lines(leaves, decode) == [
      '[0] 0.500',
      '    56',
      '  [2] 0.750  3 tokens, stop, -1.00 nats/token',
      '      7',
      "  [3] 0.250  3 tokens, stop, -2.00 nats/token: '8'",
      '      8',
      '[1] 0.125  1 tokens, stop, -1.00 nats/token',
      '    9',
    ]

  def test_what_has_children_is_no_leaf(self):
    inner = self.LEAVES._replace(
      nodes=np.array([[0, 2], [0, -1], [1, -1]]), parents=np.array([0, -1, -1])
    )
    assert [leaf['id'] for leaf in leaf_fields(inner)] == [2, 1]
    none = self.LEAVES._replace(
      finish_reasons=np.full(3, FinishReason.CANCELLED),
      lengths=np.array([0, 2, 0]),
    )
    assert [leaf['id'] for leaf in leaf_fields(none)] == [3]
    assert leaf_fields(None) == []


@pytest.mark.slow
def test_killed_ten_times_it_ends_with_the_same_records(tiny_model, tmp_path):
  """At random points; no line is lost, changed or there twice."""
  args = lambda workdir: [
    f'--config={ROOT}/configs/math_search.py',
    f'--workdir={workdir}',
    *(
      f'--config.{name}={value}'
      for name, value in config_of(
        tiny_model,
        num_items=24,
        batch_size=1,
        methods=('self_consistency', 'beam_search', 'mcts', 'qalign'),
      ).items()
    ),
  ]
  whole, killed = tmp_path / 'whole', tmp_path / 'killed'
  run('evaluate.py', args(whole), tmp_path)
  rng, seen = random.Random(0), set()
  for _ in range(10):
    process = subprocess.Popen(
      [sys.executable, str(ROOT / 'scripts' / 'evaluate.py'), *args(killed)],
      cwd=ROOT,
      env=environment(tmp_path),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    time.sleep(rng.uniform(5.0, 35.0))
    process.send_signal(signal.SIGKILL)
    process.wait()
    now = set(records(killed).splitlines())
    assert seen <= now
    seen = now
  run('evaluate.py', args(killed), tmp_path)
  for name in ('searches.jsonl', 'samples.jsonl', 'metrics.jsonl', 'report.md'):
    assert (killed / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize('method', ['beam_search', 'qalign'])
def test_sample_prints_the_tree_that_was_searched(tiny_model, tmp_path, method):
  args = [
    '--prompt=2 + 2 =',
    '--raw',
    f'--model={tiny_model}',
    '--num_samples=3',
    '--max_new_tokens=5',
    '--max_step_tokens=2',
    f'--method={method}',
  ]
  out = run('sample.py', args, tmp_path).stdout
  assert out.count('nats/token') >= 3
  assert f'{method}: ' in out and 'verifier calls' in out
  bad = run('sample.py', [*args, '--method=revisions'], tmp_path, check=False)
  assert bad.returncode == 1 and bad.stderr.count('\n') == 1
  assert 'revisions needs `revise`' in bad.stderr
