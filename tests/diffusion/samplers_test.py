"""Levels, mixtures and samplers against closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import diffusion
from ttc.diffusion import mixtures, samplers, schedules
from ttc.diffusion.schedules import Level

ONE = mixtures.Mixture(
  jnp.zeros(1), jnp.array([[0.7]], jnp.float32), jnp.float32(0.5)
)
MIX = mixtures.draw_mixture(jax.random.key(3), 3, 2, spread=1.0, scale=0.4)
LEVEL = Level(jnp.float32(0.6), jnp.float32(0.7), jnp.float32(0.5))
LINE = np.linspace(-6, 6, 4001)[:, None]


def denoiser(mixture):
  return functools.partial(mixtures.posterior_mean, mixture)


def numpy_log_density(mixture, x, alpha, sigma):
  """By the definition, in float64."""
  variance = (alpha * np.float64(mixture.scale)) ** 2 + sigma**2
  total = 0.0
  for log_weight, mean in zip(*map(np.asarray, mixture[:2]), strict=True):
    apart = np.sum((x - alpha * mean) ** 2, axis=-1)
    normal = (2 * np.pi * variance) ** (-x.shape[-1] / 2)
    total = total + np.exp(log_weight) * normal * np.exp(
      -apart / (2 * variance)
    )
  return np.log(total)


class SchedulesTest(parameterized.TestCase):
  @parameterized.parameters(schedules.cosine, schedules.linear)
  def test_diffusion_keeps_the_variance_and_ends_at_data(self, make):
    schedule = make(10)
    self.assertEqual(schedule.num_steps, 10)
    np.testing.assert_allclose(
      schedule.alphas**2 + schedule.sigmas**2, 1.0, rtol=1e-6
    )
    self.assertTrue(np.all(np.diff(schedule.alphas) > 0))
    last = [float(x[-1]) for x in schedule]
    self.assertEqual(last, [1.0, 0.0, 0.0])
    self.assertLess(schedule.alphas[0], 0.01)

  def test_flow(self):
    schedule = schedules.flow_times(4, shift=3.0)
    t = np.array([1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(schedule.times, 3 * t / (1 + 2 * t), rtol=1e-6)
    np.testing.assert_allclose(schedule.alphas, 1 - schedule.times, atol=1e-7)

  @parameterized.parameters(
    ([0.1, 0.5, 0.9], 'ends at 0.9'),
    ([0.5, 0.1, 1.0], 'grow'),
    ([0.0, 0.5, 1.0], 'grow'),
    ([1.0], 'shape'),
  )
  def test_refuses_what_is_no_schedule(self, alpha_bars, message):
    with self.assertRaisesRegex(ValueError, message):
      schedules.from_alpha_bars(alpha_bars)

  def test_refuses_points(self):
    self.assertEqual(schedules.evosearch_points(9, [0, 3]), (0, 3))
    for points in ((), (1, 2), (0, 3, 3), (0, 9)):
      with self.assertRaisesRegex(ValueError, 'must start at 0'):
        schedules.evosearch_points(9, points)
    with self.assertRaisesRegex(ValueError, 'num_steps=0'):
      schedules.cosine(0)
    with self.assertRaisesRegex(ValueError, 'shift=0'):
      schedules.flow_times(3, shift=0.0)


class MixturesTest(parameterized.TestCase):
  def test_density_score_and_denoiser(self):
    x = np.array([[0.3, -0.2], [2.0, 1.0], [-1.0, 0.5]])
    law = functools.partial(numpy_log_density, MIX, alpha=0.6, sigma=0.7)
    found = mixtures.log_density(MIX, jnp.asarray(x, jnp.float32), LEVEL)
    np.testing.assert_allclose(found, law(x), rtol=1e-5)
    slope = np.stack(
      [(law(x + e) - law(x - e)) / 2e-4 for e in 1e-4 * np.eye(2)], axis=-1
    )
    x32 = jnp.asarray(x, jnp.float32)
    np.testing.assert_allclose(
      mixtures.score(MIX, x32, LEVEL), slope, atol=1e-4
    )
    noise = mixtures.noise_prediction(MIX, x32, LEVEL)
    np.testing.assert_allclose(noise, -0.7 * slope, atol=1e-4)
    # Tweedie's formula.
    tweedie = (x + 0.7**2 * slope) / 0.6
    exact = mixtures.posterior_mean(MIX, x32, LEVEL)
    np.testing.assert_allclose(exact, tweedie, atol=1e-4)
    by_noise = diffusion.from_noise(lambda *_: noise)(x32, LEVEL)
    np.testing.assert_allclose(by_noise, exact, atol=1e-5)
    flow = Level(jnp.float32(0.3), jnp.float32(0.7), jnp.float32(0.7))
    exact = mixtures.posterior_mean(MIX, x32, flow)
    velocity = (x32 - exact) / 0.7
    by_velocity = diffusion.from_velocity(lambda *_: velocity)(x32, flow)
    np.testing.assert_allclose(by_velocity, exact, atol=1e-5)

  @parameterized.parameters('linear', 'quadratic')
  def test_tilted_laws_by_quadrature(self, kind):
    mixture = mixtures.Mixture(
      jnp.log(jnp.array([0.2, 0.8])), jnp.array([[1.0], [-1.5]]), ONE.scale
    )
    point, strength = jnp.array([0.8]), 1.3
    if kind == 'linear':
      tilted = mixtures.tilt_linear(mixture, point, strength)
      reward = 0.8 * LINE[:, 0]
    else:
      tilted = mixtures.tilt_quadratic(mixture, point, strength)
      reward = -((LINE[:, 0] - 0.8) ** 2) / 2
    law = np.exp(numpy_log_density(mixture, LINE, 1.0, 0.0) + strength * reward)
    total = np.trapezoid(law, LINE[:, 0])
    np.testing.assert_allclose(tilted.log_normalizer, np.log(total), atol=1e-5)
    found = np.exp(numpy_log_density(tilted.law, LINE, 1.0, 0.0))
    np.testing.assert_allclose(found, law / total, atol=1e-5)

  def test_exact_samples(self):
    x = mixtures.sample_mixture(MIX, jax.random.key(0), 4000)
    near = mixtures.responsibilities(MIX, x).mean(axis=0)
    np.testing.assert_allclose(near, np.exp(MIX.log_weights), atol=0.03)


class StepsTest(parameterized.TestCase):
  def test_a_ddpm_step_draws_from_the_posterior(self):
    schedule = schedules.cosine(5)
    a, b = (np.float64(schedule.alphas[i]) ** 2 for i in (2, 3))
    x, x0 = jnp.array([[0.9]]), jnp.array([[-0.3]])
    mean, std = samplers.ddim(lambda x, _: x, schedule, (1,)).transition(
      x, x0, 2
    )
    beta = 1 - a / b  # Ho et al., equation 7
    want = np.sqrt(b) * beta / (1 - a) * -0.3
    want += np.sqrt(a / b) * (1 - b) / (1 - a) * 0.9
    np.testing.assert_allclose(mean[0, 0], want, rtol=1e-5)
    variance = (1 - b) / (1 - a) * beta
    np.testing.assert_allclose(std**2, variance, rtol=1e-4)

  @parameterized.parameters(('ddim', 0.0), ('ddim', 1.0), ('flow', 0.7))
  def test_the_last_step_is_the_prediction(self, kind, noise):
    make = {'ddim': samplers.ddim, 'flow': samplers.flow}[kind]
    name = {'ddim': 'eta', 'flow': 'churn'}[kind]
    levels = {'ddim': schedules.cosine, 'flow': schedules.flow_times}[kind](3)
    sampler = make(denoiser(ONE), levels, (1,), **{name: noise})
    x, x0 = jnp.array([[0.4]]), jnp.array([[0.2]])
    mean, std = sampler.transition(x, x0, 2)
    np.testing.assert_allclose(mean, x0, atol=1e-6)
    self.assertEqual(float(std), 0.0)
    self.assertEqual(bool(sampler.transition(x, x0, 1)[1] > 0), noise > 0)

  def test_the_sde_of_a_flow_keeps_its_marginals(self):
    keys = jax.random.split(jax.random.key(1), 8000)

    @jax.jit
    def moments(churn):
      levels = schedules.flow_times(200)
      sampler = samplers.flow(denoiser(ONE), levels, (1,), churn=churn)
      x = samplers.draw(sampler, keys)
      return x.mean(), x.std()

    for churn in (0.0, 0.7):
      mean, std = moments(churn)
      # Three standard errors, and .012 for the steps.
      self.assertAlmostEqual(float(mean), 0.7, delta=0.012 + 0.017)
      self.assertAlmostEqual(float(std), 0.5, delta=0.012 + 0.012)

  def test_a_particle_does_not_see_the_others(self):
    sampler = samplers.ddim(denoiser(MIX), schedules.cosine(3), (2,))
    five, two = (
      samplers.draw(sampler, samplers.particle_keys(jax.random.key(0), n))
      for n in (5, 2)
    )
    np.testing.assert_allclose(five[:2], two, atol=1e-6)
    self.assertGreater(float(jnp.abs(five[0] - five[1]).max()), 0.01)

  def test_branches_share_a_mean_and_differ_in_noise(self):
    sampler = samplers.ddim(denoiser(MIX), schedules.cosine(3), (2,))
    keys = samplers.particle_keys(jax.random.key(0), 2)
    x = samplers.initial(sampler, keys)
    x0 = sampler.predict(x, 0)
    plain = samplers.step(sampler, keys, x, 0)
    first, second = (
      samplers.branch(sampler, keys, x, x0, 0, i) for i in range(2)
    )
    np.testing.assert_array_equal(plain.x, first.x)
    self.assertGreater(float(jnp.abs(second.x - first.x).min()), 1e-4)

  def test_renoising_is_the_forward_law(self):
    sampler = samplers.ddim(denoiser(ONE), schedules.cosine(4), (1,))
    keys = samplers.particle_keys(jax.random.key(2), 20_000)
    x = jnp.full((20_000, 1), 1.5)
    renoise = jax.jit(functools.partial(samplers.renoise, sampler))
    noisy = renoise(keys, x, 4, 2)
    alpha, sigma = (np.asarray(a)[2] for a in sampler.schedule[:2])
    self.assertAlmostEqual(float(noisy.mean()), 1.5 * alpha, delta=0.02)
    self.assertAlmostEqual(float(noisy.std()), sigma, delta=0.02)
    # In two leaps as in one: variances add up.
    other = samplers.purpose(keys, 1)
    again = renoise(keys, renoise(other, x, 4, 3), 3, 2)
    self.assertAlmostEqual(float(again.std()), sigma, delta=0.02)
    np.testing.assert_allclose(renoise(keys, x, 2, 2), x, atol=1e-6)


if __name__ == '__main__':
  absltest.main()
