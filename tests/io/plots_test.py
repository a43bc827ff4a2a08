import unittest

import numpy as np
from absl.testing import absltest

from ttc import io
from ttc.io import plots

try:
  from matplotlib import figure
except ImportError as error:
  raise unittest.SkipTest('matplotlib is not installed') from error


class PlotScalingCurvesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.ax = figure.Figure().subplots()
    self.compute = np.array([4096.0, 1024.0, 2048.0])
    accuracy = np.array([0.5, 0.25, 0.375])
    self.curves = {
      'vote': io.PlotCurve(
        self.compute, accuracy, accuracy - 0.1, accuracy + 0.1
      ),
      'best of N': io.PlotCurve(self.compute, accuracy + 0.25),
    }

  def test_points_are_drawn_in_order_of_compute_and_in_percent(self):
    self.assertIs(io.plot_scaling_curves(self.ax, self.curves), self.ax)
    vote, best = self.ax.get_lines()
    np.testing.assert_allclose(vote.get_xdata(), [1024, 2048, 4096])
    np.testing.assert_allclose(vote.get_ydata(), [25, 37.5, 50])
    np.testing.assert_allclose(best.get_ydata(), [50, 62.5, 75])
    self.assertNotEqual(vote.get_color(), best.get_color())
    self.assertEqual(self.ax.get_xscale(), 'log')
    self.assertEqual(self.ax.xaxis.get_transform().base, 2)

  def test_the_band_lies_around_its_curve(self):
    io.plot_scaling_curves(self.ax, self.curves)
    (band,) = self.ax.collections
    corners = band.get_paths()[0].vertices
    at_end = corners[corners[:, 0] == 4096, 1]
    np.testing.assert_allclose([at_end.min(), at_end.max()], [40, 60])

  def test_names_appear_once_beside_the_curves_or_in_the_legend(self):
    io.plot_scaling_curves(self.ax, self.curves)
    self.assertCountEqual([t.get_text() for t in self.ax.texts], self.curves)
    self.assertIsNone(self.ax.get_legend())
    other = figure.Figure().subplots()
    io.plot_scaling_curves(other, self.curves, direct_labels=False)
    names = [t.get_text() for t in other.get_legend().get_texts()]
    self.assertEqual(names, list(self.curves))


class LayoutTest(absltest.TestCase):
  def test_labels_keep_their_distance_and_their_order(self):
    at = plots._spread(np.array([0.0, 0.1, 0.2, 5.0, 5.2, 20.0]), 1.0)
    np.testing.assert_allclose(at, [-0.9, 0.1, 1.1, 4.6, 5.6, 20.0])

  def test_tick_labels(self):
    labels = [plots._short_number(2.0**p) for p in (-1, 0, 9, 10, 16, 20, 41)]
    self.assertEqual(labels, ['0.5', '1', '512', '1k', '64k', '1M', '2T'])
