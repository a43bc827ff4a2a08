r"""Steadying a camera, with a net that adapts to each stretch of a video.

Ali et al., 2024, 2403.03662, and 2025, 2508.18859, for motion instead of
pixels: a net sees the poses of a window of frames and says how to warp the
middle one. A few frames in a row are a task. What the net adapts to there needs
no label, only the shaky poses themselves,

.. math::
  L^{in} = \log \frac1L \sum_t |\Delta^2 q_t|^2 + \lambda |q_t - p_t|^2,
  \qquad q_t = p_t + f_\theta(p_{t-k}, \ldots, p_{t+k})

smooth output that stays near the input, so that frames stay full; of the
logarithm a step is as long where a camera shakes much as where it hardly does.
MAML (`ttc.metarl.maml`) chooses the parameters, and a rate for each leaf, from
which one such step leads to the intended path where that is known. At test time
only stretches of high jerk are adapted to. A pose is `[x, y, R a, R log s]`:
translation, and rotation and scale by what they move a point at radius `R`, all
in pixels. Costs a gradient of `L` evaluations of the net for a stretch.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ttc.agents.networks import orthogonal
from ttc.metarl.maml import Meta, adapt
from ttc.types import Params

NUM_NUMBERS = 4  # of a pose
Path = Float[Array, 'T 4']


class Stretch(NamedTuple):
  """A few frames in a row.

  Attributes:
    windows: poses around each frame, less its own.
    poses: of the frames.
    intended: what they would be without shaking; zeros where nobody knows.
  """

  windows: Float[Array, 'L window 4']
  poses: Float[Array, 'L 4']
  intended: Float[Array, 'L 4']


def init_stabilizer(
  key: PRNGKeyArray, half_window: int = 8, width: int = 32
) -> Params:
  """Parameters of a net that changes nothing.

  Args:
    key: consumed.
    half_window: `k`, frames to either side that it sees.
    width: of its hidden layer.
  """
  inputs = (2 * half_window + 1) * NUM_NUMBERS
  zeros = lambda *shape: jnp.zeros(shape, jnp.float32)
  return {
    'filter': zeros(2 * half_window + 1, NUM_NUMBERS),
    'hidden': orthogonal()(key, (inputs, width)),
    'hidden_bias': zeros(width),
    'out': zeros(width, NUM_NUMBERS),
  }


def corrections(
  params: Params, windows: Float[Array, '*B window 4']
) -> Float[Array, '*B 4']:
  """How the middle frames of windows are to be moved: `f`.

  A filter of each number of the pose, and what a hidden layer adds to it.
  """
  linear = jnp.sum(params['filter'] * windows, axis=-2)
  flat = windows.reshape(*windows.shape[:-2], -1)
  # Shaking is of some pixels, so that tanh is neither linear nor saturated.
  hidden = jnp.tanh(0.1 * flat @ params['hidden'] + params['hidden_bias'])
  return linear + hidden @ params['out']


def windows_of(path: Path, half_window: int) -> Float[Array, 'T window 4']:
  """Poses around each frame less its own; the ends are repeated."""
  offsets = jnp.arange(-half_window, half_window + 1)
  frames = jnp.arange(path.shape[0])[:, None] + offsets
  return path[jnp.clip(frames, 0, path.shape[0] - 1)] - path[:, None]


def stretches(
  path: Path, length: int, half_window: int, intended: Path | None = None
) -> Stretch:
  """A path in pieces, leaves `[S, L, ...]`.

  Raises:
    ValueError: if the pieces do not come out even.
  """
  num_frames = path.shape[0]
  if length < 4 or num_frames % length:
    raise ValueError(
      f'stretches: length={length} of {num_frames} frames, expected a divisor '
      'of at least 4'
    )
  intended = jnp.zeros_like(path) if intended is None else intended
  cut = lambda x: x.reshape(num_frames // length, length, *x.shape[1:])
  return Stretch(cut(windows_of(path, half_window)), cut(path), cut(intended))


def smoothness_loss(
  params: Params, stretch: Stretch, fidelity: float = 1e-3
) -> Float[Array, '']:
  """The inner loss, of which nothing is known but the shaky poses."""
  moved = corrections(params, stretch.windows)
  shaking = jnp.diff(stretch.poses + moved, 2, axis=0)
  squares = lambda x: jnp.mean(jnp.sum(x**2, axis=-1))
  return jnp.log(squares(shaking) + fidelity * squares(moved) + 1e-6)


def intention_loss(params: Params, stretch: Stretch) -> Float[Array, '']:
  """The outer loss: motion that was not intended, in squared pixels a frame."""
  moved = corrections(params, stretch.windows)
  error = jnp.diff(stretch.poses + moved - stretch.intended, axis=0)
  return jnp.mean(jnp.sum(error**2, axis=-1))


def stabilize(
  meta: Meta,
  path: Path,
  length: int,
  chosen: Bool[Array, ' S'],
  num_steps: int = 1,
) -> Float[Array, 'T 4']:
  """Corrections of all frames, with parameters of their own where chosen.

  Args:
    meta: parameters that adaptation begins with, and its rates.
    path: measured poses.
    length: `L` of a stretch; static; divides `T`.
    chosen: stretches that are adapted to; the others take what is given.
    num_steps: on each of these; static.
  """
  half_window = meta.params['filter'].shape[0] // 2

  def one(stretch, chosen):
    own = adapt(
      meta.params, smoothness_loss, stretch, meta.rates, num_steps, chosen
    )
    return corrections(own, stretch.windows)

  pieces = stretches(path, length, half_window)
  return jax.vmap(one)(pieces, chosen).reshape(path.shape)


def jerks(path: Path, length: int) -> Float[Array, ' S']:
  """The mean size of third differences in each stretch, pixels a frame^3."""
  third = jnp.diff(path, 3, axis=0, prepend=jnp.repeat(path[:1], 3, axis=0))
  size = jnp.linalg.norm(third, axis=-1).at[:3].set(0.0)
  return jnp.mean(size.reshape(-1, length), axis=1)


def worst_stretches(
  jerks: Float[Array, ' S'], share: float
) -> Bool[Array, ' S']:
  """Which stretches have the highest jerk, a share of them, at least one."""
  count = max(round(share * jerks.shape[0]), 1)
  return jnp.argsort(jnp.argsort(-jerks)) < count


def stability_score(path: Path) -> Float[Array, '']:
  r"""How much of a path's movement is slow (Liu et al., 2013; 2403.03662).

  The energy of the second to sixth lowest frequencies over that of all but the
  first, which is the mean: of translation, both axes together, and of rotation;
  the smaller one.

  Args:
    path: of at least 12 frames.

  Returns:
    In [0, 1], higher is steadier.
  """

  def share(x):
    energy = jnp.sum(jnp.abs(jnp.fft.rfft(x, axis=0)) ** 2, axis=-1)
    return jnp.sum(energy[1:6]) / (jnp.sum(energy[1:]) + 1e-12)

  return jnp.minimum(share(path[:, :2]), share(path[:, 2:3]))


def similarity_motion(
  points: Float[Array, 'F 2'],
  moved: Float[Array, 'F 2'],
  weights: Float[Array, ' F'],
  radius: float,
  num_rounds: int = 5,
) -> Float[Array, ' 4']:
  r"""The rotation, scale and shift that points moved by, robustly.

  Least squares of :math:`s R(a) x + t` in closed form, repeated with weights
  :math:`1 / \max(e, 1/2)` of the errors in pixels, so that what moves by itself
  or is near counts little.

  Args:
    points: relative to the middle of the frame.
    moved: where they are in the next frame.
    weights: of the points, 0 for those that are not seen in both.
    radius: `R`, in which rotation and scale are counted.
    num_rounds: of weighing; static.

  Returns:
    `[x, y, R a, R log s]`.
  """

  def fit(weights):
    total = jnp.sum(weights) + 1e-12
    mean = lambda x: weights @ x / total
    x, y = points - mean(points), moved - mean(moved)
    square = jnp.sum(weights * jnp.sum(x**2, axis=-1)) + 1e-12
    cos = jnp.sum(weights * jnp.sum(x * y, axis=-1)) / square
    sin = jnp.sum(weights * (x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0])) / square
    matrix = jnp.array([[cos, -sin], [sin, cos]])
    return matrix, mean(moved) - matrix @ mean(points)

  def weigh(_, current):
    matrix, shift = fit(current)
    error = jnp.linalg.norm(points @ matrix.T + shift - moved, axis=-1)
    return weights / jnp.maximum(error, 0.5)

  matrix, shift = fit(jax.lax.fori_loop(0, num_rounds, weigh, weights))
  angle = jnp.arctan2(matrix[1, 0], matrix[0, 0])
  log_scale = 0.5 * jnp.log(jnp.sum(matrix[:, 0] ** 2) + 1e-12)
  return jnp.concatenate([shift, radius * jnp.stack([angle, log_scale])])


def path_of(
  tracks: Float[Array, 'T F 2'],
  seen: Bool[Array, 'T F'],
  radius: float,
) -> Path:
  """Measured poses of the camera: motions between frames, added up.

  Args:
    tracks: where points are in each frame, relative to its middle.
    seen: whether a point is in a frame.
    radius: `R`.
  """
  motion = lambda a, b, both: similarity_motion(a, b, both, radius)
  both = (seen[1:] & seen[:-1]).astype(jnp.float32)
  motions = jax.vmap(motion)(tracks[:-1], tracks[1:], both)
  # Points move against the camera.
  return -jnp.cumsum(jnp.pad(motions, ((1, 0), (0, 0))), axis=0)


def track(
  before: Float[Array, 'H W'],
  after: Float[Array, 'H W'],
  points: Float[Array, 'F 2'],
  *,
  half_width: int = 5,
  num_levels: int = 3,
  num_rounds: int = 6,
) -> tuple[Float[Array, 'F 2'], Bool[Array, ' F']]:
  """Where points of a frame are in the next one (Lucas and Kanade, 1981).

  Coarse to fine: each level halves the frames, and begins where the one before
  ended.

  Args:
    before: grey values.
    after: of the next frame.
    points: `x, y` in pixels of `before`.
    half_width: of the squares that are compared, on each level.
    num_levels: of halving.
    num_rounds: of each level.

  Returns:
    Points in `after`, and whether their squares have texture and match.
  """
  pyramid = [(before, after)]
  for _ in range(num_levels - 1):
    pyramid.append(tuple(map(_halve, pyramid[-1])))
  flow, good = jnp.zeros_like(points), jnp.ones((len(points),), bool)
  for level in reversed(range(num_levels)):
    follow = functools.partial(
      _follow, *pyramid[level], half_width=half_width, num_rounds=num_rounds
    )
    at = (points + 0.5) / 2**level - 0.5
    flow, good = jax.vmap(follow)(at, 2 * flow)
  return points + flow, good


def _halve(image):
  """The mean of every two by two pixels."""
  height, width = (2 * (n // 2) for n in image.shape)
  cut = image[:height, :width]
  return cut.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))


def _sample(image, x, y):
  """Values between pixels; the border's beyond it."""
  return jax.scipy.ndimage.map_coordinates(image, [y, x], 1, mode='nearest')


