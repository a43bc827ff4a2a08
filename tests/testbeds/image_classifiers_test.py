import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc.testbeds import image_classifiers
from ttc.testbeds.image_classifiers import ClassifierRecipe

TINY = ClassifierRecipe(
  dataset='painted', num_epochs=0.5, batch_size=32, widths=(8, 8, 8)
)


def test_steps_and_strides_of_a_recipe():
  assert ClassifierRecipe().num_steps == 1875
  assert TINY.num_steps == 62  # half of 4000 images
  assert ClassifierRecipe().network.num_stages == 5


def test_domains_are_corrupted_once_and_kept(tmp_path):
  test = image_classifiers.grey(image_classifiers.read('painted', 'test'))
  pixels = np.ascontiguousarray(test[:4])
  shifts = [('clean', 0), ('contrast', 5), ('contrast', 1)]
  found = image_classifiers.corrupted(pixels, shifts, 'small', 0, tmp_path)
  assert found.shape == (3, 4, 28, 28, 1) and found.dtype == np.uint8
  np.testing.assert_array_equal(found[0], pixels)
  spread = found.std(axis=(2, 3, 4))  # of each image
  np.testing.assert_allclose(spread[1] / spread[0], 0.15, rtol=0.05)
  np.testing.assert_allclose(spread[2] / spread[0], 0.83, rtol=0.05)
  kept = sorted(path.name for path in tmp_path.glob('corrupted-*/*'))
  assert kept == ['contrast_1.npy', 'contrast_5.npy']
  again = image_classifiers.corrupted(pixels, shifts, 'small', 0, tmp_path)
  np.testing.assert_array_equal(found, again)
  # Other images are not taken for these.
  other = image_classifiers.corrupted(
    pixels[::-1], shifts[:2], 'small', 0, tmp_path
  )
  np.testing.assert_array_equal(other[0], pixels[::-1])
  assert not np.array_equal(other[1], found[1])


def test_nothing_is_corrupted_before_all_names_are_known(tmp_path):
  pixels = np.zeros((1, 28, 28, 1), np.uint8)
  shifts = [('contrast', 5), ('rain', 5)]
  with pytest.raises(ValueError, match="corruption 'rain', expected one of"):
    image_classifiers.corrupted(pixels, shifts, 'small', 0, tmp_path)
  assert not list(tmp_path.iterdir())


def test_painted_splits_share_no_image():
  train, test = (
    image_classifiers.read('painted', x) for x in ('train', 'test')
  )
  assert (len(train.labels), len(test.labels)) == (4000, 1000)
  named = lambda found: {
    hashlib.sha256(x.tobytes()).digest() for x in found.images
  }
  assert not named(train) & named(test)


@pytest.mark.slow
def test_a_source_network_learns_is_kept_and_goes_on(tmp_path):
  learned = image_classifiers.trained_classifier(TINY, 0, tmp_path)
  test = image_classifiers.read('painted', 'test')
  x = jnp.asarray(image_classifiers.grey(test), jnp.float32) / 255
  logits = TINY.network.apply(learned, x, 'batch').logits
  right = np.argmax(logits, axis=-1) == test.labels
  assert right.mean() > 0.3  # of ten classes
  again = image_classifiers.trained_classifier(TINY, 0, tmp_path)
  jax.tree.map(np.testing.assert_array_equal, learned, again)
  # Cut after 20 steps, it ends with the same parameters.
  data = image_classifiers.read('painted', 'train')
  state = image_classifiers.start_training(TINY, 0)
  state, losses = next(image_classifiers.train(TINY, state, data, 20))
  assert losses.shape == (20,)
  *_, (state, _) = image_classifiers.train(TINY, state, data, 20)
  whole = image_classifiers.start_training(TINY, 0)
  *_, (whole, _) = image_classifiers.train(TINY, whole, data, 20)
  jax.tree.map(np.testing.assert_array_equal, state.variables, whole.variables)
