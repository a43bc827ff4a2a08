"""Tests mended after intended changes, and mistakes that stay found."""

import math

import pytest

from ttc.benchmarks.generated_tests import utfix

OLD = """def price(amount, member):
  if member:
    return amount - 1
  return amount
"""
NEW = """def price(amount, member):
  base = amount + 5
  if amount > 11:
    return 50
  if member:
    return base - 2
  return base
"""
TESTS = """import unittest
from code_file import price

def test_member():
  assert price(10, True) == 9
  assert price(3, True) == (
    2)

class Price(unittest.TestCase):
  def test_other(self):
    self.assertEqual(price(10, False), 10)

def test_type():
  assert isinstance(price(1, True), int)
"""
CHANGE = utfix.Change('price', OLD, NEW, 'price', TESTS, True)


@pytest.fixture(scope='module')
def before():
  return utfix.run(CHANGE, TESTS)


def test_a_repairer_sees_the_change_and_its_slices(before):
  context = utfix.context_of(CHANGE, TESTS, before)
  assert context.old_method == OLD.rstrip()
  assert '-    return amount - 1' in context.diff.splitlines()
  assert '+    return base - 2' in context.diff.splitlines()
  assert context.message.startswith('test_member: AssertionError')
  assert context.dynamic_slice == (2, 3, 5, 6)
  assert context.static_slice == (2, 5, 6)  # not the condition on the amount
  assert context.uncovered == (4,)
  said = utfix.prompt(context)
  assert 'No test runs the lines [4]' in said and context.diff in said


def test_the_loop_mends_what_is_intended_and_covers_all():
  calls = []

  def propose(context):
    calls.append(context.message)
    return utfix.rule_repairer()(context)

  done = utfix.repair(CHANGE, propose, max_rounds=4)
  assert done.before.n_fail == 2 and done.mended and done.complete
  assert 'price(10, True) == 13' in done.tests
  assert 'assertEqual(price(10, False), 15)' in done.tests
  assert 'def test_reaches_4_0' in done.tests and ' == 50' in done.tests
  assert done.rounds == len(calls) == 3 and calls[-1] == ''
  assert utfix.repair(CHANGE, propose, max_rounds=0).after.n_fail == 2
  with pytest.raises(ValueError, match='max_rounds=-1'):
    utfix.repair(CHANGE, propose, max_rounds=-1)


def test_mistakes_stay_found_unless_one_is_blind():
  mistake = CHANGE._replace(
    new=OLD.replace('- 1', '+ 1'), intended=False, tests=TESTS
  )
  careful = utfix.repair(mistake, utfix.rule_repairer())
  blind = utfix.repair(mistake, utfix.rule_repairer(blind=True))
  nothing = utfix.repair(CHANGE, lambda context: None)
  worse = utfix.repair(CHANGE, lambda context: 'def test_x(: pass')
  fewer = utfix.repair(
    CHANGE, lambda context: TESTS[TESTS.index('\ndef test_t') :]
  )
  assert careful.tests == TESTS and not careful.after.accepted
  assert blind.after.accepted and blind.tests != TESTS
  assert worse.tests == TESTS and worse.rounds == 3
  other = (
    'from code_file import price\n\ndef test_all():\n  price(10, True)\n'
    '  price(99, True)\n  assert price(1, False) == 6\n'
  )
  instead = utfix.repair(CHANGE, lambda context: other)
  assert instead.after.accepted and not instead.mended  # two tests are gone
  assert not fewer.mended and fewer.tests == TESTS
  rates = utfix.rates([CHANGE, mistake], [nothing, careful])
  assert rates == (0.0, 0.0, 1.0)
  assert utfix.rates([mistake], [blind]).left_alone == 0.0
  assert math.isnan(utfix.rates([mistake], [blind]).mended)
