"""Mending tests after changes, and not after mistakes (UTFix, 2025)."""

import numpy as np

from ttc import evaluation
from ttc.benchmarks.generated_tests import utfix
from ttc.claims.claim import Claim, interval, text
from ttc.tasks import mutations
from ttc.testbeds import tested_functions

NUM_TRIES = 6  # mutants of which the first is taken that tests find


def measure(seed, size, cache):
  """Of each repairer: intended changes mended, mistakes left alone."""
  del cache
  changes = [
    change
    for tested in tested_functions.FUNCTIONS[: size.fewer(20)]
    if (change := changed(tested, seed))
  ]
  wrong = [x._replace(intended=False) for x in changes]
  figures: dict = {'changes': np.float64(len(changes))}
  for name, repairer in (
    ('careful', utfix.rule_repairer(seed=seed)),
    ('blind', utfix.rule_repairer(blind=True, seed=seed)),
    ('none', lambda context: None),
  ):
    fixed = [utfix.repair(x, repairer) for x in changes]
    kept = [utfix.repair(x, repairer) for x in wrong]
    figures[name] = {
      'mended': np.array([float(x.mended) for x in fixed]),
      'complete': np.array([float(x.complete) for x in fixed]),
      'left alone': np.array([float(not x.after.accepted) for x in kept]),
    }
  return figures


def changed(tested, seed):
  """A change of a function that assertions on all inputs find."""
  tests = tested_functions.strong(tested)
  versions = mutations.mutants(tested.source, tested.name, NUM_TRIES, seed)
  (report,) = evaluation.check_suites(
    [tested_functions.suite(tested, tests, versions)], allow_execution=True
  )
  found = [
    version
    for version, fate in zip(versions, report.fates, strict=True)
    if fate == 'killed'
  ]
  if not found:
    return None
  return utfix.Change(
    tested.name, tested.source, found[0], tested.name, tests, True
  )


def said(name):
  """The three rates of a repairer."""
  return lambda d: (
    f'{name}: mends {interval(d[name]["mended"])} of intended changes, '
    f'{interval(d[name]["complete"])} to full coverage, leaves '
    f'{interval(d[name]["left alone"])} of mistakes found'
  )


CLAIM = Claim(
  'utfix (mutants of 20 functions, as changes and as mistakes)',
  '2503.14924',
  'expected values that are evaluated again mend tests of intended changes; '
  'a repairer that does so blindly hides as many mistakes',
  measure,
  checks=[
    text(
      said('careful'),
      lambda d: (
        d['careful']['mended'].mean() > 0.8
        and d['careful']['left alone'].min() == 1
      ),
    ),
  ],
  controls=[
    text(
      said('blind'),
      lambda d: (
        np.array_equal(d['blind']['mended'], d['careful']['mended'])
        and d['blind']['left alone'].mean() < 0.2
      ),
    ),
    text(said('none'), lambda d: d['none']['mended'].max() == 0),
  ],
)
