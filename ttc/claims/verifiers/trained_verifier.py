"""A head learned from final answers against the policy's own confidence."""

import json
import pathlib
import subprocess
import sys

import numpy as np

from ttc.claims.claim import Claim, above, compares, shows

_SCRIPTS = pathlib.Path(__file__).resolve().parents[3] / 'scripts'
WEIGHT = 2.0  # of the log-probability beside the head's logit
NUM_ITEMS, NUM_SAMPLES = 180, 8  # a third of the items is held out


def measure(seed, size, cache):
  """Samples, trains and reads what was said of the items held out."""
  workdir = pathlib.Path(cache) / f'trained_verifier_{size.name}_{seed}'
  num_items = size.problems(NUM_ITEMS)
  run(
    'evaluate',
    workdir / 'run',
    config=f'{_SCRIPTS.parent}/configs/smollm2_arithmetic.py',
    tasks="('addition_2digit',)",
    num_items=num_items,
    task_seed=seed,
    seed=seed,
    num_samples=NUM_SAMPLES,
    methods="('best_of_n:log_prob',)",
    budgets=f'(1,{NUM_SAMPLES})',
    num_permutations=10,
    num_resamples=100,
    batch_size=4,
  )
  run(
    'train_verifier',
    workdir / 'verifier',
    run=workdir / 'run',
    seed=seed,
    num_held_out=num_items // 3,
    num_steps=size.steps(2000),
  )
  lines = (workdir / 'verifier' / 'held_out.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  table = lambda name: np.array([row[name] for row in rows], float).reshape(
    -1, NUM_SAMPLES
  )
  right = table('correct')
  best = lambda scores: np.take_along_axis(
    right, scores.argmax(axis=1)[:, None], axis=1
  )[:, 0]
  chance = np.clip(table('score'), 1e-7, 1 - 1e-7)
  own = table('mean_logprob')
  logit = np.log(chance) - np.log1p(-chance)
  return {
    'verifier': best(chance),
    'confidence': best(own),
    'sum': best(logit + WEIGHT * own),
    'one': right.mean(axis=1),
    'any': right.max(axis=1),
  }


def run(script, workdir, config=None, **options):
  """Runs a script, which goes on where it was."""
  command = [sys.executable, str(_SCRIPTS / f'{script}.py')]
  command += [f'--config={config}'] if config else []
  command += [f'--config.{name}={value}' for name, value in options.items()]
  command += [f'--workdir={workdir}']
  subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


CLAIM = Claim(
  f'a trained verifier (SmolLM2, sums of two digits, head, N={NUM_SAMPLES})',
  '2110.14168',
  f'on items held out best-of-{NUM_SAMPLES} by a head that learned from final '
  f"answers is above best-of-{NUM_SAMPLES} by the model's own log-probability",
  measure,
  checks=[
    shows('by the verifier ', 'verifier'),
    above('to its own confidence ', 'verifier', 'confidence'),
  ],
  controls=[
    compares('confidence to one sample ', 'confidence', 'one'),
    compares('verifier to one sample ', 'verifier', 'one'),
    compares('head and confidence to confidence ', 'sum', 'confidence'),
    shows('any right ', 'any'),
  ],
  because=(
    'a head on frozen features of 135M parameters adds 3.3 [-2.2, +8.8] '
    'points to one sample, and the confidence of the model itself 13.3; '
    'nothing below the head was trained'
  ),
)
