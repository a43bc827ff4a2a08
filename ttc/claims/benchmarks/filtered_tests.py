"""Sampling tests and filtering them by execution (CAT-LM, Rao et al., 2023)."""

import random

import numpy as np

from ttc import evaluation
from ttc.benchmarks.generated_tests import cat_lm, methods2test
from ttc.claims.claim import Claim, above, interval, shows, text
from ttc.testbeds import tested_functions

BUDGETS = (1, 4, 16)


def measure(seed, size, cache):
  """Coverage of kept and of drawn tests, at growing numbers of samples."""
  del cache
  functions = tested_functions.FUNCTIONS[: size.fewer(20)]
  rng = random.Random(seed)
  texts = [
    [tested_functions.candidate(tested, rng) for _ in range(BUDGETS[-1])]
    for tested in functions
  ]
  reports = [check(*pair) for pair in zip(functions, texts, strict=True)]
  kept = [cat_lm.keep(row) for row in reports]
  again = [
    row_report
    for tested, row, chosen in zip(functions, texts, kept, strict=True)
    for row_report in check(tested, [row[i] for i in chosen])
  ]
  figures = {
    'passed': np.array([np.mean([x.accepted for x in row]) for row in reports]),
    'kept passed': np.array([float(x.accepted) for x in again]),
    **mapped(functions),
  }
  for n in BUDGETS:
    figures[f'covered {n}'] = np.array(
      [
        covered(row, [i for i in chosen if i < n])
        for row, chosen in zip(reports, kept, strict=True)
      ]
    )
  # As many tests as are kept, drawn without looking: only passing ones count.
  figures['drawn'] = np.array(
    [
      covered(row, [i for i in range(len(chosen)) if row[i].accepted])
      for row, chosen in zip(reports, kept, strict=True)
    ]
  )
  return figures


def check(tested, texts):
  """Reports of test files of a function."""
  suites = [tested_functions.suite(tested, x) for x in texts]
  return evaluation.check_suites(suites, allow_execution=True)


def covered(reports, chosen):
  """Share of lines that some reports cover together."""
  lines = (
    set().union(*(reports[i].covered for i in chosen)) if chosen else set()
  )
  some = max(reports, key=lambda x: len(x.covered) + len(x.uncovered))
  return len(lines) / (len(some.covered) + len(some.uncovered))


def mapped(functions):
  """Whether tests are mapped to what they test: by name, by call, or not."""
  files = {
    'code.py': '\n\n'.join(x.source for x in functions),
    'test_code.py': '',
  }
  truth = {}
  for i, tested in enumerate(functions):
    other = functions[(i + 1) % len(functions)].name
    tests = {
      f'test_{tested.name}': (f'{other}({tested.name})', tested.name),
      f'test_number_{i}': (f'{tested.name}()', tested.name),
      f'test_both_{i}': (f'{tested.name}({other}())', None),
    }
    for name, (body, method) in tests.items():
      files['test_code.py'] += f'def {name}(): {body}\n'
      truth[name] = method
  found = methods2test.map_tests(files)
  right = {x.test: float(x.focal_method == truth[x.test]) for x in found}
  sure = [right[name] for name, method in truth.items() if method]
  return {
    'mapped': np.array(sure),
    'unmapped': np.array(
      [right[n] for n, method in truth.items() if not method]
    ),
  }


CLAIM = Claim(
  'cat_lm (a template that errs in half of its tests, 20 functions)',
  '2310.01602',
  'kept tests all pass, and the lines that they cover grow with the samples; '
  'tests are mapped to methods where that is sure, and only there',
  measure,
  checks=[
    shows('samples that pass ', 'passed'),
    text(
      lambda d: f'of kept ones, run again, {interval(d["kept passed"])}',
      lambda d: d['kept passed'].min() == 1,
    ),
    above('lines covered of 4 samples less 1 ', 'covered 4', 'covered 1'),
    above('of 16 less 4 ', 'covered 16', 'covered 4'),
    shows('of 16 ', 'covered 16'),
    text(
      lambda d: (
        f'{len(d["mapped"])} clear tests mapped rightly in '
        f'{interval(d["mapped"])}, {len(d["unmapped"])} unclear ones left in '
        f'{interval(d["unmapped"])}'
      ),
      lambda d: min(d['mapped'].min(), d['unmapped'].min()) == 1,
    ),
  ],
  controls=[
    above('kept over as many unfiltered ones ', 'covered 16', 'drawn', 0.1),
  ],
)
