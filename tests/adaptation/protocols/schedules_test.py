import functools

import jax
import numpy as np
from absl.testing import absltest

from ttc.adaptation import protocols

KEY = jax.random.key(0)
SHUFFLED = functools.partial(protocols.shuffled, num_items=23)


def kept(schedule, values):
  return values[schedule.mask]


class SchedulesTest(absltest.TestCase):
  def test_each_shift_restarts_once_and_shows_everything_once(self):
    schedule = protocols.reset_each_shift(KEY, SHUFFLED, 3, 5)
    self.assertEqual(schedule.items.shape, (15, 5))
    np.testing.assert_array_equal(np.flatnonzero(schedule.restarts), [0, 5, 10])
    for domain in range(3):
      items = kept(schedule, schedule.items)[
        kept(schedule, schedule.domains) == domain
      ]
      np.testing.assert_array_equal(np.sort(items), np.arange(23))
    # 23 = 4 * 5 + 3: two rows of the last batch only fill it up.
    np.testing.assert_array_equal(
      schedule.mask[4], [True, True, True, False, False]
    )

  def test_a_sweep_of_batch_sizes_shows_one_order(self):
    of_size = lambda size: protocols.reset_each_shift(KEY, SHUFFLED, 2, size)
    first = of_size(1)
    for size in (2, 4, 16, 64):
      found = of_size(size)
      np.testing.assert_array_equal(
        kept(found, found.items), kept(first, first.items)
      )

  def test_continual_never_restarts_nor_mixes(self):
    schedule = protocols.continual(KEY, SHUFFLED, 3, 5, num_rounds=2)
    self.assertFalse(schedule.restarts.any())
    np.testing.assert_array_equal(
      schedule.domains, schedule.domains[:, :1].repeat(5, axis=1)
    )
    np.testing.assert_array_equal(schedule.domains[::5, 0], [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(schedule.visits, np.arange(6).repeat(5))
    self.assertFalse((schedule.items[:15] == schedule.items[15:]).all())

  def test_gradual_goes_up_and_down(self):
    schedule = protocols.gradual(KEY, SHUFFLED, 2, 23)
    severities = [0, 1, 2, 3, 4, 3, 2, 1, 0]
    np.testing.assert_array_equal(
      schedule.domains[:, 0], [*severities, *(5 + s for s in severities)]
    )

  def test_recurring_repeats(self):
    schedule = protocols.recurring(KEY, SHUFFLED, 2, 5, num_rounds=3)
    for leaf in (schedule.items, schedule.domains, schedule.mask):
      np.testing.assert_array_equal(leaf[:10], leaf[20:])
    np.testing.assert_array_equal(schedule.visits, np.arange(6).repeat(5))

  def test_mixed_mixes(self):
    schedule = protocols.mixed(KEY, SHUFFLED, 4, 10)
    self.assertGreater(len(np.unique(schedule.domains[0])), 1)
    pairs = kept(schedule, schedule.domains) * 23 + kept(
      schedule, schedule.items
    )
    np.testing.assert_array_equal(np.sort(pairs), np.arange(4 * 23))
    self.assertEqual(schedule.mask.sum(), 4 * 23)

  def test_clean_visits_lie_between(self):
    schedule = protocols.with_clean_visits(KEY, SHUFFLED, 2, 23)
    np.testing.assert_array_equal(schedule.domains[:, 0], [0, 2, 1, 2])

  def test_gather_takes_images_of_the_domain(self):
    images = np.arange(2 * 23, dtype=np.uint8).reshape(2, 23, 1, 1, 1)
    labels = np.arange(23, dtype=np.int32) % 7
    schedule = protocols.continual(KEY, SHUFFLED, 2, 5)
    stream, given = protocols.gather(images, labels, schedule)
    self.assertEqual(stream.images.shape, (10, 5, 1, 1, 1))
    np.testing.assert_allclose(
      255 * stream.images[..., 0, 0, 0],
      23 * schedule.domains + schedule.items,
      atol=1e-3,
    )
    np.testing.assert_array_equal(given, schedule.items % 7)

  def test_no_images_in_a_batch(self):
    with self.assertRaisesRegex(ValueError, 'batch_size=0'):
      protocols.continual(KEY, SHUFFLED, 2, 0)


if __name__ == '__main__':
  absltest.main()
