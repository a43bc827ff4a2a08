"""Pictures: what is where, and files that can be read again."""

import os
import tempfile

import numpy as np
from absl.testing import absltest

from ttc import envs
from ttc.envs import rendering
from ttc.envs.rendering import Circle, Line, Picture, Polygon, Text, rectangle

try:
  from PIL import Image
except ImportError:
  Image = None

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


@absltest.skipIf(Image is None, 'without the extra plots')
class RenderTest(absltest.TestCase):
  def test_the_window_maps_to_pixels_with_y_up(self):
    picture = Picture(
      (-1.0, 0.0),
      (3.0, 2.0),
      [
        rectangle((-1, 1), (0, 2), RED),
        Circle((2.5, 0.5), 0.5, GREEN),
      ],
    )
    pixels = envs.render(picture, 80)
    self.assertEqual(pixels.shape, (40, 80, 3))
    self.assertEqual(pixels.dtype, np.uint8)
    is_red = np.all(pixels == RED, -1)
    np.testing.assert_array_equal(np.argwhere(is_red).min(0), [0, 0])
    self.assertLessEqual(np.abs(np.argwhere(is_red).max(0) - 19).max(), 1)
    ys, xs = np.nonzero(np.all(pixels == GREEN, -1))
    self.assertAlmostEqual(ys.mean(), 29.5, delta=0.5)
    self.assertAlmostEqual(xs.mean(), 69.5, delta=0.5)
    # pi r^2 with r of 10 pixels.
    self.assertAlmostEqual(len(xs), 314, delta=40)
    self.assertEqual(tuple(pixels[30, 10]), WHITE)

  def test_later_shapes_cover_earlier_ones(self):
    shapes = [rectangle((0, 0), (1, 1), RED), Circle((0.5, 0.5), 0.2, GREEN)]
    pixels = envs.render(Picture((0, 0), (1, 1), shapes), 40)
    self.assertEqual(tuple(pixels[20, 20]), GREEN)
    pixels = envs.render(Picture((0, 0), (1, 1), shapes[::-1]), 40)
    self.assertEqual(tuple(pixels[20, 20]), RED)

  def test_lines_texts_outlines_and_backgrounds(self):
    shapes = [
      Line(((0.1, 0.1), (0.9, 0.1)), RED, 0.05),
      Text((0.5, 0.7), 'word', '#0000ff', 0.2),
      Polygon(((0.1, 0.3), (0.3, 0.3), (0.2, 0.5)), WHITE, '#000000'),
    ]
    picture = Picture((0, 0), (1, 1), shapes, '#eeeeee')
    pixels = envs.render(picture, 100).astype(int)
    self.assertEqual(tuple(pixels[1, 1]), (238, 238, 238))
    self.assertEqual(tuple(pixels[90, 50]), RED)
    blue = np.argwhere(pixels[..., 2] - pixels[..., 0] > 100)
    self.assertGreater(len(blue), 50)
    np.testing.assert_allclose(blue.mean(0), [30, 50], atol=5)
    self.assertEqual(tuple(pixels[65, 20]), WHITE)
    self.assertLess(pixels[50:72, 8:32].min(), 60)

  def test_bad_sizes_are_named(self):
    picture = Picture((0, 0), (1, 1), [])
    with self.assertRaisesRegex(ValueError, 'width=0'):
      envs.render(picture, 0)
    with self.assertRaisesRegex(ValueError, 'is empty'):
      envs.render(Picture((0, 0), (0, 1), []))
    with self.assertRaisesRegex(ValueError, 'frames is empty'):
      envs.save_gif([], 'never.gif')
    with self.assertRaisesRegex(ValueError, '0 frames'):
      envs.save_strip([], 'never.png')

  def test_files(self):
    frames = [
      envs.render(Picture((0, 0), (2, 1), [], (40 * i, 0, 0)), 20)
      for i in range(5)
    ]
    with tempfile.TemporaryDirectory() as folder:
      path = os.path.join(folder, 'episode.gif')
      envs.save_gif(frames, path, frames_per_second=4.0)
      with Image.open(path) as image:
        self.assertEqual((image.n_frames, image.size), (5, (20, 10)))
        self.assertEqual(image.info['duration'], 250)
        image.seek(4)
        self.assertEqual(image.info['duration'], 1000)
        np.testing.assert_allclose(
          image.convert('RGB').getpixel((5, 5))[0], 160, atol=3
        )
      path = os.path.join(folder, 'strip.png')
      envs.save_strip(frames, path, columns=3)
      with Image.open(path) as image:
        sheet = np.asarray(image)
    self.assertEqual(sheet.shape, (2 * 14 - 4, 3 * 24 - 4, 3))
    np.testing.assert_array_equal(sheet[14:24, 24:44], frames[4])
    np.testing.assert_array_equal(sheet[10:14], 255)
    np.testing.assert_array_equal(sheet[14:, 48:], 255)  # an empty place

  def test_colours_differ(self):
    colors = rendering.AGENT_COLORS
    self.assertLen(set(colors), len(colors))


if __name__ == '__main__':
  absltest.main()
