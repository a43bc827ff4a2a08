"""Videos of a shaking camera whose intended path is known.

A camera pans, turns and zooms slowly, and shakes: waves around a frequency and
with a direction that are each video's own, weak most of the time and strong in
a fifth of it. What it sees are points at several depths, so near ones move more
(parallax), and each row of a frame is taken a little later than the one above
(rolling jitter); the poses that are measured from them are wrong by that much.
The same paths warp real images: a wall of pictures with another one before it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ttc.metarl import stabilization
from ttc.metarl.maml import Meta, Task, maml
from ttc.metarl.stabilization import NUM_NUMBERS, Path

LENGTH, NUM_STRETCHES = 12, 10  # frames of a stretch, stretches of a video
NUM_FRAMES = LENGTH * NUM_STRETCHES
NUM_SHAKEN = 2  # stretches where it shakes much
RADIUS = 48.0  # half of a frame's side, in pixels
_WAVES, _POINTS = 6, 48
_ROLLING = 0.5  # of the time between frames, from the first row to the last
_normal = jax.random.normal


class Camera(NamedTuple):
  """A path in continuous time.

  Attributes:
    slow: amplitude, frequency and phase of the intended waves, of each number.
    shake: of the others.
    strength: of the shaking in each stretch.
  """

  slow: Float[Array, '3 waves 4']
  shake: Float[Array, '3 waves 4']
  strength: Float[Array, ' S']


class Video(NamedTuple):
  """What there is to know of it.

  Attributes:
    measured: poses from the movement of points.
    actual: where the camera was in the middle of each frame.
    intended: where it would have been without shaking.
  """

  measured: Path
  actual: Path
  intended: Path


def draw_camera(key: PRNGKeyArray) -> Camera:
  """A camera; the key is consumed."""
  keys = jax.random.split(key, 6)
  shape = (_WAVES, NUM_NUMBERS)
  uniform = lambda key, low, high: jax.random.uniform(
    key, shape, jnp.float32, low, high
  )
  phases = jax.vmap(lambda key: uniform(key, 0.0, 2 * jnp.pi))(
    jax.random.split(keys[0], 2)
  )
  # Slow waves: up to three in a video, of tens of pixels.
  slow = jnp.stack(
    [
      jnp.array([12.0, 12.0, 2.0, 2.0]) * _normal(keys[1], shape, jnp.float32),
      uniform(keys[2], 0.2, 3.0) / NUM_FRAMES,
      phases[0],
    ]
  )
  # Shaking: of each video's own frequency and direction.
  centre = jax.random.uniform(keys[3], (), jnp.float32, 0.08, 0.42)
  frequency = centre * (1 + 0.15 * _normal(keys[4], shape, jnp.float32))
  axes_key, size_key = jax.random.split(keys[5])
  axes = jnp.exp(0.7 * _normal(axes_key, (NUM_NUMBERS,), jnp.float32))
  axes = axes * jnp.array([1.0, 1.0, 0.7, 0.2])
  size = axes * _normal(size_key, shape, jnp.float32) / _WAVES**0.5
  shake = jnp.stack([size, jnp.clip(frequency, 0.05, 0.48), phases[1]])
  order = jax.random.permutation(
    jax.random.fold_in(key, 0), jnp.arange(NUM_STRETCHES)
  )
  strength = jnp.where(order < NUM_SHAKEN, 4.0, 0.4)
  return Camera(slow, shake, strength)


def pose(
  camera: Camera, time: Float[Array, ''], *, shaking: bool = True
) -> Float[Array, ' 4']:
  """Where the camera is at a time, in frames."""

  def waves(parts):
    size, frequency, phase = parts
    return jnp.sum(size * jnp.sin(2 * jnp.pi * frequency * time + phase), 0)

  slow = waves(camera.slow)
  if not shaking:
    return slow
  # From one stretch to the next strength changes within a few frames.
  middles = (jnp.arange(NUM_STRETCHES) + 0.5) * LENGTH
  near = jax.nn.sigmoid((LENGTH / 2 - jnp.abs(time - middles)) / 0.7)
  strength = jnp.sum(camera.strength * near) / jnp.sum(near)
  return slow + strength * waves(camera.shake)


def seen_from(
  poses: Float[Array, 'F 4'],
  points: Float[Array, 'F 2'],
  depth: Float[Array, ' F'],
) -> Float[Array, 'F 2']:
  """Points in the frame of a camera that has a pose for each of them.

  What is at depth 1 moves by the camera's translation.
  """
  shift = poses[:, :2] / depth[:, None]
  angle, log_scale = poses[:, 2] / RADIUS, poses[:, 3] / RADIUS
  x, y = jnp.moveaxis(points - shift, -1, 0)
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  turned = jnp.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)
  return turned * jnp.exp(-log_scale)[:, None]


def draw_video(
  key: PRNGKeyArray, *, parallax: float = 0.5, rolling: float = _ROLLING
) -> Video:
  """A video of points.

  Args:
    key: consumed.
    parallax: depths are from 1 to `1 + parallax`.
    rolling: time from the first row to the last, of that between frames.
  """
  camera_key, point_key, depth_key = jax.random.split(key, 3)
  camera = draw_camera(camera_key)
  times = jnp.arange(NUM_FRAMES, dtype=jnp.float32)
  points = jax.random.uniform(
    point_key, (_POINTS, 2), jnp.float32, -1.5 * RADIUS, 1.5 * RADIUS
  )
  depth = 1 + parallax * jax.random.uniform(depth_key, (_POINTS,), jnp.float32)

  def frame(time):
    middle = jnp.broadcast_to(pose(camera, time), (_POINTS, NUM_NUMBERS))
    rows = seen_from(middle, points, depth)[:, 1]
    late = rolling * jnp.clip(rows / (2 * RADIUS), -0.5, 0.5)
    poses = jax.vmap(lambda late: pose(camera, time + late))(late)
    return seen_from(poses, points, depth)

  tracks = jax.vmap(frame)(times)
  seen = jnp.all(jnp.abs(tracks) <= RADIUS, axis=-1)
  paths = [
    jax.vmap(lambda t, s=shaking: pose(camera, t, shaking=s))(times)
    for shaking in (True, False)
  ]
  return Video(stabilization.path_of(tracks, seen, RADIUS), *paths)


def draw_task(key: PRNGKeyArray) -> Task:
  """A stretch of a video: every second one is shaken much."""
  video_key, choice_key = jax.random.split(key)
  video = draw_video(video_key)
  pieces = stabilization.stretches(
    video.measured, LENGTH, half_window(), video.intended
  )
  rank = stabilization.jerks(video.measured, LENGTH)
  worst = stabilization.worst_stretches(rank, NUM_SHAKEN / NUM_STRETCHES)
  calm = jnp.sum(~worst)
  chance = jnp.where(worst, 0.5 / NUM_SHAKEN, 0.5 / calm)
  index = jax.random.categorical(choice_key, jnp.log(chance))
  stretch = jax.tree.map(lambda x: x[index], pieces)
  return Task(stretch, stretch)


def half_window() -> int:
  """Frames to either side that the net sees."""
  return 4


def train(
  seed: int, num_updates: int, num_steps: int, num_tasks: int = 32
) -> Meta:
  """Learns where to begin.

  Args:
    seed: of the learning.
    num_updates: of the meta-parameters.
    num_steps: of adaptation, that are looked ahead; 0 for a net that is only
      trained.
    num_tasks: of an update.
  """
  params_key, key = jax.random.split(jax.random.key(seed))
  schedule = optax.cosine_decay_schedule(3e-3, num_updates, 0.05)
  method = maml(
    stabilization.smoothness_loss,
    stabilization.intention_loss,
    draw_task,
    optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule)),
    num_tasks,
    num_steps,
    rate=0.1,
    learn_rates=num_steps > 0,
  )

  @jax.jit
  def run(key):
    params = stabilization.init_stabilizer(params_key, half_window())
    state = method.init(params, key)
    step = lambda state, _: (method.update(state)[0], None)
    return jax.lax.scan(step, state, length=num_updates)[0].meta

  return run(key)


class Steadied(NamedTuple):
  """How videos come out, `[videos]`.

  Attributes:
    score: stability.
    jerk: mean size of third differences.
    error: of movement, root mean square, pixels a frame.
    moved: mean size of corrections, pixels.
  """

  score: Float[Array, ' n']
  jerk: Float[Array, ' n']
  error: Float[Array, ' n']
  moved: Float[Array, ' n']


def judge(video: Video, moved: Float[Array, 'T 4']) -> Steadied:
  """Of one video, by where the camera really was."""
  path = video.actual + moved
  slip = jnp.diff(path - video.intended, axis=0)
  return Steadied(
    stabilization.stability_score(path),
    jnp.mean(stabilization.jerks(path, LENGTH)),
    jnp.sqrt(jnp.mean(jnp.sum(slip**2, axis=-1))),
    jnp.mean(jnp.linalg.norm(moved, axis=-1)),
  )


def choices(
  video: Video, share: float, key: PRNGKeyArray
) -> dict[str, Bool[Array, ' S']]:
  """Which stretches are adapted to, by the name of how they are chosen."""
  rank = stabilization.jerks(video.measured, LENGTH)
  worst = stabilization.worst_stretches
  noise = jax.random.uniform(key, rank.shape, jnp.float32)
  return {
    'nowhere': jnp.zeros(rank.shape, bool),
    'worst': worst(rank, share),
    'random': worst(noise, share),
    'calmest': worst(-rank, share),
    'everywhere': jnp.ones(rank.shape, bool),
  }


def steady(
  meta: Meta, videos: Video, share: float, num_steps: int, seed: int
) -> dict[str, Steadied]:
  """Videos with adaptation to several choices of stretches.

  Args:
    meta: from `train`.
    videos: leaves `[n, ...]`.
    share: of stretches that some choices adapt to.
    num_steps: of adaptation.
    seed: of the random choice.
  """

  def one(video, key):
    return {
      name: judge(
        video,
        stabilization.stabilize(
          meta, video.measured, LENGTH, chosen, num_steps
        ),
      )
      for name, chosen in choices(video, share, key).items()
    }

  keys = jax.random.split(jax.random.key(seed), videos.measured.shape[0])
  return jax.jit(jax.vmap(one))(videos, keys)


def untouched(videos: Video) -> Steadied:
  """Videos as they are."""
  zeros = jnp.zeros((NUM_FRAMES, NUM_NUMBERS), jnp.float32)
  return jax.vmap(lambda video: judge(video, zeros))(videos)


def draw_videos(seed: int, num_videos: int) -> Video:
  """Test videos, leaves `[n, ...]`."""
  keys = jax.random.split(jax.random.key(10_000 + seed), num_videos)
  return jax.jit(jax.vmap(draw_video))(keys)
