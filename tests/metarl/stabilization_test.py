"""Steadying cameras: paths, fits and tracks with known answers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest

from ttc.metarl import stabilization as lib
from ttc.metarl.maml import Meta
from ttc.testbeds import shaky_images, shaky_videos


def waves(cycles, num_frames=120):
  times = jnp.arange(num_frames)
  return jnp.sin(2 * jnp.pi * cycles * times / num_frames)


def path(x=0.0, angle=0.0, num_frames=120):
  zeros = jnp.zeros(num_frames)
  return jnp.stack([zeros + x, zeros, zeros + angle, zeros], axis=1)


draw_video = jax.jit(
  shaky_videos.draw_video, static_argnames=('parallax', 'rolling')
)


@functools.cache
def drawn(seed, parallax=0.5, rolling=0.5):
  """Each once; all with the same camera by one program."""
  key = jax.random.key(seed)
  return draw_video(key, parallax=parallax, rolling=rolling)


class ScoreTest(absltest.TestCase):
  def test_slow_waves_are_steady(self):
    steady = lib.stability_score(path(waves(2), waves(5)))
    self.assertAlmostEqual(float(steady), 1.0, places=4)
    shaking = lib.stability_score(path(waves(6), waves(2)))
    self.assertAlmostEqual(float(shaking), 0.0, places=4)
    # Energies are squares; the worse of translation and rotation counts.
    mixed = path(waves(2) + 0.5 * waves(30), waves(2) + waves(30))
    self.assertAlmostEqual(float(lib.stability_score(mixed)), 0.5, places=4)
    mixed = path(waves(2) + 0.5 * waves(30), waves(2))
    self.assertAlmostEqual(float(lib.stability_score(mixed)), 0.8, places=4)

  def test_jerk_is_the_third_difference(self):
    times = jnp.arange(24.0)
    self.assertLess(float(lib.jerks(path(times**2, 0, 24), 12).max()), 1e-3)
    cubic = lib.jerks(path(times**3 / 6, 0, 24), 12)
    np.testing.assert_allclose(cubic, [0.75, 1.0], atol=1e-2)

  def test_worst(self):
    jerks = jnp.array([0.1, 3.0, 0.2, 2.0, 0.3])
    worst = lib.worst_stretches(jerks, 0.4)
    np.testing.assert_array_equal(worst, [False, True, False, True, False])
    self.assertEqual(int(lib.worst_stretches(jerks, 0.01).sum()), 1)


class MotionTest(absltest.TestCase):
  def test_similarity_is_exact_and_robust(self):
    points = 40 * jax.random.normal(jax.random.key(0), (30, 2))
    angle, log_scale, shift = 0.1, 0.05, jnp.array([3.0, -2.0])
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.exp(log_scale) * jnp.array([[cos, -sin], [sin, cos]])
    moved = points @ turn.T + shift
    fit = jax.jit(
      lambda m: lib.similarity_motion(points, m, jnp.ones(30), 50.0)
    )
    want = [3.0, -2.0, 50 * angle, 50 * log_scale]
    np.testing.assert_allclose(fit(moved), want, atol=1e-3)
    wrong = moved.at[:8].add(25.0)
    np.testing.assert_allclose(fit(wrong), want, atol=0.35)

  def test_tracks_between_pixels(self):
    x, y = jnp.meshgrid(jnp.arange(64.0), jnp.arange(64.0))
    scene = lambda dx, dy: (
      jnp.sin(0.31 * (x - dx)) * jnp.cos(0.23 * (y - dy)) / 2 + 0.5
    )
    points = jnp.array([[24.0, 30.0], [36.0, 28.0]])
    moved, good = jax.jit(lib.track)(scene(0, 0), scene(3.3, -2.6), points)
    self.assertTrue(bool(good.all()))
    np.testing.assert_allclose(moved - points, [[3.3, -2.6]] * 2, atol=0.1)
    blank = jnp.zeros((64, 64))
    self.assertFalse(bool(jax.jit(lib.track)(blank, blank, points)[1].any()))

  def test_measured_poses_are_the_camera_s_without_parallax(self):
    video = drawn(1, parallax=0.0, rolling=0.0)
    # Turning and moving do not commute; between two frames it hardly matters.
    error = jnp.diff(video.measured - video.actual, axis=0)
    motion = jnp.diff(video.actual, axis=0)
    for i in range(4):
      share = jnp.std(error[:, i]) / jnp.std(motion[:, i])
      self.assertLess(float(share), 0.2)
    shaken = drawn(1)
    worse = jnp.diff(shaken.measured - shaken.actual, axis=0)
    self.assertGreater(float(jnp.std(worse)), 1.5 * float(jnp.std(error)))


class StabilizerTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    params = lib.init_stabilizer(jax.random.key(0), 4, 8)
    smooth = jnp.broadcast_to(jnp.full((9, 1), 1 / 9), (9, 4))
    self.params = params | {'filter': smooth}
    self.video = drawn(2)

  def test_a_filter_is_a_moving_mean(self):
    measured = self.video.measured
    moved = lib.corrections(self.params, lib.windows_of(measured, 4))
    want = np.mean([measured[i : i + 112] for i in range(9)], axis=0)
    np.testing.assert_allclose(
      (measured + moved)[4:116], want, rtol=1e-4, atol=1e-3
    )

  def test_only_what_is_chosen_is_adapted_to(self):
    rates = jax.tree.map(lambda _: 0.01, self.params)
    meta = Meta(self.params, rates)
    chosen = jnp.arange(10) == 3
    run = jax.jit(
      lambda chosen: lib.stabilize(meta, self.video.measured, 12, chosen)
    )
    given = lib.corrections(
      self.params, lib.windows_of(self.video.measured, 4)
    ).reshape(10, 12, 4)
    some = run(chosen).reshape(10, 12, 4)
    np.testing.assert_allclose(
      np.delete(some, 3, 0), np.delete(given, 3, 0), rtol=1e-5, atol=1e-5
    )
    self.assertGreater(float(jnp.abs(some[3] - given[3]).max()), 1e-3)

  def test_losses(self):
    steady = 2.0 * jnp.arange(12.0)[:, None] * jnp.ones(4)
    zeros = jnp.zeros((12, 9, 4))
    stretch = lib.Stretch(zeros, steady, steady)
    np.testing.assert_allclose(
      lib.smoothness_loss(self.params, stretch), np.log(1e-6), rtol=1e-3
    )
    self.assertAlmostEqual(
      float(lib.intention_loss(self.params, stretch)), 0.0, places=5
    )
    drift = stretch._replace(intended=steady + 7.0)  # a shift is free
    self.assertAlmostEqual(
      float(lib.intention_loss(self.params, drift)), 0.0, places=4
    )
    wrong = stretch._replace(intended=0 * steady)
    self.assertAlmostEqual(
      float(lib.intention_loss(self.params, wrong)), 16.0, places=3
    )

  def test_wrong_input(self):
    with self.assertRaisesRegex(ValueError, 'length=7 of 120 frames'):
      lib.stretches(self.video.measured, 7, 4)

  @pytest.mark.slow
  def test_a_step_where_it_shakes_most_is_most_of_the_gain(self):
    meta = shaky_videos.train(0, 300, 1)
    videos = shaky_videos.draw_videos(0, 32)
    found = shaky_videos.steady(meta, videos, 0.2, 1, 0)
    error = {name: float(x.error.mean()) for name, x in found.items()}
    self.assertLess(error['everywhere'], error['nowhere'])
    share = lambda name: float(
      lib.share_of_gain(
        found['nowhere'].error, found[name].error, found['everywhere'].error
      )
    )
    self.assertGreater(share('worst'), 0.8)
    self.assertLess(share('calmest'), 0.2)


class ImagesTest(absltest.TestCase):
  @pytest.mark.slow
  def test_paths_are_measured_from_grey_values(self):
    pictures = np.random.default_rng(0).integers(0, 255, (81, 7, 7))
    pictures = np.kron(pictures, np.ones((1, 4, 4))).astype(np.uint8)
    camera, frames = shaky_images.draw_frames(jax.random.key(1), pictures, 0)
    measured = jax.jit(shaky_images.measured_path)(frames)
    times = jnp.arange(120, dtype=jnp.float32)
    actual = jax.jit(jax.vmap(lambda t: shaky_videos.pose(camera, t)))(times)
    for i in range(2):
      pair = np.diff(measured[:, i]), np.diff(actual[:, i])
      self.assertGreater(np.corrcoef(*pair)[0, 1], 0.9)

  def test_too_few_pictures(self):
    with self.assertRaisesRegex(ValueError, '80 images, expected at least 81'):
      shaky_images.wall(np.zeros((80, 28, 28), np.uint8), 0)


if __name__ == '__main__':
  absltest.main()
