"""Pictures of states: environments say what is there, Pillow draws it.

An environment's `draw` returns a `Picture`: a window of the plane and a list of
shapes in its coordinates, the first one lowest. `render` makes pixels of it,
`save_gif` and `save_strip` a file of an episode. Needs the extra `plots`.
"""

import io
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import UInt8

Color: TypeAlias = tuple[int, int, int] | str  # RGB in 0..255, or '#rrggbb'
Point: TypeAlias = tuple[Any, Any]  # x, y: any real numbers

# Distinguishable also without colour vision (Okabe and Ito, 2008).
AGENT_COLORS = (
  '#0072b2',
  '#d55e00',
  '#009e73',
  '#cc79a7',
  '#e69f00',
  '#56b4e9',
  '#f0e442',
  '#000000',
)
_OVERSAMPLING = 3  # drawn so much larger, then averaged


class Circle(NamedTuple):
  """A disc."""

  center: Point
  radius: float
  color: Color
  outline: Color | None = None


class Polygon(NamedTuple):
  """A filled polygon."""

  points: Sequence[Point]
  color: Color
  outline: Color | None = None


class Line(NamedTuple):
  """A polyline; its width is a share of the window's."""

  points: Sequence[Point]
  color: Color
  width: float = 0.005


class Text(NamedTuple):
  """A line of text around a point; its size is a share of the window's."""

  at: Point
  text: str
  color: Color = '#000000'
  size: float = 0.04


Shape: TypeAlias = Circle | Polygon | Line | Text


class Picture(NamedTuple):
  """Shapes in a window of the plane; y points up.

  Attributes:
    low: lower left corner.
    high: upper right corner.
    shapes: the first one lowest.
    background: colour.
  """

  low: Point
  high: Point
  shapes: Sequence[Shape]
  background: Color = '#ffffff'


def rectangle(
  low: Point, high: Point, color: Color, outline: Color | None = None
) -> Polygon:
  """An upright rectangle between two corners."""
  (x0, y0), (x1, y1) = low, high
  return Polygon(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), color, outline)


def render(picture: Picture, width: int = 320) -> UInt8[np.ndarray, 'h w 3']:
  """The pixels of a picture.

  Args:
    picture: from an environment's `draw`.
    width: in pixels; the height follows from the window.

  Returns:
    RGB, the first row on top.

  Raises:
    ImportError: naming the extra, without Pillow.
    ValueError: on no pixels, or an empty window.
  """
  if width < 1:
    raise ValueError(f'render: width={width}, expected at least 1 pixel')
  if not (
    picture.low[0] < picture.high[0] and picture.low[1] < picture.high[1]
  ):
    raise ValueError(
      f'render: the window from {picture.low} to {picture.high} is empty'
    )
  try:
    from PIL import Image, ImageDraw, ImageFont
  except ImportError:
    raise ImportError(
      "pictures of environments need Pillow: pip install 'ttc-jax[plots]'"
    ) from None
  (x0, y0), (x1, y1) = picture.low, picture.high
  scale = _OVERSAMPLING * width / (x1 - x0)
  height = max(1, round(width * (y1 - y0) / (x1 - x0)))
  size = (_OVERSAMPLING * width, _OVERSAMPLING * height)
  image = Image.new('RGB', size, picture.background)
  canvas = ImageDraw.Draw(image)
  place = lambda p: ((float(p[0]) - x0) * scale, (y1 - float(p[1])) * scale)
  edge = _OVERSAMPLING
  for shape in picture.shapes:
    if isinstance(shape, Circle):
      (x, y), r = place(shape.center), shape.radius * scale
      box = (x - r, y - r, x + r, y + r)
      canvas.ellipse(box, shape.color, shape.outline, edge)
    elif isinstance(shape, Polygon):
      points = [place(p) for p in shape.points]
      canvas.polygon(points, shape.color, shape.outline, edge)
    elif isinstance(shape, Line):
      points = [place(p) for p in shape.points]
      canvas.line(points, shape.color, max(1, round(shape.width * size[0])))
    else:
      font = ImageFont.load_default(max(1.0, shape.size * size[0]))
      canvas.text(place(shape.at), shape.text, shape.color, font, anchor='mm')
  return np.asarray(image.resize((width, height), Image.Resampling.BOX))


def save_gif(
  frames: Sequence[UInt8[np.ndarray, 'h w 3']],
  path: str | os.PathLike[str] | io.BytesIO,
  frames_per_second: float = 10.0,
) -> None:
  """Writes an animation that repeats for ever, the last frame held a second.

  Raises:
    ValueError: on no frames.
  """
  if not frames:
    raise ValueError('save_gif: frames is empty, expected at least 1')
  from PIL import Image

  images = [Image.fromarray(frame) for frame in frames]
  duration = [round(1000 / frames_per_second)] * len(images)
  duration[-1] = 1000
  images[0].save(
    path,
    format='GIF',
    save_all=True,
    append_images=images[1:],
    duration=duration,
    loop=0,
  )


def save_strip(
  frames: Sequence[UInt8[np.ndarray, 'h w 3']],
  path: str | os.PathLike[str] | io.BytesIO,
  columns: int = 6,
) -> None:
  """Writes frames of one size side by side, in rows, read like text.

  Raises:
    ValueError: on no frames or columns.
  """
  if not frames or columns < 1:
    raise ValueError(
      f'save_strip: {len(frames)} frames in {columns} columns, expected at '
      'least 1 of each'
    )
  from PIL import Image

  gap, columns = 4, min(columns, len(frames))
  height, width, _ = frames[0].shape
  rows = -(-len(frames) // columns)
  sheet = np.full(
    (rows * (height + gap) - gap, columns * (width + gap) - gap, 3),
    255,
    np.uint8,
  )
  for index, frame in enumerate(frames):
    y, x = (
      (index // columns) * (height + gap),
      (index % columns) * (width + gap),
    )
    sheet[y : y + height, x : x + width] = frame
  Image.fromarray(sheet).save(path, format='PNG')
