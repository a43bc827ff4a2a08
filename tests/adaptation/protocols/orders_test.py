from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

from ttc.adaptation import protocols
from ttc.adaptation.protocols import orders

KEY = jax.random.key(0)
LABELS = np.tile(np.arange(5, dtype=np.int32), 60)


def runs_of(values):
  """Lengths of runs of equal values."""
  ends = np.flatnonzero(np.diff(values)) + 1
  return np.diff([0, *ends, len(values)])


class OrdersTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('shuffled', lambda key: protocols.shuffled(key, 300)),
    ('sorted', lambda key: protocols.sorted_by_class(key, LABELS)),
    ('blocks', lambda key: protocols.blocks(key, LABELS, 7)),
    ('dirichlet', lambda key: protocols.dirichlet(key, LABELS, 0.5)),
  )
  def test_every_image_once_and_its_place_by_the_key(self, order):
    found = order(KEY)
    np.testing.assert_array_equal(np.sort(found), np.arange(300))
    np.testing.assert_array_equal(order(KEY), found)
    self.assertFalse(np.array_equal(order(jax.random.key(1)), found))

  def test_sorted_is_five_runs(self):
    order = protocols.sorted_by_class(KEY, LABELS)
    np.testing.assert_array_equal(runs_of(LABELS[order]), [60] * 5)
    self.assertFalse((np.diff(order[:60]) > 0).all())  # shuffled within

  def test_blocks_are_runs_of_their_length(self):
    labels = LABELS[protocols.blocks(KEY, LABELS, 12)]
    for piece in np.split(labels, 25):
      self.assertLen(np.unique(piece), 1)
    self.assertGreater(len(runs_of(labels)), 12)
    with self.assertRaisesRegex(ValueError, 'length=0'):
      protocols.blocks(KEY, LABELS, 0)

  def test_small_delta_is_correlated_and_large_is_not(self):
    # At least one fifth of neighbours agree anyway.
    agree = lambda delta: np.mean(
      np.diff(LABELS[protocols.dirichlet(KEY, LABELS, delta)]) == 0
    )
    sizes = [
      runs_of(LABELS[protocols.dirichlet(KEY, LABELS, delta)])
      for delta in (0.2, 1000.0)
    ]
    self.assertGreater(sizes[0].max(), 30)
    # Five chunks, each of five runs of about 12.
    self.assertBetween(len(sizes[1]), 21, 25)
    self.assertLess(sizes[1].max(), 25)
    self.assertGreater(agree(0.2), agree(1000.0))

  def test_dirichlet_gives_up(self):
    with (
      mock.patch.object(orders, '_DRAWS', 10),
      self.assertRaisesRegex(ValueError, '40 images.*10 draws'),
    ):
      protocols.dirichlet(KEY, LABELS[:40], 1.0)
    with self.assertRaisesRegex(ValueError, 'delta=0'):
      protocols.dirichlet(KEY, LABELS, 0.0)

  def test_priors(self):
    forward = protocols.exponential_prior(4, 27.0)
    np.testing.assert_allclose(forward * 40, [27, 9, 3, 1], rtol=1e-5)
    np.testing.assert_array_equal(
      protocols.exponential_prior(4, 27.0, backward=True), forward[::-1]
    )
    np.testing.assert_allclose(protocols.exponential_prior(4, 1.0), 0.25)
    zipf = protocols.zipf_prior(3)
    np.testing.assert_allclose(zipf / zipf[0], [1, 1 / 4, 1 / 9], rtol=1e-5)

  def test_label_shift_takes_all_of_the_commonest(self):
    prior = np.array([4, 2, 2, 1, 0], np.float32) / 9
    order = protocols.label_shift(KEY, LABELS, prior)
    self.assertLen(np.unique(order), len(order))
    np.testing.assert_array_equal(
      np.bincount(LABELS[order], minlength=5), [60, 30, 30, 15, 0]
    )
    self.assertGreater(len(runs_of(LABELS[order])), 40)
    with self.assertRaisesRegex(ValueError, 'label 4, expected 0 to 1'):
      protocols.label_shift(KEY, LABELS, np.full(2, 0.5, np.float32))

  def test_moving_prior_swings(self):
    first = np.array([8, 1, 1, 0, 0], np.float32) / 10
    order = protocols.moving_label_shift(KEY, LABELS, first, first[::-1], 20)
    self.assertLen(np.unique(order), len(order))
    segments = LABELS[order].reshape(-1, 20)
    counts = [np.bincount(x, minlength=5).tolist() for x in segments[:4]]
    self.assertEqual(counts[0], [16, 2, 2, 0, 0])
    self.assertEqual(counts[2], [0, 0, 2, 2, 16])
    self.assertEqual(counts[1], counts[3])
    self.assertEqual(counts[1], [8, 1, 2, 1, 8])
    with self.assertRaisesRegex(ValueError, 'length=400'):
      protocols.moving_label_shift(KEY, LABELS, first, first, 400)


if __name__ == '__main__':
  absltest.main()
