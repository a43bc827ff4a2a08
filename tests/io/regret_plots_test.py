import numpy as np
import pytest

from ttc.io import regret_plots


def test_mean_and_band_of_the_runs():
  figure = pytest.importorskip('matplotlib.figure')
  ax = figure.Figure().subplots()
  runs = np.array([[0.4, 0.2], [0.2, 0.2]])
  regret_plots.plot_regret(ax, {'random': runs, 'greedy': runs / 2}, title='A')
  random, greedy = ax.get_lines()
  np.testing.assert_allclose(random.get_xdata(), [1, 2])
  np.testing.assert_allclose(random.get_ydata(), [30, 20])
  np.testing.assert_allclose(greedy.get_ydata(), [15, 10])
  # Two standard errors of .4 and .2 are 2 * .1414 / sqrt(2) = .2.
  corners = ax.collections[0].get_paths()[0].vertices
  at_first = corners[corners[:, 0] == 1, 1]
  np.testing.assert_allclose([at_first.min(), at_first.max()], [10, 50])
