"""Programs of tests are those of their arguments."""

import numpy as np
from compiled import compiled


@compiled
def half(x, by):
  return x // by if isinstance(by, int) else x / by


def test_equal_arguments_of_other_types_are_others():
  x = np.array([1, 3])
  assert half(x, 2).tolist() == [0, 1]
  assert half(x, 2.0).tolist() == [0.5, 1.5]
  assert half(x, by=2).tolist() == [0, 1]
