import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc import diffusion
from ttc.diffusion import mixtures

# Two images of eight pixels that differ in the means of their halves, and have
# the same fine pattern.
FINE = np.array([1.0, -1, 1, -1, -1, 1, -1, 1])
COARSE = np.repeat([1.0, -1.0], 4)
MODES = np.stack([COARSE, -COARSE]) + FINE
PAIR = mixtures.Mixture(
  jnp.log(jnp.array([0.5, 0.5])),
  jnp.asarray(MODES, jnp.float32),
  jnp.float32(0.1),
)


def sampler(mixture=PAIR, num_steps=20):
  return diffusion.ddim(
    functools.partial(mixtures.posterior_mean, mixture),
    diffusion.cosine(num_steps),
    (8,),
  )


class AlignTest(absltest.TestCase):
  def test_low_pass(self):
    x = jnp.arange(32.0).reshape(1, 4, 4, 2)
    low = diffusion.low_pass(x, 2)
    np.testing.assert_allclose(low[0, :2, :2, 0], np.mean(x[0, :2, :2, 0]))
    np.testing.assert_allclose(diffusion.low_pass(low, 2), low)
    np.testing.assert_allclose(diffusion.low_pass(x, 1), x)
    flat = diffusion.low_pass(jnp.asarray(MODES, jnp.float32), 4)
    np.testing.assert_allclose(flat, [COARSE, -COARSE])

  def test_one_step_down_the_gradient(self):
    """The last step of one mode, by hand."""
    one = PAIR._replace(log_weights=jnp.zeros(1), means=PAIR.means[:1])
    model = sampler(one)
    images = jnp.asarray(MODES[1:] * 0.5 + 0.3, jnp.float32)
    run = jax.jit(
      lambda w: diffusion.align(
        jax.random.key(0), model, images, 19, strength=w
      )
    )
    x0 = run(0.0)
    alpha, sigma = model.schedule.alphas[19], model.schedule.sigmas[19]
    slope = alpha * 0.01 / (alpha**2 * 0.01 + sigma**2)
    rest = np.asarray(diffusion.low_pass(images - x0, 4))
    gradient = -slope * rest / np.linalg.norm(rest)
    np.testing.assert_allclose(
      run(2.0), x0 - 2.0 * gradient, rtol=1e-4, atol=1e-5
    )

  def test_brings_images_home(self):
    """Coarse as the image, fine as the model, whatever was fine before."""
    images = jnp.asarray(np.stack([COARSE, -COARSE] * 20), jnp.float32)
    run = jax.jit(
      lambda w: diffusion.align(
        jax.random.key(0), sampler(), images, 0, strength=w
      )
    )
    home = np.asarray(run(1.0))
    near = np.argmin(((home[:, None] - MODES) ** 2).sum(axis=2), axis=1)
    np.testing.assert_array_equal(near, [0, 1] * 20)
    self.assertLess(np.abs(home - MODES[near]).mean(), 0.3)
    # Without guidance nothing is left of what was noised to nothing.
    lost = np.asarray(run(0.0))
    near = np.argmin(((lost[:, None] - MODES) ** 2).sum(axis=2), axis=1)
    self.assertBetween(np.mean(near == [0, 1] * 20), 0.2, 0.8)

  def test_an_image_does_not_see_the_others(self):
    images = jnp.asarray(MODES * 0.7, jnp.float32)
    run = lambda images: diffusion.align(
      jax.random.key(0), sampler(), images, 17
    )
    both, alone = jax.jit(lambda x: (run(x), run(x[:1])))(images)
    np.testing.assert_allclose(both[:1], alone, rtol=1e-4, atol=1e-4)


class GuidanceTest(absltest.TestCase):
  def test_mixes_what_is_wanted_and_what_is_free(self):
    network = lambda params, x, times, labels: (
      params * x + labels[:, None, None, None] + times[:, None, None, None]
    )
    x = jnp.full((2, 1, 1, 1), 0.1)
    level = diffusion.Level(*(jnp.float32(a) for a in (0.5, 0.5, 0.5)))
    answer = lambda label: 0.02 * 0.1 + 0.01 * label + 0.5
    scaled = lambda params, x, times, labels: network(
      params, x, times, 0.01 * labels
    )
    for guidance in (0.0, 1.0, 2.0):
      make = functools.partial(
        diffusion.guided_denoiser, scaled, num_classes=10, params=0.02,
        labels=jnp.array([3, 4]), guidance=guidance,
      )  # fmt: skip
      mixed = answer(10.0) + guidance * (
        answer(np.array([3.0, 4.0])) - answer(10.0)
      )
      np.testing.assert_allclose(
        make(target='velocity')(x, level).ravel(), 0.1 - 0.5 * mixed, rtol=1e-4
      )
      np.testing.assert_allclose(
        make(target='sample')(x, level).ravel(), mixed, rtol=1e-4
      )
      np.testing.assert_allclose(
        make(target='noise')(x, level).ravel(),
        np.clip((0.1 - 0.5 * mixed) / 0.5, -1, 1),
        rtol=1e-4,
      )

  def test_the_loss_of_silence_is_the_variance(self):
    silent = lambda params, x, times, labels: jnp.zeros_like(x[..., :1])
    x0 = jnp.full((4000, 1, 1, 1), 0.5)
    batch = diffusion.Batch(x0, x0, jnp.zeros(4000, int), jax.random.key(0))
    loss = lambda target: diffusion.denoising_loss(
      silent, target, 10, 0.1, None, batch
    )
    self.assertAlmostEqual(float(loss('noise')), 1.0, delta=0.08)
    self.assertAlmostEqual(float(loss('velocity')), 1.25, delta=0.1)
    # 1 / 4 times the mean of 1 / t^2 from .1 to 1, and of 100 below.
    self.assertAlmostEqual(float(loss('sample')), 0.25 * 19, delta=0.6)

  def test_labels_are_dropped_now_and_then(self):
    tell = lambda params, x, times, labels: jnp.broadcast_to(
      (labels == 10)[:, None, None, None] * 100.0, x.shape
    )
    x0 = jnp.zeros((4000, 1, 1, 1))
    batch = diffusion.Batch(x0, None, jnp.zeros(4000, int), jax.random.key(0))
    loss = diffusion.denoising_loss(tell, 'velocity', 10, 0.1, None, batch)
    self.assertAlmostEqual(float(loss) / 1e4, 0.1, delta=0.02)


if __name__ == '__main__':
  absltest.main()
