"""Videos of a digit that flies about and bounces off the walls.

A digit of MNIST, 14 x 14, in a frame of 28 x 28; it moves at constant speed and
is thrown back by the walls. 16 frames in four units of four: a model draws one
unit, its channels, given the one before. What is wrong with a video can be
read: what it shows is no digit of its class, or it does not fly straight.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

SIDE, DIGIT = 28, 14
NUM_UNITS, UNIT = 4, 4  # units of a video, frames of a unit
NUM_FRAMES = NUM_UNITS * UNIT
ROOM = SIDE - DIGIT  # pixels that a corner moves in
_SLOWEST, _FASTEST = 0.8, 2.2  # pixels a frame


def shrink(images: UInt8[np.ndarray, 'n 28 28']) -> Float[Array, 'n 14 14']:
  """Digits of half the size, in 0..1."""
  blocks = np.asarray(images, np.float32).reshape(-1, DIGIT, 2, DIGIT, 2)
  return jnp.asarray(blocks.mean(axis=(2, 4)) / 255)


def draw_corners(key: PRNGKeyArray) -> Float[Array, 'T 2']:
  """The path of a digit's upper left corner; the key is consumed."""
  place_key, angle_key, speed_key = jax.random.split(key, 3)
  start = jax.random.uniform(place_key, (2,), jnp.float32, 0.0, 2.0 * ROOM)
  angle = jax.random.uniform(angle_key, (), jnp.float32, 0.0, 2 * jnp.pi)
  speed = jax.random.uniform(speed_key, (), jnp.float32, _SLOWEST, _FASTEST)
  heading = speed * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
  time = jnp.arange(NUM_FRAMES, dtype=jnp.float32)[:, None]
  return bounce(start + time * heading)


def bounce(free: Float[Array, '*A']) -> Float[Array, '*A']:
  """Where it is between the walls, by where it would be without."""
  return ROOM - jnp.abs(jnp.mod(free, 2 * ROOM) - ROOM)


def film(
  digit: Float[Array, '14 14'], corners: Float[Array, 'T 2']
) -> Float[Array, 'T 28 28']:
  """Frames in [-1, 1], moved by shares of pixels."""

  def frame(corner):
    place = jnp.arange(SIDE, dtype=jnp.float32)
    # Tent weights `[28, 14]` of rows, and of columns: bilinear interpolation.
    rows, columns = (
      jnp.maximum(0, 1 - jnp.abs(place[:, None] - at - jnp.arange(DIGIT)))
      for at in corner
    )
    return 2 * (rows @ digit @ columns.T) - 1

  return jax.vmap(frame)(corners)


def draw_videos(
  key: PRNGKeyArray, digits: Float[Array, 'n 14 14'], num_videos: int
) -> tuple[Float[Array, 'N T 28 28'], Int[Array, ' N']]:
  """Videos, and which digit each shows; the key is consumed."""

  def one(key):
    digit_key, path_key = jax.random.split(key)
    which = jax.random.randint(digit_key, (), 0, digits.shape[0])
    return film(digits[which], draw_corners(path_key)), which

  return jax.vmap(one)(jax.random.split(key, num_videos))


def units(
  videos: Float[Array, 'N T 28 28'],
) -> Float[Array, 'N U 28 28 4']:
  """Videos cut into units, whose frames are channels."""
  cut = videos.reshape(-1, NUM_UNITS, UNIT, SIDE, SIDE)
  return jnp.moveaxis(cut, 2, -1)


def frames(of_units: Float[Array, 'N U 28 28 4']) -> Float[Array, 'N T 28 28']:
  """Units one after another; undoes `units`."""
  moved = jnp.moveaxis(of_units, -1, 2)
  return moved.reshape(moved.shape[0], -1, SIDE, SIDE)


def draw_unit(
  key: PRNGKeyArray, digits: Float[Array, 'n 14 14'], num: int
) -> tuple[
  Float[Array, 'N 28 28 4'], Float[Array, 'N 28 28 4'], Int[Array, ' N']
]:
  """Units to learn from, those before (0 for the first), and the digits."""
  video_key, unit_key = jax.random.split(key)
  videos, which = draw_videos(video_key, digits, num)
  cut = units(videos)
  number = jax.random.randint(unit_key, (num,), 0, NUM_UNITS)
  pick = jax.vmap(lambda of_video, i: of_video[i])
  before = pick(cut, jnp.maximum(number - 1, 0))
  is_first = (number == 0)[:, None, None, None]
  return pick(cut, number), jnp.where(is_first, 0.0, before), which


def centroids(
  of_frames: Float[Array, '*N 28 28'],
) -> Float[Array, '*N 2']:
  """Centre of what is bright, row and column."""
  bright = jnp.clip((of_frames + 1) / 2, 0.0, 1.0)
  total = jnp.maximum(jnp.sum(bright, axis=(-2, -1)), 1e-3)
  place = jnp.arange(SIDE, dtype=jnp.float32)
  row = jnp.sum(bright * place[:, None], axis=(-2, -1)) / total
  column = jnp.sum(bright * place, axis=(-2, -1)) / total
  return jnp.stack([row, column], axis=-1)


def crooked(of_frames: Float[Array, 'T 28 28']) -> Float[Array, '']:
  """Mean squared second difference of the centroid, away from the walls.

  A straight flight has none; a wall doubles it back, which is no fault, so
  frames next to one (the centroid within half a digit and two pixels of it) do
  not count, coordinate by coordinate.

  Args:
    of_frames: of one video, at least three.

  Returns:
    Pixels squared.
  """
  center = centroids(of_frames)
  bend = center[2:] - 2 * center[1:-1] + center[:-2]
  near = DIGIT / 2 + 2.0
  free = (center > near) & (center < SIDE - 1 - near)
  free = free[2:] & free[1:-1] & free[:-2]
  return jnp.sum(jnp.where(free, bend**2, 0.0)) / jnp.maximum(jnp.sum(free), 1)


def crop(of_frames: Float[Array, 'N 28 28']) -> Float[Array, 'N 14 14']:
  """What is around the centroid, in 0..1."""
  center = centroids(of_frames) - (DIGIT - 1) / 2

  def one(frame, corner):
    place = jnp.arange(DIGIT, dtype=jnp.float32)
    rows, columns = jnp.meshgrid(
      corner[0] + place, corner[1] + place, indexing='ij'
    )
    return jax.scipy.ndimage.map_coordinates(
      (frame + 1) / 2, [rows, columns], 1, mode='constant'
    )

  return jax.vmap(one)(of_frames, center)
