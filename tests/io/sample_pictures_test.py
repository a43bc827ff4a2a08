"""Pictures of samples, and of searches for them."""

import numpy as np
import pytest

from ttc.io import sample_pictures, search_plots


def test_a_page_is_dark_ink_on_white_paper():
  images = np.full((2, 3, 4, 5), -1.0)
  images[1, 2, 0, 1] = 1.0
  images[0, 0, 3, 4] = np.nan  # half of the way
  sheet = sample_pictures.page(images)
  assert sheet.shape == (2 * (4 + 2) + 2, 3 * (5 + 2) + 2)
  # Row 1, column 2, behind gaps of two pixels.
  assert sheet[2 + 6, 2 + 14 + 1] == 0
  assert sheet[2 + 3, 2 + 4] == 128
  sheet[8, 17] = sheet[5, 6] = 255
  inside = np.isin(np.arange(14) % 6, (0, 1), invert=True)[:, None]
  inside = inside & np.isin(np.arange(23) % 7, (0, 1), invert=True)
  np.testing.assert_array_equal(sheet, np.where(inside, 255, 232))


def test_files_are_pictures(tmp_path):
  image = pytest.importorskip('PIL.Image')
  rng = np.random.default_rng(0)
  sample_pictures.save_grid(tmp_path / 'a.png', rng.normal(size=(2, 3, 8, 8)))
  with image.open(tmp_path / 'a.png') as opened:
    assert opened.size == (3 * 32, 3 * 22)
  videos = rng.normal(size=(1, 2, 5, 8, 8))
  sample_pictures.save_gif(tmp_path / 'a.gif', videos, scale=1)
  with image.open(tmp_path / 'a.gif') as opened:
    assert opened.n_frames == 5


def test_curves_and_trees_are_drawn(tmp_path):
  pytest.importorskip('matplotlib')
  curve = ([10, 20], np.arange(6.0).reshape(2, 3))
  panels = {'reward': {'one': curve, 'two': curve}, 'judged': {'one': curve}}
  search_plots.save_search_curves(tmp_path / 'c.png', panels, title='all')
  levels = [
    (np.array([0, 0]), np.zeros(2), np.array([True, True])),
    (np.array([0, 0, 1]), np.arange(3.0), np.array([True, False, True])),
  ]
  pictures = [np.zeros((2, 8, 8)), np.zeros((3, 8, 8))]
  search_plots.save_tree(tmp_path / 't.png', levels, pictures)
  for name in 'ct':
    assert (tmp_path / f'{name}.png').stat().st_size > 1000
