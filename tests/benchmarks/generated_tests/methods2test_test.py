"""The mapper on pairs that are sure and pairs that are not; Java's contexts."""

import itertools
import json

import pytest

from ttc.benchmarks.generated_tests import methods2test

FILES = {
  'shop/cart.py': """
class Cart:
  def __init__(self): self.items = []
  def add_item(self, x): self.items.append(x)
  def total(self): return sum(self.items)
  def clear(self): self.items = []

class Other:
  def total(self): return 0
""",
  'shop/tests/test_cart.py': """
from shop.cart import Cart
import unittest
class TestCart(unittest.TestCase):
  def test_add_item(self):
    cart = Cart(); cart.clear(); cart.add_item(3)
  def testTotal(self): Cart().total()
  def test_it_forgets(self): Cart().clear()
  def test_both(self):
    cart = Cart(); cart.add_item(1); cart.total()
  def test_nothing(self): pass
""",
  'plain.py': 'def area(x): return x\ndef edge(x): return x\n',
  'test_plain.py': """
def test_area(): edge(area(1))
def test_corner(): edge(1)
def test_two(): edge(area(1))
""",
  'one.py': 'class One:\n  def go(self): pass\n',
  'test_one.py': 'def test_go(): One().go()\n',
  'two.py': 'class A:\n  def go(self): pass\nclass B:\n  def go(self): pass\n',
  'test_two.py': 'def test_go(): A().go()\n',
  'test_lonely.py': 'def test_area(): area(1)\n',
}
METHOD = {
  'identifier': 'add',
  'parameters': '(int x)',
  'body': 'public int add(int x) {\n  return x;\n}',
  'modifiers': 'public',
  'signature': 'int add(int x)',
  'full_signature': 'public int add(int x)',
  'constructor': False,
}
RECORD = {
  'repository': {'repo_id': 7, 'url': 'https://x'},
  'focal_class': {
    'identifier': 'Sum',
    'fields': [
      {'original_string': 'public int n;', 'modifier': 'public'},
      {'original_string': 'private int m;', 'modifier': 'private'},
    ],
    'methods': [
      METHOD,
      METHOD | {'identifier': 'Sum', 'full_signature': 'public Sum()',
                'constructor': True},
      METHOD | {'identifier': 'get', 'full_signature': 'public int get()'},
      METHOD | {'identifier': 'own', 'full_signature': 'private int own()',
                'modifiers': 'private'},
      METHOD | {'parameters': '(long x)',
                'full_signature': 'public int add(long x)'},
    ],
  },
  'focal_method': METHOD,
  'test_class': {'identifier': 'SumTest'},
  'test_case': {'identifier': 'testAdd', 'body': 'void testAdd() {}'},
}  # fmt: skip


def test_what_is_sure_is_mapped_and_nothing_else():
  mapped = {
    (x.focal_path, x.test): (x.focal_class, x.focal_method, x.rule)
    for x in methods2test.map_tests(FILES)
  }
  cart, plain = 'shop/cart.py', 'plain.py'
  assert mapped == {
    (cart, 'TestCart::test_add_item'): ('Cart', 'add_item', 'name'),
    (cart, 'TestCart::testTotal'): ('Cart', 'total', 'name'),
    (cart, 'TestCart::test_it_forgets'): ('Cart', 'clear', 'call'),
    (cart, 'TestCart::test_both'): ('Cart', None, 'unmapped'),
    (cart, 'TestCart::test_nothing'): ('Cart', None, 'unmapped'),
    (plain, 'test_area'): ('', 'area', 'name'),
    (plain, 'test_corner'): ('', 'edge', 'call'),
    (plain, 'test_two'): ('', None, 'unmapped'),
    ('one.py', 'test_go'): ('One', 'go', 'name'),
    ('two.py', 'test_go'): ('', None, 'unmapped'),
    ('', 'test_area'): ('', None, 'unmapped'),
  }


def test_contexts_grow():
  texts = [methods2test.context(RECORD, x) for x in methods2test.LEVELS]
  assert texts[0] == METHOD['body']
  assert [text.count('\n') for text in texts] == [2, 4, 5, 7, 8]
  assert 'public Sum();' in texts[2] and 'public int get();' in texts[3]
  assert 'public int add(long x);' in texts[3] and 'public int n;' in texts[4]
  assert 'private' not in texts[4]
  for shorter, longer in itertools.pairwise(texts):
    assert set(shorter.splitlines()) <= set(longer.splitlines())
  with pytest.raises(ValueError, match="level='FF'"):
    methods2test.context(RECORD, 'FF')


def test_records_are_read_and_split_by_repository(tmp_path):
  path = tmp_path / 'x.jsonl'
  path.write_text(json.dumps(RECORD) + '\n')
  assert methods2test.load(path) == [RECORD]
  broken = RECORD | {'focal_method': {'identifier': 'add'}}
  path.write_text(json.dumps(RECORD) + '\n' + json.dumps(broken) + '\n')
  with pytest.raises(ValueError, match=r"x.jsonl.*2.*'focal_method'.*'body'"):
    methods2test.load(path)
  path.write_text(json.dumps({'repository': {}}) + '\n')
  with pytest.raises(ValueError, match="'focal_class' is missing"):
    methods2test.load(path)
  places = [
    methods2test.split(RECORD | {'repository': {'repo_id': i}})
    for i in range(2000)
  ]
  for name, share in (('train', 0.8), ('eval', 0.1), ('test', 0.1)):
    assert abs(places.count(name) / 2000 - share) < 0.05
  # By the last digits of checksums: 9, 3 and 8.
  for i, name in ((0, 'test'), (1, 'train'), (4, 'eval')):
    record = RECORD | {'repository': {'repo_id': i}}
    assert methods2test.split(record) == name
  assert places[7] == methods2test.split(RECORD)
