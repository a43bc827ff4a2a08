import sys
import types

import numpy as np
import pytest

from ttc.tasks import corrupted_images


@pytest.fixture
def release(tmp_path):
  """Two images of each severity, whose value is the severity."""
  values = np.repeat(np.arange(1, 6, dtype=np.uint8), 2)
  images = np.broadcast_to(values[:, None, None, None], (10, 4, 4, 3))
  np.save(tmp_path / 'fog.npy', images)
  np.save(tmp_path / 'labels.npy', np.tile([3, 9], 5).astype(np.uint8))
  return tmp_path


def prepared(monkeypatch, records):
  """A stand-in for tensorflow-datasets; returns what it is asked for."""
  asked = []

  def data_source(name, split, download):
    asked.append((name, split, download))
    return records

  fake = types.SimpleNamespace(data_source=data_source)
  monkeypatch.setitem(sys.modules, 'tensorflow_datasets', fake)
  return asked


def test_the_two_exceptions_of_names():
  name = corrupted_images.corruption_name
  assert name('cifar10', 'glass_blur') == 'frosted_glass_blur'
  assert name('cifar10', 'elastic_transform') == 'elastic'
  assert name('imagenet2012', 'glass_blur') == 'glass_blur'
  assert name('imagenet2012', 'elastic_transform') == 'elastic_transform'
  for other in ('fog', 'saturate', 'speckle_noise'):
    assert name('cifar10', other) == other


def test_a_severity_of_the_release(release):
  found = corrupted_images.read_directory(release, 'fog', 4, 10)
  assert found.images.shape == (2, 4, 4, 3) and found.images.dtype == np.uint8
  assert (found.images == 4).all()
  np.testing.assert_array_equal(found.labels, [3, 9])


@pytest.mark.parametrize(
  ('dataset', 'domain', 'severity', 'asked'),
  [
    ('cifar10', 'glass_blur', 5, 'cifar10_corrupted/frosted_glass_blur_5'),
    ('imagenet2012', 'fog', 1, 'imagenet2012_corrupted/fog_1'),
    ('mnist', 'canny_edges', None, 'mnist_corrupted/canny_edges'),
    ('domainnet', 'sketch', None, 'domainnet/sketch'),
  ],
)  # fmt: skip
def test_what_tensorflow_datasets_is_asked_for(
  monkeypatch, dataset, domain, severity, asked
):
  image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
  records = [{'image': image + i, 'label': i} for i in range(3)]
  calls = prepared(monkeypatch, records)
  found = corrupted_images.read_domain(dataset, domain, severity, num_items=2)
  split = 'validation' if dataset == 'imagenet2012' else 'test'
  assert calls == [(asked, split, False)]
  np.testing.assert_array_equal(found.labels, [0, 1])
  np.testing.assert_array_equal(found.images[1], image + 1)


def test_images_of_many_shapes_are_resized(monkeypatch):
  pytest.importorskip('PIL')
  grey = np.zeros((6, 8, 3), np.uint8)
  grey[:, 1:7] = 90  # the square in the middle
  records = [
    {'image': grey, 'label': 1},
    {'image': grey[:, 1:7], 'label': 2},
  ]
  prepared(monkeypatch, records)
  found = corrupted_images.read_domain('domainnet', 'real', side=3)
  assert found.images.shape == (2, 3, 3, 3)
  assert (found.images == 90).all()
  with pytest.raises(ValueError, match=r'2 shapes.*expected a side'):
    corrupted_images.read_domain('domainnet', 'real')


def test_floats_become_bytes():
  images = np.full((2, 3, 3), 0.5)
  found = corrupted_images.check_images(images, np.array([0, 1]), 2, 'mine')
  assert found.images.shape == (2, 3, 3, 1)
  assert (found.images == 128).all()


@pytest.mark.parametrize(
  ('images', 'labels', 'message'),
  [
    (np.full((2, 3, 3), np.nan), [0, 1], 'mine: value nan in image 0'),
    (np.array([[[0.0]], [[1.5]]]), [0, 1], 'value 1.5 in image 1'),
    (np.zeros((2, 3, 3), int), [0, 1], 'expected uint8 or floats'),
    (np.zeros((2, 3, 3, 2)), [0, 1], 'expected .n, H, W.'),
    (np.zeros((2, 3, 3)), [0, 4], 'label 4 of image 1, expected 0 to 3'),
    (np.zeros((2, 3, 3)), [-1, 0], 'label -1 of image 0'),
    (np.zeros((2, 3, 3)), [0.0, 1.0], 'float64, expected .2,. whole numbers'),
    (np.zeros((2, 3, 3)), [0], 'labels .1,. of'),
  ],
)
def test_bad_images_are_named(images, labels, message):
  with pytest.raises(ValueError, match=message) as error:
    corrupted_images.check_images(images, np.array(labels), 4, 'mine')
  assert '\n' not in str(error.value)


def test_what_is_not_there_is_named(release, monkeypatch):
  read = corrupted_images.read_directory
  with pytest.raises(ValueError, match="'rain', expected one of fog"):
    read(release, 'rain', 5, 10)
  with pytest.raises(ValueError, match='severity=0, expected 1'):
    read(release, 'fog', 0, 10)
  with pytest.raises(ValueError, match='label 9 of image 1, expected 0 to 8'):
    read(release, 'fog', 5, 9)
  with pytest.raises(FileNotFoundError, match=r'labels\.npy'):
    read(release / 'nowhere', 'fog', 5, 10)
  np.save(release / 'snow.npy', np.zeros((7, 4, 4, 3), np.uint8))
  with pytest.raises(ValueError, match='7 images and 10 labels'):
    read(release, 'snow', 5, 10)
  domain = corrupted_images.read_domain
  with pytest.raises(ValueError, match="'cifar', expected one of cifar10"):
    domain('cifar', 'fog', 5)
  with pytest.raises(
    ValueError, match="'rain', expected one of gaussian_noise"
  ):
    domain('cifar10', 'rain', 5)
  with pytest.raises(ValueError, match='severity=None'):
    domain('cifar10', 'fog')
  with pytest.raises(ValueError, match='severity=5: mnist has no severities'):
    domain('mnist', 'fog', 5)
  monkeypatch.setitem(sys.modules, 'tensorflow_datasets', None)
  with pytest.raises(
    FileNotFoundError, match='tfds build cifar10_corrupted/fog_5'
  ):
    domain('cifar10', 'fog', 5)
