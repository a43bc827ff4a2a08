"""Predictions for slices against sums done by hand."""

import numpy as np
from absl.testing import absltest, parameterized

from ttc.scaling import slices
from ttc.scaling.costs import ModelShape
from ttc.scaling.hardware import Hardware

# 1000 parameters, 2 layers of 4 heads and 2 cached ones of 8 numbers: a token
# is 2 * 2 * 8 * 2 * 2 = 128 bytes in the cache.
SHAPE = ModelShape(1000, 2, 4, 2, 8)
MACHINE = Hardware(1e6, 1e5, 'made up', 1e4, 1e4, 4, 3.6)


def predict(layout, work, shape=SHAPE, **options):
  devices = slices.Slice(MACHINE, layout[0] * layout[1])
  return slices.predict(
    shape, 16, devices, slices.Layout(*layout), work, **options
  )


class PredictTest(parameterized.TestCase):
  def test_one_device_by_hand(self):
    got = predict((1, 1), slices.Work(10, 4, 3))
    # A step at position 12 of 3 rows: 2 P and 4 H Dh L = 256 a position.
    self.assertEqual(got.flops, 3 * (2000 + 256 * 12))
    # The weights once, the prompt once, and two own tokens of each row.
    self.assertEqual(got.read_bytes, 2000 + 128 * (10 + 3 * 2))
    self.assertEqual(got.param_bytes, 2000)
    self.assertEqual(got.cache_bytes, 128 * (10 + 3 * 4))
    self.assertEqual(got.link_bytes, 0)
    step = got.flops / 1e6 + got.read_bytes / 1e5
    np.testing.assert_allclose(got.step_s, step)
    prefill = (2000 * 10 + 256 * 55) / 1e6 + 2000 / 1e5
    np.testing.assert_allclose(got.prefill_s, prefill)
    seconds = prefill + 4 * step
    np.testing.assert_allclose(got.tokens_per_s, 12 / seconds)
    # 3.6 USD an hour are a thousandth of one a second.
    np.testing.assert_allclose(
      got.usd_per_million_tokens, 1e6 / 12 * seconds * 1e-3
    )

  def test_overlap_takes_the_longer(self):
    work = slices.Work(10, 4, 3)
    got = predict((1, 1), work, combine='max')
    longer = max(got.flops / 1e6, got.read_bytes / 1e5)
    np.testing.assert_allclose(got.step_s, longer)

  def test_a_split_model_sends_two_sums_a_layer(self):
    work = slices.Work(10, 4, 3)
    one, two = predict((1, 1), work), predict((1, 2), work)
    for name in ('flops', 'read_bytes', 'param_bytes', 'cache_bytes'):
      np.testing.assert_allclose(getattr(two, name), getattr(one, name) / 2)
    # A ring: 2 (M - 1) / M of 3 rows of 16 numbers, twice in each of 2 layers.
    self.assertEqual(two.link_bytes, 2 * 0.5 * 3 * 16 * 2 * 2 * 2)
    # It receives as many; 1e4 bytes a second are both ways together.
    step = one.step_s / 2 + 2 * two.link_bytes / 1e4
    np.testing.assert_allclose(two.step_s, step)
    sent = two.link_bytes / 3 * 10  # of ten tokens of the prompt, not of 3 rows
    prefill = one.prefill_s / 2 + 2 * sent / 1e4
    np.testing.assert_allclose(two.prefill_s, prefill)

  def test_heads_that_do_not_divide_are_on_every_device(self):
    work = slices.Work(10, 4, 3)
    one, four = predict((1, 1), work), predict((1, 4), work)
    self.assertEqual(four.cache_bytes, one.cache_bytes)
    self.assertEqual(four.param_bytes, one.param_bytes / 4)

  def test_copies_share_problems_and_the_fullest_counts(self):
    work = slices.Work(10, 4, 3, num_problems=3)
    one = predict((1, 1), work._replace(num_problems=2))
    two = predict((2, 1), work)
    self.assertEqual(two.step_s, one.step_s)
    np.testing.assert_allclose(two.tokens_per_s, one.tokens_per_s * 3 / 2)

  def test_experts_are_held_all_and_read_as_tokens_touch_them(self):
    mixture = SHAPE._replace(expert_params=100, num_experts=4, top_k=1)
    got = predict((1, 1), slices.Work(10, 4, 2), mixture)
    self.assertEqual(got.param_bytes, 2 * (1000 + 3 * 100))
    touched = 4 * (1 - 0.75**2)
    kv_bytes = 128 * (10 + 2 * 2)
    np.testing.assert_allclose(
      got.read_bytes, 2 * (1000 + 100 * (touched - 1)) + kv_bytes
    )

  def test_a_budget_reads_less_of_long_contexts(self):
    long = slices.Work(4000, 4, 1)
    dense = predict((1, 1), long)
    sparse = predict((1, 1), long._replace(kv_budget=64))
    self.assertLess(sparse.read_bytes, 0.1 * dense.read_bytes)
    self.assertEqual(sparse.cache_bytes, dense.cache_bytes)

  def test_the_best_is_the_fastest_that_fits(self):
    work = slices.Work(10, 4, 3)
    found = [predict((1, m), work) for m in (1, 2)]
    self.assertEqual(slices.best(found), max(found, key=lambda p: p[-2]))
    self.assertIsNone(slices.best([p._replace(fits=False) for p in found]))
    big = predict((1, 1), work._replace(num_samples=40))
    self.assertFalse(big.fits)  # 2000 + 128 * 170 bytes of 9000

  def test_a_layout_of_another_size_is_refused(self):
    with self.assertRaisesRegex(ValueError, 'has not the 8 devices'):
      slices.predict(
        SHAPE,
        16,
        slices.Slice(MACHINE, 8),
        slices.Layout(2, 2),
        slices.Work(1, 1, 1),
      )


class SliceTest(parameterized.TestCase):
  @parameterized.parameters(
    ('v5e-8', 8), ('v5p-8', 4), ('h100-16', 16), ('v6e-256', 256)
  )
  def test_names(self, name, count):
    self.assertEqual(slices.parse_slice(name).num_devices, count)

  @parameterized.parameters('v5e', 'v5e-0', 'v5e-x', 'a100-8', 'v5p-7', '')
  def test_bad_names(self, name):
    with self.assertRaisesRegex(ValueError, repr(name)):
      slices.parse_slice(name)

  def test_layouts(self):
    devices = slices.Slice(MACHINE, 8)
    got = [tuple(x) for x in slices.layouts(SHAPE, devices)]
    # Four heads and four linked devices: no copy on eight.
    self.assertEqual(got, [(8, 1), (4, 2), (2, 4)])
    many = slices.Slice(MACHINE, 10**18)  # counted without going through all
    self.assertLen(list(slices.layouts(SHAPE, many)), 3)


if __name__ == '__main__':
  absltest.main()
