"""Nested arrays survive a file; what is none is refused in a line."""

import numpy as np
import pytest

from ttc.io.arrays import read_arrays, write_arrays


def test_what_was_written_is_read(tmp_path):
  data = {
    'x': {'a, 1': np.arange(3), 'b': np.float64(2)},
    'words': np.array(['one', 'two']),
  }
  path = tmp_path / 'new' / 'arrays.npz'
  write_arrays(path, data)
  again = read_arrays(path)
  np.testing.assert_array_equal(again['x']['a, 1'], [0, 1, 2])
  assert again['x']['b'].ndim == 0 and list(again['words']) == ['one', 'two']
  assert [p.name for p in path.parent.iterdir()] == ['arrays.npz']
  with pytest.raises(ValueError, match="name 'a/b'"):
    write_arrays(path, {'a/b': np.zeros(1)})


@pytest.mark.parametrize('content', [b'', b'no zip', b'PK\x03\x04 cut'])
def test_another_file_is_refused(tmp_path, content):
  path = tmp_path / 'arrays.npz'
  path.write_bytes(content)
  with pytest.raises(ValueError, match='not a file of arrays'):
    read_arrays(path)