def _follow(before, after, point, flow, *, half_width, num_rounds):
  """One point on one level, by Gauss-Newton."""
  side = jnp.arange(-half_width, half_width + 1, dtype=jnp.float32)
  x, y = point[0] + side[None, :], point[1] + side[:, None]
  x, y = jnp.broadcast_arrays(x, y)
  patch = _sample(before, x, y)
  slope_x = 0.5 * (_sample(before, x + 1, y) - _sample(before, x - 1, y))
  slope_y = 0.5 * (_sample(before, x, y + 1) - _sample(before, x, y - 1))
  slopes = jnp.stack([slope_x.ravel(), slope_y.ravel()], axis=1)
  normal = slopes.T @ slopes
  texture = jnp.linalg.eigvalsh(normal)[0] / slopes.shape[0]
  inverse = jnp.linalg.inv(normal + 1e-6 * jnp.eye(2))

  def step(_, flow):
    error = patch - _sample(after, x + flow[0], y + flow[1])
    return flow + inverse @ (slopes.T @ error.ravel())

  flow = jax.lax.fori_loop(0, num_rounds, step, flow)
  error = patch - _sample(after, x + flow[0], y + flow[1])
  matches = jnp.sqrt(jnp.mean(error**2)) < 0.1
  good = (texture > 1e-4) & matches & jnp.all(jnp.isfinite(flow))
  return jnp.where(jnp.isfinite(flow), flow, 0.0), good


def share_of_gain(
  before: Sequence[float] | Array,
  some: Sequence[float] | Array,
  everything: Sequence[float] | Array,
) -> Float[Array, '']:
  """How much of what adapting everywhere gains, adapting to some gains."""
  mean = lambda x: jnp.mean(jnp.asarray(x))
  return (mean(some) - mean(before)) / (mean(everything) - mean(before))
