"""Pure exploration: complexities, games and estimates with known values."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest
from scipy import optimize, stats

from ttc.metarl import active_learning as al
from ttc.metarl.active_learning import robust
from ttc.testbeds import active_thresholds as bed


class DifficultyTest(absltest.TestCase):
  def test_two_arms(self):
    problem = al.best_arm(jnp.eye(2))
    rho = jax.jit(lambda theta: al.difficulty(problem, theta))
    for gap in (0.1, 0.5, 1.0):
      got = rho(jnp.array([gap, 0.0]))
      np.testing.assert_allclose(got, 4 / gap**2, rtol=1e-4)

  def test_many_arms_and_their_gradient(self):
    theta = np.array([1.0, 0.8, 0.5, 0.2])
    problem = al.best_arm(jnp.eye(4))

    def exact(theta):
      def worst(logits):
        shares = np.exp(logits) / np.exp(logits).sum()
        return max(
          (1 / shares[0] + 1 / shares[i]) / (theta[0] - theta[i]) ** 2
          for i in range(1, 4)
        )

      options = {'maxfev': 20_000, 'xatol': 1e-10, 'fatol': 1e-10}
      return min(
        optimize.minimize(
          worst,
          np.random.default_rng(i).normal(size=4),
          method='Nelder-Mead',
          options=options,
        ).fun
        for i in range(3)
      )

    rho = jax.jit(jax.value_and_grad(lambda t: al.difficulty(problem, t)))
    value, slope = rho(jnp.asarray(theta, jnp.float32))
    np.testing.assert_allclose(value, exact(theta), rtol=5e-3)
    for i in range(4):
      step = 1e-3 * np.eye(4)[i]
      around = (exact(theta + step) - exact(theta - step)) / 2e-3
      np.testing.assert_allclose(slope[i], around, rtol=0.05, atol=8)

  def test_scale(self):
    problem = al.thresholds(4)
    theta = problem.instance(jnp.array([0.5, -1.0, 0.3, 2.0, 0.0]))
    rho = jax.jit(lambda theta: al.difficulty(problem, theta))
    np.testing.assert_allclose(rho(2 * theta), rho(theta) / 4, rtol=1e-4)


class GameTest(absltest.TestCase):
  def test_binary_search(self):
    means = np.asarray(bed.noise_free().answers)
    for budget, value in ((1, 3 / 4), (2, 1 / 2), (3, 0)):
      found = al.game_value(means, 1 - np.eye(8), budget, 20)
      np.testing.assert_allclose(found[:2], value, atol=1e-12)

  def test_one_query_is_a_majority(self):
    means, losses = np.array([[0.4], [-0.4]]), 1 - np.eye(2)
    for budget in (1, 3, 5):
      wrong = stats.binom.cdf(budget // 2, budget, 0.7)
      found = al.game_value(means, losses, budget, 50)
      np.testing.assert_allclose(found[:2], wrong, atol=1e-9)

  def test_value_is_enclosed(self):
    means = np.asarray(al.thresholds(3).answers) * [0.9, 0.3, 0.9]
    found = al.game_value(means, 1 - np.eye(4), 3, 400)
    self.assertLessEqual(found.low, found.high + 1e-12)
    self.assertLess(found.high - found.low, 0.02)
    even = np.full(4, 0.25)
    bayes = even @ al.bayes_losses(means, 1 - np.eye(4), even, 3)
    self.assertGreater(found.low, bayes + 0.01)  # some are easier
    np.testing.assert_allclose(
      found.prior @ al.bayes_losses(means, 1 - np.eye(4), found.prior, 3),
      found.low,
    )

  def test_too_many(self):
    with self.assertRaisesRegex(ValueError, 'too many to enumerate'):
      al.game_value(np.ones((8, 7)), 1 - np.eye(8), 12)


class InquiryTest(absltest.TestCase):
  def test_estimates_are_those_of_enumeration(self):
    problem = al.thresholds(2, 0.05, 0.95)
    init, policy = al.network(problem, (4,))
    params = jax.tree.map(
      lambda x: x + 1.0 * jax.random.normal(jax.random.key(3), x.shape),
      init(jax.random.key(0)),
    )
    parameters = jnp.array([0.5, 0.2, -0.4])

    def exact(params, parameters):
      theta, zeros = problem.instance(parameters), jnp.zeros(2)
      start = al.Statistics(zeros, zeros, jnp.float32(1))
      asked = jax.nn.softmax(policy(params, start)[0])
      total = 0.0
      for query, label in itertools.product(range(2), (1.0, -1.0)):
        one = jnp.eye(2)[query]
        seen = al.Statistics(one, label * one, jnp.float32(0))
        answer = jax.nn.softmax(policy(params, seen)[1])
        chance = asked[query] * (1 + label * theta[query]) / 2
        total += chance * al.misidentification(problem, answer, theta)
      return total

    numbers = al.Robust(budget=1, num_inquiries=60_000)
    loss = robust._loss_of(problem, policy, al.misidentification, numbers)

    def estimate(params, parameters):
      weights = jnp.ones((1, 1))
      return loss(
        params, parameters[None, None], weights, jax.random.key(1), 0.0
      )

    want, want_grads = jax.jit(jax.value_and_grad(exact, argnums=(0, 1)))(
      params, parameters
    )
    (_, losses), grads = jax.jit(
      jax.value_and_grad(estimate, argnums=(0, 1), has_aux=True)
    )(params, parameters)
    np.testing.assert_allclose(losses[0, 0], want, atol=5e-3)
    flat = lambda x: np.concatenate([y.ravel() for y in jax.tree.leaves(x)])
    # Standard errors of entries are about 1e-3.
    np.testing.assert_allclose(flat(grads), flat(want_grads), atol=5e-3)
    self.assertGreater(np.abs(flat(want_grads)).max(), 0.05)
    self.assertGreater(np.abs(want_grads[1]).max(), 0.01)

  def test_uniform_names_what_it_saw(self):
    problem, policy = al.thresholds(3), al.uniform(al.thresholds(3))
    seen = al.Statistics(
      jnp.array([2.0, 2.0, 1.0]), jnp.array([-2.0, -2.0, 1.0]), jnp.float32(0)
    )
    logits, answer = policy({}, seen)
    self.assertEqual(int(jnp.argmax(answer)), 2)
    np.testing.assert_array_equal(logits, jnp.zeros(3))
    losses = jax.jit(
      lambda p: al.expected_losses(
        problem, policy, {}, jax.random.key(0), p, 200, 16
      )
    )(jnp.array([[0.1, 5.0, 5.0, 5.0], [0.9, 5.0, 5.0, 5.0]]))
    self.assertLess(float(losses.max()), 0.05)

  def test_instances(self):
    problem = al.thresholds(3, 0.4, 0.8)
    theta = problem.instance(jnp.array([0.3, 0.0, 9.0, -9.0]))
    np.testing.assert_allclose(theta, [-0.6, 0.8, 0.4], atol=1e-3)
    drawn = jax.jit(jax.vmap(problem.init))(
      jax.random.split(jax.random.key(0), 2000)
    )
    theta = jax.jit(jax.vmap(problem.instance))(drawn)
    margin = np.abs(theta)
    np.testing.assert_allclose(margin.mean(axis=0), 0.6, atol=0.02)
    index = (np.asarray(theta) < 0).sum(axis=1)
    np.testing.assert_allclose(np.bincount(index) / 2000, 0.25, atol=0.04)
    arms = al.best_arm(jnp.eye(3))
    self.assertLessEqual(
      float(jnp.linalg.norm(arms.instance(jnp.full(3, 5.0)))), 1 + 1e-5
    )

  def test_simple_regret(self):
    problem = al.best_arm(jnp.eye(2))
    regret = al.simple_regret(
      problem, jnp.array([0.25, 0.75]), jnp.array([0.8, 0.4])
    )
    self.assertAlmostEqual(float(regret), 0.3, places=6)

  def test_wrong_input(self):
    for make, words in (
      (lambda: al.thresholds(0), 'num_queries=0'),
      (lambda: al.thresholds(3, 0.8, 0.4), 'low=0.8 to high=0.4'),
      (lambda: robust.check(al.Robust(num_inquiries=1)), 'num_inquiries=1'),
      (
        lambda: al.learn(
          al.thresholds(2),
          al.uniform(al.thresholds(2)),
          {},
          jax.random.key(0),
          (3.0, 2.0),
          al.Robust(),
        ),
        r'radii=\[3.0, 2.0\] must rise',
      ),
    ):
      with self.assertRaisesRegex(ValueError, words):
        make()


class AdversaryTest(absltest.TestCase):
  @pytest.mark.slow
  def test_climbs_within_its_class(self):
    problem = al.thresholds(3)
    init, policy = al.network(problem, (8,))
    radii = jnp.array([5.0, 20.0])
    numbers = al.Robust(3, 8, 4, num_steps=60, instance_rate=0.1)
    found = jax.jit(
      lambda params, key: al.minimax(
        problem, policy, params, key, radii, jnp.zeros(2), numbers
      )
    )(init(jax.random.key(0)), jax.random.key(1))
    rho = jax.vmap(
      jax.vmap(lambda p: al.difficulty(problem, problem.instance(p)))
    )
    before = jax.jit(
      jax.vmap(lambda k, r: al.particles(problem, k, r, 8), in_axes=(0, 0))
    )(jax.random.split(jax.random.split(jax.random.key(1))[1], 2), radii)
    after = found.adversary.parameters
    self.assertTrue(bool(jnp.all(rho(after) <= radii[:, None] + 1e-4)))
    np.testing.assert_array_equal(after[..., 0], before[..., 0])
    # Labels are less certain where they climbed.
    margins = jnp.mean(after[..., 1:] - before[..., 1:])
    self.assertLess(float(margins), -0.1)

  @pytest.mark.slow
  def test_finds_binary_search_and_no_more_than_can_be_known(self):
    for budget, low, high in ((2, 0.45, 1.0), (3, 0.0, 0.03)):
      params = bed.learn_search(0, budget, 800)
      losses = al.expected_losses(
        bed.noise_free(),
        al.network(bed.noise_free())[1],
        params,
        jax.random.key(0),
        bed.instances(bed.noise_free()),
        budget,
        512,
      )
      self.assertBetween(float(losses.max()), low, high)


if __name__ == '__main__':
  absltest.main()
