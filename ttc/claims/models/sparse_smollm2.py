"""Sparse decoding of a real model: what is lost, and where it is faster."""

import json
import pathlib
import subprocess
import sys

import numpy as np

from ttc.claims.claim import Claim, difference, interval, signed, text

_SCRIPT = (
  pathlib.Path(__file__).resolve().parents[3] / 'scripts' / 'sparse_decoding.py'
)
BUDGETS = (64, 128, 256)
RULES = ('block top-k', 'Quest')
CONTROLS = ('sink + window', 'random blocks')
CONTEXTS = (256, 1024, 2048, 4096)  # whose speed is measured


def measure(seed, size, cache):
  """Runs the script, and reads what it recorded; nothing is random.

  A third of what the script measures by default, to be done in minutes.
  """
  del seed
  workdir = pathlib.Path(cache) / f'sparse_smollm2_{size.name}'
  tiny = size.num_steps is not None
  contexts = CONTEXTS[:1] if tiny else CONTEXTS
  options = [
    *(f'--budget={b}' for b in BUDGETS),
    *(f'--rule={r}' for r in (*RULES, *CONTROLS)),
    f'--context={512 if tiny else 1024}',
    f'--texts={4 if tiny else 8}',
    f'--items={4 if tiny else 16}',
    *(f'--speed_context={c}' for c in contexts),
  ]
  command = [sys.executable, str(_SCRIPT), f'--workdir={workdir}', *options]
  subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
  lines = (workdir / 'records.jsonl').read_text().splitlines()
  records = [json.loads(line) for line in lines]
  return {
    'text': joined(records, 'text', 'log_prob'),
    'found': joined(records, 'lookup', 'found'),
    'seconds per step': {
      kind: {
        name: np.array([r['seconds'][kind][name] for r in speeds(records)])
        for name in ('0', '256')
      }
      for kind in ('response', 'prompt')
    },
    'contexts': np.array([r['what']['context'] for r in speeds(records)]),
  }


def joined(records, part, field):
  """Numbers of all prompts, by rule and budget."""
  mine = [r[field] for r in records if r['what']['part'] == part]
  return {
    rule: {
      b: np.array([x for m in mine for x in m[rule][b]]) for b in by_budget
    }
    for rule, by_budget in mine[0].items()
  }


def speeds(records):
  """Records of step times."""
  return [r for r in records if r['what']['part'] == 'speed']


def change(data, part, rule):
  """To dense decoding, by budget."""
  values, dense = data[part][rule], data[part]['dense']['0']
  cells = [f'{b}: {signed(difference(values[str(b)], dense))}' for b in BUDGETS]
  return f'{rule} {", ".join(cells)}'


def both(data, rule):
  """Log-probability of text, and codes found."""
  return (
    f'{change(data, "text", rule)} nats/100, codes '
    f'{change(data, "found", rule)} points'
  )


def figure(data):
  """Of dense decoding and of both rules."""
  return (
    f'dense {np.mean(data["text"]["dense"]["0"]):.3f} nats per token, codes '
    f'found {interval(data["found"]["dense"]["0"])}; change by budget: '
    + '; '.join(both(data, rule) for rule in RULES)
  )


def loses_less(data):
  """Than both controls, at every budget."""
  at = lambda rule, b: np.mean(data['text'][rule][str(b)])
  return all(
    at(rule, b) > at(control, b)
    for rule in RULES
    for control in CONTROLS
    for b in BUDGETS
  )


def speed(data):
  """Step times at 256 tokens of budget, dense and sparse, by context."""
  cells = []
  for kind, own in (('response', 'of its own'), ('prompt', 'shared')):
    seconds = data['seconds per step'][kind]
    rows = zip(data['contexts'], seconds['0'], seconds['256'], strict=True)
    times = [f'{c}: {1e3 * a:.0f} / {1e3 * b:.0f}' for c, a, b in rows]
    cells.append(f'context {own} {", ".join(times)}')
  return 'ms per step of 8 rows, dense / 256 tokens: ' + '; '.join(cells)


CLAIM = Claim(
  'sparse decoding of SmolLM2 (1024 tokens of text; one code of a hundred)',
  '2506.05333',
  'at every KV budget block top-k and Quest lose less log-probability per '
  'token than a window or random blocks of the same budget',
  measure,
  checks=[text(figure, loses_less), text(speed)],
  controls=[text(lambda d, rule=rule: both(d, rule)) for rule in CONTROLS],
  seeds=(0,),
)
