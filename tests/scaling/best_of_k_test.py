import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ttc import scaling

best_of_n_law = jax.jit(scaling.best_of_n_law)

REWARDS = np.array([0.1, -0.5, 2, 0.7, 0.7, 1.1, -1.3, 0.4], np.float32)


class BestOfKTest(parameterized.TestCase):
  @parameterized.parameters(
    (1, 0.4), (2, 0.9928571429), (3, 1.2678571429), (8, 2.0)
  )
  def test_expected_maximum_oracle(self, k, expected):
    got = scaling.expected_best_of_k(jnp.asarray(REWARDS), k)
    self.assertAlmostEqual(float(got), expected, places=6)

  @parameterized.parameters(1, 3, 8)
  def test_accuracy_is_the_mean_over_draws_and_tie_breaks(self, k):
    scores = np.array([3, 1, 2, 2, 2, 0, 1, 3], np.float32)
    correct = np.array([0, 1, 1, 0, 1, 1, 0, 1])
    per_draw = []
    for draw in itertools.combinations(range(8), k):
      draw = np.array(draw)
      best = draw[scores[draw] == scores[draw].max()]
      per_draw.append(correct[best].mean())
    got = scaling.best_of_k_accuracy(
      jnp.asarray(scores), jnp.asarray(correct), k
    )
    self.assertAlmostEqual(float(got), np.mean(per_draw), places=6)

  def test_a_perfect_proxy_gives_pass_at_k_and_a_constant_one_gives_pass_at_1(
    self,
  ):
    correct = jnp.arange(40) % 5 == 0
    for k in (4, 40):
      perfect = scaling.best_of_k_accuracy(
        correct.astype(jnp.float32), correct.astype(jnp.float32), k
      )
      blind = scaling.best_of_k_accuracy(
        jnp.zeros(40), correct.astype(jnp.float32), k
      )
      self.assertAlmostEqual(
        float(perfect), float(scaling.pass_at_k(40, 8, k)), places=5
      )
      self.assertAlmostEqual(float(blind), 0.2, places=5)

  def test_the_score_itself_as_value_gives_the_expected_maximum(self):
    rewards = jnp.asarray(REWARDS)
    for k in (1, 3, 8):
      self.assertAlmostEqual(
        float(scaling.best_of_k_accuracy(rewards, rewards, k)),
        float(scaling.expected_best_of_k(rewards, k)),
        places=5,
      )

  def test_expected_maximum_of_uniform_ranks(self):
    # E[max of k of 1..N] = k (N + 1) / (k + 1).
    num, k = 512, 37
    rewards = jnp.arange(1.0, num + 1)
    got = jax.jit(scaling.expected_best_of_k, static_argnums=1)(rewards, k)
    np.testing.assert_allclose(got, k * (num + 1) / (k + 1), rtol=1e-5)

  def test_k_beyond_the_samples_is_an_error(self):
    with self.assertRaisesRegex(ValueError, r'1\.\.8, got 9'):
      scaling.expected_best_of_k(jnp.asarray(REWARDS), 9)
    with self.assertRaisesRegex(ValueError, r'1\.\.8, got 0'):
      scaling.best_of_k_accuracy(jnp.asarray(REWARDS), jnp.zeros(8), 0)


class BestOfNLawTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 3)
  def test_law_by_enumeration(self, n):
    probs = np.array([0.1, 0.25, 0.3, 0.2, 0.15], np.float32)
    rewards = np.array([2.0, 0.0, 1.0, 1.0, 0.0], np.float32)
    law = np.zeros(5)
    for draw in itertools.product(range(5), repeat=n):
      draw = np.array(draw)
      best = draw[rewards[draw] == rewards[draw].max()]
      for winner in best:
        law[winner] += probs[draw].prod() / len(best)
    got = best_of_n_law(jnp.asarray(probs), jnp.asarray(rewards), n)
    np.testing.assert_allclose(got, law, atol=1e-6)

  def test_impossible_outcomes_stay_impossible(self):
    law = best_of_n_law(
      jnp.array([0.0, 1.0, 0.0]), jnp.array([1.0, 2.0, 3.0]), 4
    )
    np.testing.assert_allclose(law, [0, 1, 0], atol=1e-7)

  @parameterized.parameters(1, 2, 8, 32)
  def test_kl_is_bounded_and_the_bound_is_tight_for_fine_rewards(self, n):
    def kl(num_levels):
      probs = jnp.full(num_levels, 1 / num_levels)
      law = best_of_n_law(probs, jnp.arange(float(num_levels)), n)
      ratio = jnp.where(law > 0, law / probs, 1.0)
      return float(jnp.sum(law * jnp.log(ratio)))

    bound = float(scaling.best_of_n_kl_bound(n))
    self.assertLessEqual(kl(4), bound + 1e-5)
    self.assertAlmostEqual(kl(4096), bound, delta=2e-3)
