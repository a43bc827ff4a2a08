"""Methods on streams of painted images, run as the script does."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from ttc.adaptation import protocols
from ttc.drivers import adapt_methods
from ttc.drivers.adapt import adapt, cut
from ttc.drivers.adapt_options import Study

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = {
  'methods': ('source', 'tent(learning_rate=0.01)'),
  'dataset': 'painted',
  'corruptions': ('brightness', 'contrast'),
  'batch_size': 20,
  'num_items': 50,
  'num_clean': 20,
  'num_source': 20,
  'num_seeds': 2,
  'num_epochs': 0.1,
}
# A method of ten lines, in a file of one's own.
MINE = '''
import jax
from ttc.adaptation import Adapter, Prediction
import jax.numpy as jnp


def mine(network, temperature=1.0) -> Adapter:
  """The source's network, cooled."""

  def update(variables, batch, key):
    seen = network.apply(variables, batch.images)
    count = jnp.sum(batch.mask, dtype=jnp.int32)
    return Prediction(seen.logits / temperature, seen.features, count,
                      0 * count), variables

  return Adapter(lambda source, key: source.variables, update)
'''


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return str(tmp_path_factory.mktemp('cache'))


@pytest.mark.slow
def test_methods_are_run_measured_and_drawn(cache, tmp_path):
  pytest.importorskip('matplotlib')
  mine = tmp_path / 'mine.py'
  mine.write_text(MINE)
  config = {
    **TINY,
    'cache': cache,
    'methods': (*TINY['methods'], f'{mine}:mine(temperature=2.0)'),
  }
  workdir = tmp_path / 'run'
  adapt(config, workdir)
  lines = [
    json.loads(line)
    for line in (workdir / 'metrics.jsonl').read_text().splitlines()
  ]
  assert len(lines) == 3 * 2  # methods and domains
  for line in lines:
    assert np.shape(line['wrong']) == (1, 2, 3)  # values, seeds, batches
    assert line['counts'] == [[[20, 20, 10]] * 2]  # the tail is masked
    assert np.sum(line['sizes']) == np.sum(line['class_counts']) == 100
    assert np.shape(line['clean']) == (1, 2)
  of = lambda name: [
    line['wrong'] for line in lines if line['what']['method'].startswith(name)
  ]
  assert of('source') == of(str(mine))  # cooling changes no argmax
  nll = [line['nll'] for line in lines[:2] + lines[4:]]
  assert nll[:2] != nll[2:]
  table = (workdir / 'table.md').read_text()
  assert 'brightness' in table and 'mine(temperature=2.0)' in table
  for name in ('errors', 'reliability', 'pictures', 'forgetting'):
    assert (workdir / f'{name}.png').stat().st_size > 1000


@pytest.mark.slow
def test_a_sweep_is_a_run_for_each_value(cache, tmp_path):
  pytest.importorskip('matplotlib')
  config = {**TINY, 'cache': cache, 'num_clean': 0, 'num_seeds': 1}
  config = {**config, 'methods': ('tent',)}
  adapt({**config, 'sweep': 'learning_rate=0.001,0.1'}, tmp_path / 'sweep')
  assert (tmp_path / 'sweep' / 'sweep.png').exists()
  single = {**config, 'methods': ('tent(learning_rate=0.1)',)}
  adapt(single, tmp_path / 'single')
  rows = [
    json.loads((tmp_path / run / 'metrics.jsonl').read_text().splitlines()[0])
    for run in ('sweep', 'single')
  ]
  np.testing.assert_allclose(rows[0]['nll'][1], rows[1]['nll'][0], rtol=1e-3)
  assert not np.allclose(rows[0]['nll'][0], rows[0]['nll'][1], rtol=1e-3)


@pytest.mark.slow
def test_killed_and_resumed_is_uninterrupted(cache, tmp_path):
  pytest.importorskip('matplotlib')
  config = {
    **TINY,
    'cache': cache,
    'protocol': 'continual',
    'num_rounds': 10,
    'methods': ('tent',),
  }
  adapt(config, tmp_path / 'whole')
  code = (
    'import json, sys\n'
    'from ttc.drivers.adapt import adapt\n'
    'adapt(json.loads(sys.argv[1]), sys.argv[2])\n'
  )
  env = {**os.environ, 'PYTHONPATH': str(ROOT)}
  command = [sys.executable, '-c', code, json.dumps(config)]
  metrics, kills = tmp_path / 'cut' / 'metrics.jsonl', 0
  count = lambda: len(metrics.read_bytes().splitlines()) if (
    metrics.exists()
  ) else 0  # fmt: skip
  for _ in range(20):
    process = subprocess.Popen([*command, str(tmp_path / 'cut')], env=env)
    before = count()
    while process.poll() is None:
      time.sleep(0.02)
      if kills < 2 and count() > before + 3:
        process.send_signal(signal.SIGKILL)
        kills += 1
        process.wait()
    if process.returncode == 0:
      break
  assert kills > 0
  whole, resumed = (
    [
      {k: x for k, x in json.loads(line).items() if k != 'seconds'}
      for line in (tmp_path / run / 'metrics.jsonl').read_text().splitlines()
    ]
    for run in ('whole', 'cut')
  )
  assert whole == resumed


@pytest.mark.parametrize(
  ('changed', 'says'),
  [
    ({'methods': ('tant',)}, "method 'tant', expected one of .*tent"),
    ({'methods': ('choose',)}, "method 'choose', expected one of"),
    (
      {'methods': ('tent(rate=1)',)},
      'no hyper-parameter rate, .*learning_rate',
    ),
    ({'methods': ('tent(1)',)}, r'expected NAME or NAME\(argument=value'),
    ({'methods': ('source(learning_rate=1)',)}, 'no hyper-parameter learning'),
    ({'methods': ()}, 'config.methods=.. must be a tuple'),
    ({'corruptions': ('rain',)}, "corruption 'rain', expected one of gaussian"),
    ({'corruptions': ('rotate',)}, "in table 'small'"),
    ({'severity': 6}, 'config.severity=6 must be a whole number from 1 to 5'),
    (
      {'table': 'cifar10'},
      "config.table='cifar10' must be one of cifar, image",
    ),
    ({'protocol': 'once'}, "config.protocol='once' must be one of reset_each"),
    ({'order': 'blocks'}, "order_value=0.0 of config.order='blocks'"),
    ({'sweep': 'x'}, "config.sweep='x', expected NAME=VALUE"),
    ({'sweep': 'decay=1,2'}, 'no hyper-parameter decay'),
    ({'dataset': 'cifar'}, "config.dataset='cifar' must be one of mnist"),
    ({'directory': '/nowhere'}, 'holds no clean images, expected'),
    ({'batch_size': 0}, 'config.batch_size=0 must be a whole number from 1'),
  ],
)
def test_bad_options_are_refused(changed, says, tmp_path):
  with pytest.raises(ValueError, match=says) as error:
    adapt({**TINY, **changed}, tmp_path)
  assert '\n' not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'no\.py:f: no such file'):
    adapt_methods.parse_method('no.py:f')
  (tmp_path / 'mine.py').write_text(MINE)
  with pytest.raises(ValueError, match='expected one of mine of'):
    adapt_methods.parse_method(f'{tmp_path}/mine.py:yours')


def test_a_stream_is_cut_at_visits():
  order = lambda key: protocols.shuffled(key, 230)
  schedule = protocols.reset_each_shift(jax.random.key(0), order, 2, 1)
  pieces = cut(Study(*[None] * 5, (schedule,), None, None))
  rows = [(x.batches.start, x.batches.stop) for x in pieces]
  assert rows == [
    (0, 100), (100, 200), (200, 230), (230, 330), (330, 430), (430, 460)
  ]  # fmt: skip
  assert [x.restarts for x in pieces] == [True, False, False] * 2
  assert [x.ends_visit for x in pieces] == [False, False, True] * 2
  assert [x.domain for x in pieces] == [0, 0, 0, 1, 1, 1]
