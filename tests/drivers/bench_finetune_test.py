"""The same step in TRL is timed on the same shapes."""

import pytest

from ttc.drivers.bench_finetune import Shape, bench_finetune


def test_refuses_threads_that_there_are_not():
  for threads in (0, 10_000):
    with pytest.raises(ValueError, match=f'--threads={threads} is not from 1'):
      bench_finetune(Shape(1, 16, 2, 2, 3), 1, [threads])


@pytest.mark.oracle
def test_table_has_both_and_the_shares():
  pytest.importorskip('trl')
  pytest.importorskip('datasets')
  said = bench_finetune(Shape(1, 16, 2, 2, 3), 1, [1])
  assert '| ttc | 1 |' in said and '| trl | 1 |' in said
  assert 'ratio' in said and 'sampling' in said and 'update' in said
