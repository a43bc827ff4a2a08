"""Beside packages that compute the same."""

import random

import pytest

from ttc.benchmarks.text_likeness import ratio
from ttc.benchmarks.text_overlap import longest_subsequence

pytestmark = pytest.mark.oracle


def test_fuzzy_ratio_is_that_of_rapidfuzz():
  fuzz = pytest.importorskip('rapidfuzz.fuzz')
  rng = random.Random(0)
  pairs = [
    tuple(''.join(rng.choices('abc de', k=rng.randint(0, 40))) for _ in 'xy')
    for _ in range(200)
  ]
  expected = [fuzz.ratio(*pair) for pair in pairs]
  assert [ratio(*pair) for pair in pairs] == pytest.approx(expected)


def test_longest_subsequence_is_that_of_rapidfuzz():
  distance = pytest.importorskip('rapidfuzz.distance')
  rng = random.Random(1)
  for _ in range(200):
    a, b = (''.join(rng.choices('abcd', k=rng.randint(0, 30))) for _ in 'xy')
    assert longest_subsequence(a, b) == distance.LCSseq.similarity(a, b)
