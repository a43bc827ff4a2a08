"""Sparse decoding of a real model: what is lost, and where it is faster."""

import json
import pathlib
import subprocess
import sys

import numpy as np
from absl import flags

from claims.row import Row, difference, interval, signed

_ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUDGETS = (64, 128, 256)
CONTROLS = ('sink + window', 'random blocks')
# A third of what the script measures by default, to be done in minutes.
OPTIONS = (
  *(f'--budget={b}' for b in BUDGETS),
  *(f'--rule={r}' for r in ('block top-k', 'Quest', *CONTROLS)),
  '--context=1024',
  '--texts=8',
  '--items=16',
  *(f'--speed_context={c}' for c in (256, 1024, 2048, 4096)),
)


def reproduce(num_seeds: int) -> Row:
  """Runs the script, and reads what it recorded; nothing is random."""
  del num_seeds
  workdir = pathlib.Path(flags.FLAGS.workdir) / 'sparse_smollm2'
  script = str(_ROOT / 'scripts' / 'sparse_decoding.py')
  command = [sys.executable, script, f'--workdir={workdir}', *OPTIONS]
  if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
    sys.exit('reproduce: sparse_decoding.py failed')
  lines = (workdir / 'records.jsonl').read_text().splitlines()
  records = [json.loads(line) for line in lines]
  text = joined(records, 'text', 'log_prob')
  found = joined(records, 'lookup', 'found')
  dense_text, dense_found = text['dense']['0'], found['dense']['0']

  def change(values, reference, rule):
    by_budget = values[rule]
    cells = [
      f'{b}: {signed(difference(by_budget[str(b)], reference))}'
      for b in BUDGETS
    ]
    return f'{rule} {", ".join(cells)}'

  def both(rule):
    loss = change(text, dense_text, rule)
    return f'{loss} nats/100, codes {change(found, dense_found, rule)} points'

  at = {
    (rule, b): np.mean(text[rule][str(b)])
    for rule in text
    if rule != 'dense'
    for b in BUDGETS
  }
  rules = [rule for rule in text if rule not in ('dense', *CONTROLS)]
  better = all(
    at[rule, b] > at[control, b]
    for rule in rules
    for control in CONTROLS
    for b in BUDGETS
  )
  return Row(
    'sparse decoding of SmolLM2 (1024 tokens of text; one code of a hundred)',
    'at every KV budget block top-k and Quest lose less log-probability per '
    'token than a window or random blocks of the same budget',
    f'dense {np.mean(dense_text):.3f} nats per token, codes found '
    f'{interval(dense_found)}; change by budget: '
    + '; '.join(both(rule) for rule in rules)
    + f'; {speed(records)}',
    '; '.join(both(rule) for rule in CONTROLS),
    bool(better),
  )


def joined(records, part, field):
  """Numbers of all prompts, by rule and budget."""
  mine = [r[field] for r in records if r['what']['part'] == part]
  return {
    rule: {b: [x for m in mine for x in m[rule][b]] for b in by_budget}
    for rule, by_budget in mine[0].items()
  }


def speed(records):
  """Step times at 256 tokens of budget, dense and sparse, by context."""
  cells = []
  for kind in ('response', 'prompt'):
    times = [
      f'{r["what"]["context"]}: {1e3 * r["seconds"][kind]["0"]:.0f} / '
      f'{1e3 * r["seconds"][kind]["256"]:.0f}'
      for r in records
      if r['what']['part'] == 'speed'
    ]
    own = 'of its own' if kind == 'response' else 'shared'
    cells.append(f'context {own} {", ".join(times)}')
  return 'ms per step of 8 rows, dense / 256 tokens: ' + '; '.join(cells)
