"""Claims: how seeds are pooled and judged, kept, written and asked for."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from ttc import claims
from ttc.claims import claim as c
from ttc.claims import report, run, store
from ttc.testbeds import FULL

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / 'docs'
QUICK = ('kinetics', 'plateau')
COIN = c.Claim(
  'coin',
  '1234.56789',
  'a coin is fair',
  lambda seed, size, cache: {
    'heads': {'fair': np.arange(100) % 2 == 0},
    'seed': np.float64(seed),
  },
  checks=[c.agrees('fair ', 'heads/fair', 0.5)],
  controls=[c.text(lambda d: f'{len(d["seed"])} seeds')],
)


def test_seeds_are_pooled_over_problems_and_scalars_are_stacked():
  runs = [COIN.measure(seed, FULL, None) for seed in (0, 1, 2)]
  data = c.pool(runs)
  assert data['heads']['fair'].shape == (300,)
  np.testing.assert_array_equal(data['seed'], [0, 1, 2])
  assert data['num_seeds'] == 3
  wide = c.pool([{'x': np.zeros((2, 4))}] * 3, axis=-1)
  assert wide['x'].shape == (2, 12)
  verdict = c.judge(COIN, runs)
  # 1.96 standard deviations of one half, over the root of 300 less one.
  half = 1.96 * 50 / 299**0.5
  assert (
    verdict.figure == f'fair 50.0 [{50 - half:.1f}, {50 + half:.1f}] for 50.0'
  )
  assert verdict.control == '3 seeds' and verdict.holds


def test_one_check_or_control_that_fails_is_enough():
  runs = [COIN.measure(0, FULL, None)]
  fails = c.text(lambda d: 'no', lambda d: False)
  for changed in (
    COIN._replace(checks=[*COIN.checks, fails]),
    COIN._replace(controls=[fails]),
  ):
    assert not c.judge(changed, runs).holds
  biased = COIN._replace(checks=[c.agrees('', 'heads/fair', 0.7)])
  assert not c.judge(biased, runs).holds


@pytest.mark.parametrize(
  'check,holds',
  [
    (c.above('', 'high', 'low'), True),
    (c.above('', 'low', 'high'), False),
    (c.above('', 'high', 'low', 0.9), False),
    (c.below('', 'low', 'high'), True),
    (c.below('', 'high', 'low'), False),
    (c.equals('', 'high', 'high'), True),
    (c.equals('', 'high', 'low'), False),
    (c.equals('', 'noise', 'none'), True),
    (c.above('', 'noise', 'none'), False),
    (c.compares('', 'low', 'high'), True),  # asks for nothing
    (c.compares('', 'high', 'low', lambda gap: gap.mean > 0.5), True),
    (c.shows('', lambda d: d['high'] - d['low']), True),
  ],
)
def test_checks_know_up_from_down(check, holds):
  noise = np.where(np.arange(400) % 2, 1.0, -1.0)
  data = {
    'high': 0.8 + 0.1 * noise,
    'low': 0.2 - 0.1 * noise,
    'noise': noise,
    'none': np.zeros(400),
  }
  assert check(data).holds == holds


def test_differences_are_paired():
  rng = np.random.default_rng(0)
  shared = rng.normal(size=400)
  data = {'a': shared + 0.1, 'b': shared + 0.01 * rng.normal(size=400)}
  assert c.above('', 'a', 'b', 0.09)(data).holds  # unpaired: +-0.14


def test_another_source_is_measured_anew(tmp_path):
  path = tmp_path / 'mine.py'
  path.write_text('from ttc.testbeds.table import table\n')
  assert [p.name for p in store.imported_beds(path)] == ['table.py']
  digests = {store.source_digest(path)}
  path.write_text('from ttc.testbeds.reasoner import reasoner\n')
  digests.add(store.source_digest(path))
  assert len(digests) == 2
  places = {
    store.measured_path(tmp_path, path, seed, size)
    for seed in (0, 1)
    for size in ('full', 'tiny')
  }
  assert len(places) == 4


def test_a_seed_is_measured_once(tmp_path, monkeypatch):
  calls = []

  def measure(seed, size, cache):
    calls.append(seed)
    return COIN.measure(seed, size, cache)

  counted = COIN._replace(measure=measure)
  monkeypatch.setattr(claims, 'load', lambda name: counted)
  first, _ = run.reproduce('rpc', 2, 'full', tmp_path)
  again, _ = run.reproduce('rpc', 3, 'full', tmp_path)
  assert calls == [0, 1, 2]
  assert first.control == '2 seeds' and again.control == '3 seeds'
  run.reproduce('rpc', 1, 'tiny', tmp_path)
  assert calls == [0, 1, 2, 0]


def test_rows_are_replaced_and_documents_follow(tmp_path):
  row = lambda name, verdict: report.to_row(name, COIN, verdict, 61.4, 3)
  good = c.Verdict('50.0 [49, 51]; more', 'none |z| 1', True)
  bad = good._replace(holds=False, figure='70.0 ' + 'words ' * 40)
  for name, verdict in (('b', good), ('a', good), ('b', bad)):
    report.write_row(tmp_path, 'search', row(name, verdict))
  rows = report.read_rows(tmp_path, 'search')
  assert list(rows) == ['a', 'b'] and not rows['b'].holds
  report.write_index(tmp_path, ['search', 'empty'])
  index = (tmp_path / 'claims.md').read_text().splitlines()
  first, second = index[-2:]
  link = '[a](claims/search.md#a)'
  assert first == (
    f'| coin | a coin is fair | holds | 50.0 [49, 51] | 61 | {link} |'
  )
  assert '**does not hold** | 70.0 words' in second and ' ... |' in second
  text = (tmp_path / 'claims' / 'search.md').read_text()
  assert 'none |z| 1' in text and text.index('## a') < text.index('## b')
  assert not list((tmp_path / 'claims').glob('.*'))


def test_history_stays_and_a_reason_stands_where_it_does_not_hold(tmp_path):
  claim = COIN._replace(history='was biased, 70.0', because='too few coins')
  for holds in (True, False):
    verdict = c.Verdict('50.0', 'none', holds)
    row = report.to_row('coin', claim, verdict, 1.0, 3)
    report.write_row(tmp_path, 'search', row)
    assert report.read_rows(tmp_path, 'search') == {'coin': row}
    report.write_index(tmp_path, ['search'])
    document = (tmp_path / 'claims' / 'search.md').read_text()
    index = (tmp_path / 'claims.md').read_text()
    assert 'Before: was biased, 70.0.\n' in document
    assert ('Why not: too few coins.\n' in document) != holds
    assert ('**does not hold**: too few coins |' in index) != holds


def test_every_claim_is_listed_and_written():
  files = {
    p.stem: p.parent.name
    for p in (ROOT / 'ttc' / 'claims').glob('*/*.py')
    if p.stem != '__init__'
  }
  assert files == {name: claims.room_of(name) for name in claims.NAMES}
  rows = {
    name: row
    for room in claims.ROOMS
    for name, row in report.read_rows(DOCS, room).items()
  }
  assert set(rows) == set(claims.NAMES)
  for name, row in rows.items():
    claim = claims.load(name)
    assert re.fullmatch(r'\d{4}\.\d{5}', claim.paper), name
    written = row.system, row.paper, row.claim, row.history
    said = claim.system, claim.paper, claim.says, claim.history
    assert written == said, name
    assert row.because == ('' if row.holds else claim.because), name


def test_documents_are_made_from_the_rows(tmp_path):
  for room in claims.ROOMS:
    rows = report.read_rows(DOCS, room)
    for row in rows.values():
      report.write_row(tmp_path, room, row)
  speed = (DOCS / 'claims' / 'speed.md').read_text()
  (tmp_path / 'claims' / 'speed.md').write_text(speed)
  report.write_index(tmp_path, list(claims.ROOMS))
  assert speed in (tmp_path / 'claims.md').read_text()
  for path in tmp_path.rglob('*.md'):
    written = DOCS / path.relative_to(tmp_path)
    assert path.read_text() == written.read_text(), written
  json.loads((DOCS / 'claims' / 'search.json').read_text())


@pytest.mark.parametrize('name', QUICK)
def test_cheap_claims_run(name, tmp_path):
  verdict, _ = run.reproduce(name, 1, 'tiny', tmp_path)
  assert verdict.figure and verdict.control
  assert 'nan' not in verdict.control


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(set(claims.NAMES) - set(QUICK)))
def test_every_claim_runs(name, tmp_path_factory):
  cache = tmp_path_factory.getbasetemp() / 'claims'  # shared: beds train once
  try:
    verdict, _ = run.reproduce(name, 2, 'tiny', cache)
  except (FileNotFoundError, ImportError) as error:
    pytest.skip(str(error))
  assert verdict.figure and verdict.control


def reproduce(*args):
  return subprocess.run(
    [sys.executable, str(ROOT / 'scripts' / 'reproduce.py'), *args],
    cwd=ROOT,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )


def test_bad_names_are_told_with_the_good_ones():
  for names, room, message in (
    (
      ['best_of_m'],
      None,
      "claim 'best_of_m' is not one of active_learning, adanpc, adapt",
    ),
    (['all'], 'serch', "room 'serch' is not one of sampling, search"),
  ):
    with pytest.raises(ValueError, match=message):
      claims.chosen(names, room)
  assert claims.chosen(['all'], 'finetuning') == [
    'dco',
    'masa',
    'meta_rater',
    'mrt',
    'perk',
    'policy_gradients',
    'soft_cot',
    'timo',
    'tti',
    'tti_thinking',
    'verifier_based',
    'wrong_lengths',
  ]
  assert claims.chosen(['rpc', 'mcts']) == ['rpc', 'mcts']
  assert len(claims.chosen(['all'])) == len(claims.NAMES)


@pytest.mark.slow
def test_the_script_resumes_lists_and_refuses(tmp_path):
  done = reproduce('--claim=kinetics', f'--workdir={tmp_path}')
  assert done.returncode == 0, done.stderr
  assert 'kinetics holds' in done.stdout and 'control: ' in done.stdout
  assert len(list((tmp_path / 'measured').glob('kinetics-full-0-*.npz'))) == 1
  listed = reproduce('--list', '--room=sampling').stdout.splitlines()
  assert [line.split(':')[0] for line in listed] == [
    'sampling/calibrated_base',
    'sampling/speculative',
  ]
  for args, message in (
    (['--claim=nothing'], "claim 'nothing' is not one of"),
    (['--claim=all', '--room=nowhere'], "room 'nowhere' is not one of"),
    (['--claim=kinetics', '--write', '--size=tiny'], 'needs --size=full'),
    ([], 'give --claim=NAME'),
    (['--claim=kinetics', 'more'], "unexpected argument 'more'"),
  ):
    bad = reproduce(*args)
    assert bad.returncode == 1
    *_, line = bad.stderr.strip().splitlines()
    assert line.startswith('reproduce: ') and message in line
    assert 'Traceback' not in bad.stderr
