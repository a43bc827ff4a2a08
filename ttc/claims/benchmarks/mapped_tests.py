"""Which method a test tests is said where it is sure (2203.12776).

A module has four functions and three tests: one named after a function, one
that calls a single function, and one that calls two, of which it tests either.
One name in ten is another function's, which the mapper cannot know: by names it
is right in .9, by calls always, and of two calls it says nothing, where taking
the first is right in a half. Power: of 600 modules an error of 1.2 points.
"""

import random

import numpy as np

from ttc.benchmarks.generated_tests.methods2test import map_tests
from ttc.claims.claim import Claim, above, agrees, text

NUM_MODULES, MISNAMED = 200, 0.1
NAMES = ('alpha', 'beta', 'gamma', 'delta')
RULES = ('name', 'call', 'unmapped')


def measure(seed, size, cache):
  """Whether each rule is right `[modules]`, and whether it was the rule."""
  del cache
  found = {f'{kind} {rule}': [] for rule in RULES for kind in ('is', 'right')}
  found['first call right'] = []
  for i in range(size.fewer(NUM_MODULES)):
    rng = random.Random(f'mapped_tests/{seed}/{i}')
    files, truth = module(rng)
    mapped = {x.test: x for x in map_tests(files)}
    for rule, (test, tested) in zip(RULES, truth.items(), strict=True):
      found[f'is {rule}'].append(mapped[test].rule == rule)
      found[f'right {rule}'].append(mapped[test].focal_method == tested)
    *_, last = truth.values()
    found['first call right'].append(last == NAMES[2])
  return {name: np.array(x, float) for name, x in found.items()}


def module(rng):
  """A module with its tests, and what each of these tests."""
  functions = [f'def {x}(n):\n  return n\n' for x in NAMES]
  named = NAMES[1] if rng.random() < MISNAMED else NAMES[0]
  either = rng.choice(NAMES[2:])
  tests = [
    f'def test_alpha():\n  assert {named}(1) == 1\n',
    'def test_one_case():\n  assert len([beta(2)]) == 1\n',
    'def test_both():\n  assert gamma(3) == delta(3)\n',
  ]
  files = {
    'code/m.py': '\n'.join(functions),
    'tests/test_m.py': '\n'.join(tests),
  }
  return files, {
    'test_alpha': named,
    'test_one_case': 'beta',
    'test_both': either,
  }


def always(rule):
  """A check: the rule is the one that was used."""
  return text(
    lambda d: f'{rule}: in {100 * d[f"is {rule}"].mean():.0f}% of its tests',
    lambda d: np.all(d[f'is {rule}'] == 1),
  )


CLAIM = Claim(
  'Methods2Test (tests of known methods, 200 modules of Python)',
  '2203.12776',
  'a test is mapped by its name, else by its only call, and else not; by calls '
  'all are right, by names as many as are honest, within 3.5 standard errors',
  measure,
  checks=[
    *map(always, RULES),
    agrees('right by name ', 'right name', 1 - MISNAMED, 3.5),
    text(
      lambda d: f'right by call {100 * d["right call"].mean():.0f}%',
      lambda d: np.all(d['right call'] == 1),
    ),
  ],
  controls=[
    agrees(
      'of two calls the first would be right ', 'first call right', 0.5, 3.5
    ),
    above('by name to that ', 'right name', 'first call right', 0.2),
  ],
)
