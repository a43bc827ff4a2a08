"""The same step in TRL is timed on the same shapes."""

import pytest

from ttc.drivers.bench_finetune import Shape, bench_finetune

pytestmark = pytest.mark.oracle


def test_table_has_both_and_the_shares():
  pytest.importorskip('trl')
  pytest.importorskip('datasets')
  said = bench_finetune(Shape(1, 16, 2, 2, 3), 1, threads=1)
  assert '| ttc |' in said and '| trl |' in said
  assert 'ratio' in said and 'sampling' in said and 'update' in said
