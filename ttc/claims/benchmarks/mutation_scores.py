"""Coverage does not tell strong tests from weak ones; mutants do."""

import random

import numpy as np

from ttc import evaluation
from ttc.claims.claim import Claim, above, interval, shows, text
from ttc.evaluation import FunctionCheck
from ttc.tasks import mutations
from ttc.testbeds import tested_functions

SUITES = {
  'strong': tested_functions.strong,
  'weak': tested_functions.weak,
  'smoke': tested_functions.smoke,
  'nothing': lambda tested: 'def test_nothing():\n  assert True\n',
}
NUM_INPUTS = 1000  # drawn for functions and of mutants that survive


def measure(seed, size, cache):
  """Coverage and mutation score of four suites of every function."""
  del seed, cache
  functions = tested_functions.FUNCTIONS[: size.fewer(20)]
  changed = [tested_functions.mutants(tested) for tested in functions]
  figures: dict = {}
  for name, write in SUITES.items():
    reports = evaluation.check_suites(
      [
        tested_functions.suite(tested, write(tested), mutants)
        for tested, mutants in zip(functions, changed, strict=True)
      ],
      allow_execution=True,
      test_seconds=0.2,
    )
    figures[name] = {
      'lines': np.array([x.line_cov for x in reports]),
      'found': np.array([x.mutation_score or 0.0 for x in reports]),
      'vacuous': np.array([float(x.vacuous) for x in reports]),
    }
    if name == 'strong':
      figures['survivors'] = alike(functions, changed, reports)
  return figures


def alike(functions, changed, reports):
  """Of each function: mutants that survive, and those that do the same."""
  rows = []
  for tested, mutants, report in zip(functions, changed, reports, strict=True):
    rng = random.Random(0)
    inputs = [rng.choice(tested.inputs) for _ in range(NUM_INPUTS)]
    inputs = [tuple(mutations.vary(rng, y) for y in x) for x in inputs]
    inputs = [x for x in inputs if tested_functions.in_domain(tested, x)]
    pairs = zip(mutants, report.fates, strict=True)
    left = [mutant for mutant, fate in pairs if fate == 'survived']
    original, *others = evaluation.check_functions(
      [
        FunctionCheck(x, tested.name, inputs=inputs)
        for x in (tested.source, *left)
      ],
      allow_execution=True,
      num_workers=2,
    )
    same = [x.outputs == original.outputs for x in others]
    rows.append((len(left), sum(same)))
  return np.array(rows)


CLAIM = Claim(
  'generated tests (20 functions of ours, every mutant of one edit)',
  '2410.00752',
  'test files that run every line find all mutants or few; mutants tell tests '
  'with assertions on every input from those with one, and these from none',
  measure,
  checks=[
    shows('mutants found by assertions on all inputs ', 'strong/found'),
    above('more than by one assertion ', 'strong/found', 'weak/found', 0.2),
    above('and than by calls alone ', 'strong/found', 'smoke/found', 0.4),
    text(
      lambda d: f'calls alone run {interval(d["smoke"]["lines"])} of lines',
      lambda d: d['smoke']['lines'].min() == 1,
    ),
  ],
  controls=[
    text(
      lambda d: (
        f'{d["survivors"][:, 0].sum()} mutants survive all assertions, and '
        f'{d["survivors"][:, 1].sum()} of these do as the function does on '
        f'those of {NUM_INPUTS} drawn inputs that it is for'
      ),
      lambda d: np.array_equal(*d['survivors'].T),
    ),
    text(
      lambda d: (
        'assertions of nothing find '
        f'{interval(d["nothing"]["found"])} and are known as vacuous in '
        f'{interval(d["nothing"]["vacuous"])}, the strong in '
        f'{interval(d["strong"]["vacuous"])}'
      ),
      lambda d: (
        d['nothing']['found'].max() == 0
        and d['nothing']['vacuous'].min() == 1
        and d['strong']['vacuous'].max() == 0
      ),
    ),
  ],
  seeds=(0,),
)
