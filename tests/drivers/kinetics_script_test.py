"""scripts/kinetics.py as a user runs it, on records made up here."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import pytest
from absl.testing import absltest

from ttc import evaluation
from ttc.drivers import journal
from ttc.io import kinetics_plots
from ttc.scaling import costs, frontier, hardware, kinetics, kinetics_claims

try:
  from matplotlib import figure
except ImportError as error:
  raise unittest.SkipTest('matplotlib is not installed') from error

ROOT = pathlib.Path(__file__).parents[2]
SMALL = costs.ModelShape(10**6, 4, 4, 2, 16)
LARGE = costs.ModelShape(10**8, 8, 8, 2, 32)
NUM_ITEMS, NUM_SAMPLES, PROMPT = 5, 4, 30


def write_records(directory, shape, num_correct, items=range(NUM_ITEMS)):
  """Records of a model that solves item `i` in `num_correct[i]` samples."""
  directory.mkdir(parents=True)
  samples, scores = [], []
  for item in items:
    lengths = 10 * (item + 1) + np.arange(NUM_SAMPLES)
    flops = costs.decode_flops(shape, np.array([PROMPT]), lengths[None])[0]
    for j, length in enumerate(lengths):
      name = f'sums/{item}'
      samples.append(
        evaluation.SampleRecord(
          item_id=name,
          sample_idx=j,
          seed=0,
          prompt_hash='',
          prompt_tokens=PROMPT,
          completion_tokens=int(length),
          completion='',
          finish_reason='stop',
          sum_logprob=-1.0,
          mean_logprob=-0.1,
          flops_est=float(flops[j]),
          kv_bytes_est=float(shape.kv_bytes_per_token * length),
        )
      )
      scores.append(
        evaluation.ScoreRecord(
          item_id=name,
          sample_idx=j,
          grader='sums',
          grader_version='1',
          score=float(j < num_correct[item]),
        )
      )
  journal.append_records(directory, samples)
  journal.append_records(directory, scores)
  return directory


def run(*args):
  return subprocess.run(
    [sys.executable, str(ROOT / 'scripts' / 'kinetics.py'), *args],
    cwd=ROOT,
    env={
      **os.environ,
      'JAX_PLATFORMS': 'cpu',
      'PYTHONPATH': os.pathsep.join(filter(None, [str(ROOT), *sys.path])),
    },
    capture_output=True,
    text=True,
    check=False,
  )


class KineticsScriptTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    directory = tempfile.TemporaryDirectory()
    self.addCleanup(directory.cleanup)
    self.out = pathlib.Path(directory.name)

  def test_claims_and_pictures(self):
    done = run(f'--workdir={self.out}', '--hardware=h200', '--combine=max')
    self.assertEqual(done.returncode, 0, done.stderr)
    for name in ('split', 'isocost', 'tokens'):
      self.assertGreater((self.out / f'{name}.png').stat().st_size, 10_000)
      self.assertIn(f'({name}.png)', done.stdout)
    self.assertFalse((self.out / 'records.png').exists())
    claims = json.loads((self.out / 'claims.json').read_text())
    self.assertTrue(all(claim['holds'] for claim in claims))
    self.assertEqual(claims, [c()._asdict() for c in kinetics_claims.CLAIMS])

  @pytest.mark.slow
  def test_the_frontier_of_records(self):
    small = write_records(self.out / 'small', SMALL, [4, 2, 1, 0, 0])
    large = write_records(self.out / 'large', LARGE, [4, 4, 4, 4, 0])
    workdir = self.out / 'report'
    done = run(f'--workdir={workdir}', f'--records={small},{large}')
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertGreater((workdir / 'records.png').stat().st_size, 10_000)

    # At the highest price: every item that one of them ever solves, and the
    # cheapest way: `small` with 1, 4 and 4 trials, `large` for the fourth.
    last = [x for x in done.stdout.splitlines() if x.startswith('| eFLOPs')][-1]
    self.assertIn('| 80.0 |', last)
    lengths = 10.0 * (np.arange(NUM_ITEMS)[:, None] + 1) + np.arange(4)
    price = lambda shape, n: kinetics.eflops(
      kinetics.mean_cost(kinetics.dense_cost(shape, PROMPT, lengths, n)), 562.5
    )
    prices = np.stack(
      [price(shape, n) for shape in (SMALL, LARGE) for n in (1, 2, 4)], axis=1
    )
    highest = float(last.split('|')[2])
    np.testing.assert_allclose(highest, prices.max(), rtol=0.01)
    passed = [
      frontier.pass_at_trials(4, np.array(c), [1, 2, 4])
      for c in ([4, 2, 1, 0, 0], [4, 4, 4, 4, 0])
    ]
    best = frontier.frontier(
      prices, np.concatenate(passed, axis=1), np.array([highest * 1.01])
    )
    np.testing.assert_array_equal(best.choice[:, 0] // 3, [0, 0, 0, 1, 0])
    self.assertIn('small 80%, large 20%', last)

  @pytest.mark.slow
  def test_bad_input_is_one_line(self):
    empty = self.out / 'empty'
    empty.mkdir()
    here = write_records(self.out / 'here', SMALL, [0] * 5, items=[0, 1])
    there = write_records(self.out / 'there', SMALL, [0] * 5, items=[2, 3])
    torn = write_records(self.out / 'torn', SMALL, [0] * 5)
    (torn / 'scores.jsonl').unlink()
    workdir = f'--workdir={self.out / "report"}'
    cases = [
      ([workdir, f'--records={empty}'], 'no records of evaluate.py in'),
      ([workdir, f'--records={here},{there}'], 'no item in common'),
      ([workdir, f'--records={torn}'], 'has 0 grades'),
      ([workdir, 'more'], "unexpected argument 'more'"),
    ]
    for args, message in cases:
      done = run(*args)
      self.assertEqual(done.returncode, 1, done.stderr)
      (line,) = done.stderr.strip().splitlines()
      self.assertStartsWith(line, 'kinetics: ')
      self.assertIn(message, line)
    self.assertFalse((self.out / 'report').exists())


class PlotsTest(absltest.TestCase):
  def test_shares_fill_their_bars(self):
    ax = figure.Figure().subplots()
    kinetics_plots.plot_shares(
      ax, ['a', 'b'], {'x': np.array([1.0, 2]), 'y': np.array([3.0, 2])}
    )
    widths = [bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(widths, [25, 50, 75, 50])
    self.assertEqual([t.get_text() for t in ax.texts], ['25%', '50%'])

  def test_one_price_is_a_straight_line_by_flops(self):
    params = np.array([m.num_params for m in hardware.QWEN3.values()])
    ax = figure.Figure().subplots()
    kinetics_plots.plot_log_lines(
      ax, {'8B': (params, 1e15 / params)}, x_label='x', y_label='y'
    )
    (line,) = ax.get_lines()
    where = ax.transData.transform(line.get_xydata())
    slopes = np.diff(where[:, 1]) / np.diff(where[:, 0])
    np.testing.assert_allclose(slopes, slopes[0])


if __name__ == '__main__':
  absltest.main()
