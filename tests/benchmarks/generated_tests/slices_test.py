"""Slices against dependences that are plain to see."""

import pytest

from ttc.benchmarks.generated_tests import slices

SOURCE = """
def f(a, b):
  x = a + 1
  y = b + 1
  items = []
  if x > 2:
    z = x
  else:
    z = 0
  for i in range(y):
    items.append(last)
    last = i
  y += 2
  print(y)
  return z
"""


@pytest.mark.parametrize(
  'line, expected',
  [
    (3, [3]),
    (13, [4, 13]),  # it adds to what y was
    (15, [3, 6, 7, 9, 15]),  # z from x, under a condition on x
    (14, [4, 13, 14]),  # y is what it was, and 2 more
    (11, [4, 5, 10, 11, 12]),  # `last` comes from the round before
  ],
)
def test_static_slices(line, expected):
  assert slices.static_slice(SOURCE, 'f', line) == expected


def test_a_line_that_is_none_is_named():
  with pytest.raises(ValueError, match='line=8 begins no statement'):
    slices.static_slice(SOURCE, 'f', 8)
