"""Sequences of real images, warped by the paths of shaking cameras.

A wall of pictures, and before it, at 0.7 of the distance, some more of them
with gaps in between. What the camera does is measured from the grey values
alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from ttc.metarl import stabilization
from ttc.testbeds import shaky_videos
from ttc.testbeds.shaky_videos import NUM_FRAMES, RADIUS, Camera, Video

SIDE = int(2 * RADIUS)  # of a frame, in pixels
_ROWS = 9  # of pictures on the wall
_NEAR = 0.7  # depth of those before it
_ROLLING = 0.5  # as of the points


def wall(
  images: UInt8[np.ndarray, 'n 28 28'], seed: int
) -> Float[Array, 'W W']:
  """Pictures side by side, in 0..1.

  Raises:
    ValueError: if there are too few.
  """
  if len(images) < _ROWS**2:
    raise ValueError(f'{len(images)} images, expected at least {_ROWS**2}')
  chosen = np.random.default_rng(seed).choice(
    len(images), _ROWS**2, replace=False
  )
  grid = images[chosen].reshape(_ROWS, _ROWS, 28, 28)
  side = _ROWS * 28
  joined = grid.swapaxes(1, 2).reshape(side, side)
  return jnp.asarray(joined, jnp.float32) / 255


def frame(
  camera: Camera,
  time: Float[Array, ''],
  behind: Float[Array, 'W W'],
  before: Float[Array, 'W W'],
) -> Float[Array, 'H H']:
  """What the camera sees, row by row a little later."""
  side = jnp.arange(SIDE, dtype=jnp.float32) - (SIDE - 1) / 2
  late = _ROLLING * side / SIDE
  poses = jax.vmap(lambda late: shaky_videos.pose(camera, time + late))(late)

  def row(pose, y):
    """Where the points of a row are on planes at depth 1."""
    angle, scale = pose[2] / RADIUS, jnp.exp(pose[3] / RADIUS)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x, y = scale * side, scale * y
    turned = jnp.stack([cos * x - sin * y, sin * x + cos * y])
    look = lambda image, depth: jax.scipy.ndimage.map_coordinates(
      image,
      [
        turned[1] + pose[1] / depth + image.shape[0] / 2,
        turned[0] + pose[0] / depth + image.shape[1] / 2,
      ],
      1,
      mode='wrap',
    )
    there = look(_posts(before.shape[0]), _NEAR)
    return there * look(before, _NEAR) + (1 - there) * look(behind, 1.0)

  return jax.vmap(row)(poses, side)


def _posts(side):
  """Every fourth column of pictures is there, the rest is a gap."""
  column = (jnp.arange(side) // 28) % 4 == 0
  return jnp.broadcast_to(column.astype(jnp.float32), (side, side))


def measured_path(frames: Float[Array, 'T H H']) -> Float[Array, 'T 4']:
  """Poses of the camera, from the movement of a grid of points."""
  place = jnp.linspace(-0.75, 0.75, 8) * RADIUS
  grid = jnp.stack(jnp.meshgrid(place, place), axis=-1).reshape(-1, 2)
  middle = (SIDE - 1) / 2

  def motion(pair):
    before, after = pair
    moved, good = stabilization.track(before, after, grid + middle)
    return stabilization.similarity_motion(
      grid, moved - middle, good.astype(jnp.float32), RADIUS
    )

  motions = jax.lax.map(motion, (frames[:-1], frames[1:]), batch_size=8)
  return -jnp.cumsum(jnp.pad(motions, ((1, 0), (0, 0))), axis=0)


def draw_frames(
  key: PRNGKeyArray, images: UInt8[np.ndarray, 'n 28 28'], seed: int
) -> tuple[Camera, Float[Array, 'T H H']]:
  """A camera, and what it sees of a wall; the key is consumed."""
  camera = shaky_videos.draw_camera(key)
  return camera, _film(camera, wall(images, seed), wall(images, seed + 1))


@jax.jit
def _film(camera, behind, before):
  times = jnp.arange(NUM_FRAMES, dtype=jnp.float32)
  look = lambda t: frame(camera, t, behind, before)
  return jax.lax.map(look, times, batch_size=8)


def draw_videos(
  seed: int, num_videos: int, images: UInt8[np.ndarray, 'n 28 28']
) -> Video:
  """Videos of images, leaves `[n, ...]`."""
  measure = jax.jit(measured_path)
  times = jnp.arange(NUM_FRAMES, dtype=jnp.float32)
  videos = []
  for i in range(num_videos):
    key = jax.random.fold_in(jax.random.key(20_000 + seed), i)
    camera, frames = draw_frames(key, images, 1000 * seed + 2 * i)
    paths = [
      jax.vmap(lambda t, c=camera, s=s: shaky_videos.pose(c, t, shaking=s))(
        times
      )
      for s in (True, False)
    ]
    videos.append(Video(measure(frames), *paths))
  return jax.tree.map(lambda *x: jnp.stack(x), *videos)
