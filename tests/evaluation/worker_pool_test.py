"""A function that hangs, crashes, raises or floods costs one input."""

import os
import sys
import time

import pytest

from ttc.evaluation import map_guarded


def make(factor):
  if factor is None:
    raise RuntimeError('no factor')

  def function(x):
    if x == 'hang':
      time.sleep(60)
    if x == 'crash':
      os.abort()
    if x == 'exit':
      os._exit(3)
    if x == 'quit':
      sys.exit('bye')
    if x == 'raise':
      raise KeyError('x\ny')
    if x == 'print':
      for _ in range(100):
        print('x' * 2**20)
    if x == 'flood':  # below Python
      while True:
        os.write(1, b'x' * 2**20)
    if x == 'large':
      return 'x' * 2**25
    if x == 'memory':
      return len(bytearray(2**36))
    return factor * x

  return function


def test_each_fault_costs_one_input():
  inputs = [1, 'hang', 2, 'crash', 'exit', 'quit', 'raise', 3, 'print',
            'flood', 'large', 'memory', *range(4, 200)]  # fmt: skip
  found = dict(map_guarded(make, (10,), inputs, seconds=3.0, num_workers=2))
  assert sorted(found) == list(range(len(inputs)))
  said = {x: found[i] for i, x in enumerate(inputs)}
  for x, outcome in said.items():
    if isinstance(x, int):
      assert outcome == (10 * x, ''), x
    else:
      assert outcome.value is None
  expected = {
    'hang': 'no answer in 3 s',
    'crash': 'crashed: SIGABRT',
    'exit': 'crashed: exit status 3',
    'quit': 'SystemExit: bye',
    'print': 'printed more than 67108864 bytes',
    'flood': 'printed more than 67108864 bytes',
  }
  assert {x: said[x].error for x in expected} == expected
  assert (
    said['raise'].error.startswith('KeyError')
    and '\n' not in said['raise'].error
  )
  assert 'bytes' in said['large'].error
  assert said['memory'].error.startswith('MemoryError')


def test_what_cannot_start_is_an_error():
  with pytest.raises(ValueError, match='RuntimeError: no factor'):
    list(map_guarded(make, (None,), [1]))
  assert list(map_guarded(make, (None,), [])) == []
