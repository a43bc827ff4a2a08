"""Searches against laws that are known exactly."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import diffusion, scaling
from ttc.diffusion import mixtures, samplers
from ttc.diffusion.fk_steering import _POTENTIALS
from ttc.sampling.refinement_loop import Verdict

# What it denoises is what it is given: standard normal samples, exactly.
NORMAL = diffusion.flow(
  lambda x, level: x, diffusion.flow_times(2), (1,), churn=0.0
)
ONE = mixtures.Mixture(
  jnp.zeros(1), jnp.array([[0.7]], jnp.float32), jnp.float32(0.5)
)


def expected_max(num):
  """Of standard normal draws, by quadrature."""
  x = np.linspace(-9, 9, 20_001)
  density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
  below = np.array([0.5 * (1 + math.erf(t / math.sqrt(2))) for t in x])
  return np.trapezoid(num * x * density * below ** (num - 1), x)


def first(x):
  return x[:, 0]


def assert_mean(values, expected, errors=3.5):
  values = np.asarray(values, np.float64)
  error = values.std(ddof=1) / np.sqrt(len(values))
  assert abs(values.mean() - expected) < errors * error, (
    values.mean(),
    expected,
    error,
  )


class MaximaTest(parameterized.TestCase):
  @parameterized.parameters(5, 16)
  def test_best_of_n(self, num):
    self.assertAlmostEqual(expected_max(5), 1.16296, places=4)
    run = lambda key: diffusion.best_of_n(key, NORMAL, first, num).best[0]
    keys = jax.random.split(jax.random.key(0), 2000)
    assert_mean(jax.jit(jax.vmap(run))(keys), expected_max(num))

  def test_zero_order_search_only_climbs(self):
    @jax.jit
    def reached(key):
      return jnp.stack(
        [
          diffusion.zero_order_search(
            key, NORMAL, first, 3, rounds, radius=0.4
          ).rewards.max()
          for rounds in (1, 2, 4)
        ]
      )

    found = jax.vmap(reached)(jax.random.split(jax.random.key(1), 50))
    self.assertTrue(np.all(np.diff(found, axis=1) >= 0))
    self.assertGreater(np.diff(found, axis=1).mean(), 0.1)


class TreeTest(parameterized.TestCase):
  """Video-T1: F normal frames, whose sum is the reward."""

  def run_tree(self, plan, seeds=600):
    def run(key):
      found = diffusion.tree_of_frames(
        key,
        lambda videos, depth: NORMAL,
        lambda x0, videos, depth: first(x0),
        lambda videos, num_units: videos.sum(axis=(1, 2)),
        (1,),
        plan,
      )
      return found.best.sum(), found.nfe

    return jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(2), seeds))

  def test_a_tree_gains_the_square_root_of_its_depth(self):
    F, b = 4, 3
    # A tree costs what linear search costs.
    by_video = diffusion.Plan((1,) * F, (b,) * F, (1,) * F, 0)
    by_image = diffusion.Plan((b,) * F, (1,) * F, (None,) * F, 2)
    for plan in (by_video, by_image):
      reward, nfe = self.run_tree(plan)
      assert_mean(reward, F * expected_max(b))
      self.assertEqual(int(nfe[0]), F * b * 2)
      self.assertEqual(diffusion.plan_nfe(plan, 2), F * b * 2)
    reward, nfe = self.run_tree(diffusion.linear_plan(F, b))
    assert_mean(reward, math.sqrt(F) * expected_max(b))
    self.assertEqual(int(nfe[0]), F * b * 2)

  def test_the_plan_of_the_paper(self):
    plan = diffusion.video_t1_plan(16, 3)
    self.assertEqual(plan.image_branches[:6], (5, 2, 2, 2, 2, 1))
    kept = {d: k for d, k in enumerate(plan.keep) if k}
    self.assertEqual(kept, {4: 3, 9: 2, 13: 1})
    # By hand: five branches to depth 4, then three, two, one; ten steps.
    want = 5 * (10 + 4 * 3) + 4 * 5 * (10 + 3) + (5 * 3 + 4 * 2 + 2) * 10
    self.assertEqual(diffusion.plan_nfe(plan, 10), want)

  def test_what_was_searched_is_told(self):
    plan = diffusion.Plan((1, 1), (2, 3), (None, 2), 0)

    @jax.jit
    def grow(key):
      return diffusion.grow_tree(
        key,
        lambda videos, depth: NORMAL,
        lambda x0, videos, depth: first(x0),
        lambda videos, num_units: videos.sum(axis=(1, 2)),
        (1,),
        plan,
      )

    found, (top, bottom) = grow(jax.random.key(0))
    np.testing.assert_array_equal(top.parents, [0, 0])
    np.testing.assert_array_equal(bottom.parents, [0, 0, 0, 1, 1, 1])
    kept = np.asarray(bottom.rewards)[np.asarray(bottom.lives)]
    np.testing.assert_array_equal(np.sort(kept), np.sort(found.rewards))
    np.testing.assert_array_equal(
      np.sort(found.rewards), np.sort(bottom.rewards)[-2:]
    )

  def test_refuses_what_is_no_plan(self):
    for plan, message in (
      (diffusion.Plan((1,), (1, 1), (None,), 0), 'each depth'),
      (diffusion.Plan((1,), (2,), (3,), 0), 'keep=3 at depth 0'),
      (diffusion.Plan((2,), (2,), (1,), 0), 'judge_after=0'),
      (diffusion.Plan((2,), (2,), (1,), 9), 'judge_after=9'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        self.run_tree(plan, 1)


class EvolutionTest(parameterized.TestCase):
  def test_costs_of_the_spec(self):
    self.assertEqual(
      diffusion.evosearch_nfe(50, (0, 20, 30, 40), (42, 26, 26, 26, 30)), 5000
    )
    self.assertEqual(
      diffusion.evosearch_nfe(32, (0, 8, 16, 24), (24, 14, 14, 14, 14)), 1888
    )

  def test_mutations_of_first_noises_keep_their_law(self):
    x, z = jax.random.normal(jax.random.key(0), (2, 4000, 5))
    y = np.asarray(diffusion.preserve(x, z, 0.2))
    np.testing.assert_allclose(y.mean(axis=0), 0.0, atol=0.06)
    np.testing.assert_allclose(np.cov(y.T), np.eye(5), atol=0.09)
    np.testing.assert_allclose((y**2).sum(axis=1).mean(), 5.0, atol=0.18)
    corr = (np.asarray(x) * y).mean()
    self.assertAlmostEqual(corr, math.sqrt(1 - 0.2**2), delta=0.03)

  @parameterized.parameters(('add', 1.0), ('renoise', 0.0))
  def test_which_mutation_keeps_the_law_on_the_way(self, mutation, wider):
    """From T - 2 on, without selection: the reward says nothing."""
    sampler = diffusion.ddim(
      functools.partial(mixtures.posterior_mean, ONE),
      diffusion.cosine(12),
      (1,),
    )

    @jax.jit
    def run(key):
      found = diffusion.evosearch(
        key, sampler, lambda x: 0.0 * first(x), (0, 6), (8, 8, 8), 0,
        mutation=mutation, tournament=1,
      )  # fmt: skip
      return found.population[:8], found.population[16:]

    keys = jax.random.split(jax.random.key(0), 500)
    plain, mutated = jax.vmap(run)(keys)
    grown = float(mutated.std() / plain.std())
    if wider:
      self.assertGreater(grown, 1.05)
    else:
      self.assertAlmostEqual(grown, 1.0, delta=0.05)

  def test_tournaments(self):
    """The winner of a tournament without repetition, by its exact law."""
    from ttc.diffusion.evosearch import _parents

    rewards = jnp.array([0.0, 3.0, jnp.nan, 2.0, 1.0])
    draw = jax.jit(lambda key, size: _parents(key, rewards, 6002, 2, size))
    found = np.asarray(draw(jax.random.key(0), 2))
    np.testing.assert_array_equal(found[:2], [1, 3])
    shares = np.bincount(found[2:], minlength=5) / 6000
    # The best of two of five: 4, 3, 2, 1, 0 of 10 pairs.
    np.testing.assert_allclose(shares, [0.1, 0.4, 0, 0.3, 0.2], atol=0.025)
    all_five = np.asarray(draw(jax.random.key(0), 5))[2:]
    np.testing.assert_array_equal(all_five, 1)


class SteeringTest(parameterized.TestCase):
  def discrete_law(self, schedule):
    """Mean and variance of the plain sampler for one mode, by recursion."""
    mean, variance = 0.0, 1.0
    levels = [np.asarray(x, np.float64) for x in schedule]
    for i in range(schedule.num_steps):
      (a, s), (b, u) = ((levels[0][j], levels[1][j]) for j in (i, i + 1))
      shrink = a * 0.25 / (a**2 * 0.25 + s**2)
      std = u / s * np.sqrt(1 - (a / b) ** 2)
      kept = np.sqrt(max(u**2 - std**2, 0.0))
      # x0 = .7 + shrink (x - .7 a), noise = (x - a x0) / s.
      slope = b * shrink + kept * (1 - a * shrink) / s
      at_zero = 0.7 - 0.7 * a * shrink
      offset = b * at_zero - kept * a * at_zero / s
      mean, variance = slope * mean + offset, slope**2 * variance + std**2
    return mean, variance

  @parameterized.parameters(
    ('diff', 'systematic', 1.0),
    ('diff', 'multinomial', 0.5),
    ('max', 'systematic', 1.0),
    ('add', 'systematic', 0.7),
    ('rt', 'systematic', 1.0),
  )
  def test_weights_are_unbiased(self, potential, resampling, threshold):
    schedule, strength = diffusion.cosine(6), 0.8
    sampler = diffusion.ddim(
      functools.partial(mixtures.posterior_mean, ONE), schedule, (1,)
    )
    at = jnp.array([1, 0, 1, 0, 1, 0], bool)

    @jax.jit
    def run(key):
      found = diffusion.fk_particles(
        key, sampler, first, 8, at, strength=strength, potential=potential,
        resampling=resampling, threshold=threshold,
      )  # fmt: skip
      z = jnp.exp(found.log_normalizer)
      mean = jnp.sum(jnp.exp(found.log_weights) * found.x[:, 0])
      return z, z * mean, found.num_resampled

    keys = jax.random.split(jax.random.key(0), 3000)
    z, first_moment, times = jax.vmap(run)(keys)
    mean, variance = self.discrete_law(schedule)
    total = np.exp(strength * mean + strength**2 * variance / 2)
    assert_mean(z, total)
    assert_mean(first_moment, total * (mean + strength * variance))
    if threshold == 1.0:
      self.assertEqual(int(times.min()), 3)
    else:
      self.assertLess(float(times.mean()), 3)

  def test_resampling(self):
    weights = np.array([0.05, 0.5, 0.0, 0.45])
    log_weights = jnp.log(jnp.asarray(weights, jnp.float32))
    self.assertAlmostEqual(
      float(diffusion.effective_number(log_weights)),
      1 / np.sum(weights**2),
      places=4,
    )
    for kind in ('systematic', 'multinomial'):
      draw = lambda key, kind=kind: diffusion.resample(key, log_weights, kind)
      drawn = jax.vmap(draw)(jax.random.split(jax.random.key(0), 4000))
      counts = np.stack([np.bincount(x, minlength=4) for x in drawn])
      np.testing.assert_allclose(counts.mean(axis=0), 4 * weights, atol=0.06)
      if kind == 'systematic':
        self.assertLess(np.abs(counts - 4 * weights).max(), 1.0)

  def test_potentials_by_hand(self):
    """Rewards 2, -1, 3, one after another."""
    want = {
      'diff': [2, -3, 4], 'max': [2, 2, 3], 'add': [2, 1, 4], 'rt': [2, -1, 3],
    }  # fmt: skip
    for name, expected in want.items():
      potential, memory = _POTENTIALS[name]
      gains = []
      for reward in (2.0, -1.0, 3.0):
        gain, memory = potential(jnp.float32(reward), memory)
        gains.append(float(gain))
      self.assertEqual(gains, expected, name)
    gain, _ = _POTENTIALS['max'][0](jnp.float32(-5.0), -jnp.inf)
    self.assertEqual(float(gain), -5.0)  # also where all are negative

  def test_where_it_judges(self):
    mask = diffusion.every(12, 5, 10, 5)
    np.testing.assert_array_equal(np.flatnonzero(mask), [5, 10])

  @pytest.mark.slow
  def test_the_tilted_law_of_many_modes(self):
    mixture = mixtures.draw_mixture(jax.random.key(0), 8, 8)
    direction = jnp.ones(8, jnp.float32) / math.sqrt(8)
    strength, T = 1.0, 128
    sampler = diffusion.ddim(
      functools.partial(mixtures.posterior_mean, mixture),
      diffusion.cosine(T),
      (8,),
    )
    tilted = mixtures.tilt_linear(mixture, direction, strength)
    top = np.argsort(tilted.law.log_weights)[-3:]
    three = jnp.zeros(T, bool).at[jnp.array([0, 43, 86])].set(True)
    plans = {
      'diff': (jnp.ones(T, bool), 256, 64),
      'max': (three, 512, 32),
      'add': (three, 512, 32),
      'rt': (three, 512, 32),
    }
    for potential, (at, num, seeds) in plans.items():

      @jax.jit
      def run(key, at=at, num=num, potential=potential):
        found = diffusion.fk_particles(
          key, sampler, lambda x: x @ direction, num, at, strength=strength,
          potential=potential,
        )  # fmt: skip
        near = mixtures.responsibilities(mixture, found.x)
        return jnp.exp(found.log_weights) @ near, found.log_normalizer

      keys = jax.random.split(jax.random.key(1), seeds)
      shares, log_z = jax.lax.map(run, keys)
      # 3.5 standard errors, as three modes of four potentials are looked at,
      # and .01 for the steps.
      for mode in top:
        values = np.asarray(shares[:, mode])
        error = values.std(ddof=1) / np.sqrt(seeds)
        want = float(np.exp(tilted.law.log_weights[mode]))
        self.assertLess(abs(values.mean() - want), 3.5 * error + 0.01)
      ratio = np.exp(np.asarray(log_z) - float(tilted.log_normalizer))
      error = ratio.std(ddof=1) / np.sqrt(seeds)
      # The steps' own error is some percent of exp(r).
      self.assertLess(abs(ratio.mean() - 1), 3 * error + 0.06)


class RefinementTest(absltest.TestCase):
  def test_one_fault_after_another(self):
    """Six attributes, right by chance: .146 at once, .849 one by one."""
    signs = jnp.array(np.indices((2,) * 6).reshape(6, -1).T * 2.0 - 1)
    coins = mixtures.Mixture(
      jnp.full(64, -math.log(64)), signs.astype(jnp.float32), jnp.float32(0.1)
    )
    sampler = diffusion.ddim(
      functools.partial(mixtures.posterior_mean, coins),
      diffusion.cosine(6),
      (6,),
    )

    def verify(keys, x):
      del keys
      wrong = x < 0
      one = jnp.arange(6) == jnp.argmax(wrong, axis=1)[:, None]
      faults = wrong.sum(axis=1).astype(jnp.float32)
      return Verdict(faults == 0, -faults, wrong & one)

    @jax.jit
    def run(key):
      found = diffusion.sequential_refinement(key, sampler, verify, 3000, 9)
      return found.rewards == 0, found.nfe

    right, nfe = run(jax.random.key(0))
    half = np.array([math.comb(6, k) for k in range(7)]) / 64
    edit = np.eye(7) / 2 + np.eye(7, k=-1) / 2
    law = scaling.refinement_law(
      jnp.array(half), jnp.eye(7)[0], jnp.array(edit), 9
    )
    exact = float((law.accepted + law.pending)[0])
    self.assertAlmostEqual(exact, 0.84912, places=4)
    assert_mean(right, exact)
    edits = float(law.num_edits)
    self.assertAlmostEqual(int(nfe) / 3000 / 6, 1 + edits, delta=0.2)
    at_once = jax.jit(
      lambda key: samplers.draw(sampler, samplers.particle_keys(key, 3000))
    )(jax.random.key(1))
    shares = np.asarray((at_once > 0).all(axis=1)).reshape(-1, 10)
    assert_mean(shares.any(axis=1), 1 - (1 - 1 / 64) ** 10)

  def test_what_is_right_stays(self):
    mixture = mixtures.draw_mixture(jax.random.key(3), 3, 2)
    sampler = diffusion.ddim(
      functools.partial(mixtures.posterior_mean, mixture),
      diffusion.cosine(3),
      (2,),
    )
    x = np.array([[0.5, 1.0], [0.2, 0.3]], np.float32)
    mask = np.array([[True, False], [False, False]])

    @jax.jit
    def inpaint(key):
      keys = samplers.particle_keys(key, 2)
      return diffusion.inpaint(sampler, keys, jnp.asarray(x), jnp.asarray(mask))

    y = np.asarray(inpaint(jax.random.key(0)))
    np.testing.assert_array_equal(y[~mask], x[~mask])
    self.assertNotEqual(float(y[0, 0]), 0.5)


if __name__ == '__main__':
  absltest.main()
