import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc import evaluation

INF = np.inf
# Of the specification: closed forms by hand.
TIMES = jnp.array(
  [[100, 220, 300, INF], [150, 200, 1300, 50], [410, 260, 310, 80]],
  jnp.float32,
)


class TimeToResultTest(absltest.TestCase):
  def test_oracles(self):
    np.testing.assert_allclose(
      evaluation.algoperf_score(TIMES),
      [0.741667, 0.708333, 0.672222],
      atol=1e-6,
    )
    two = jnp.array([[1, 2, INF], [2, 1, 1]], jnp.float32)
    np.testing.assert_allclose(
      evaluation.algoperf_score(two), [5 / 9, 8 / 9], rtol=1e-6
    )

  def test_score_is_the_mean_of_the_profile(self):
    taus = jnp.linspace(1, 4, 100)
    profile = evaluation.performance_profile(
      evaluation.performance_ratios(TIMES), taus
    )
    np.testing.assert_allclose(  # the public code's trapezoids
      np.trapezoid(profile, taus, axis=1) / 3,
      [0.741162, 0.708333, 0.672980],
      atol=1e-6,
    )
    fine = jnp.linspace(1, 4, 30_001)
    profile = evaluation.performance_profile(
      evaluation.performance_ratios(TIMES), fine
    )
    np.testing.assert_allclose(
      profile.mean(axis=1), evaluation.algoperf_score(TIMES), atol=1e-4
    )
    self.assertTrue(bool(jnp.all(jnp.diff(profile, axis=1) >= 0)))

  def test_nobody_solves_it(self):
    times = jnp.array([[1.0, INF], [2.0, INF]])
    np.testing.assert_allclose(
      evaluation.algoperf_score(times), [0.5, 1 / 3], rtol=1e-6
    )
    np.testing.assert_array_equal(
      evaluation.performance_ratios(times)[:, 1], [INF, INF]
    )

  def test_units_do_not_matter_and_the_fastest_has_ratio_one(self):
    np.testing.assert_allclose(
      evaluation.algoperf_score(60 * TIMES),
      evaluation.algoperf_score(TIMES),
      rtol=1e-6,
    )
    ratios = evaluation.performance_ratios(TIMES)
    np.testing.assert_array_equal(ratios.min(axis=0), np.ones(4))

  def test_who_is_dominated_changes_nothing_unless_fastest_somewhere(self):
    slow = jnp.concatenate([TIMES, 2 * TIMES[1:2]])
    np.testing.assert_allclose(
      evaluation.algoperf_score(slow)[:3], evaluation.algoperf_score(TIMES)
    )
    fast = jnp.concatenate([TIMES, jnp.full((1, 4), INF).at[0, 0].set(50.0)])
    self.assertLess(
      float(evaluation.algoperf_score(fast)[0]),
      float(evaluation.algoperf_score(TIMES)[0]),
    )

  def test_time_to_target(self):
    times = jnp.array([10.0, 20.0, 30.0])
    values = jnp.array([[0.9, 0.5, 0.7], [0.9, 0.8, jnp.nan]])
    got = evaluation.time_to_target(times, values, 0.5)
    np.testing.assert_array_equal(got, [20, INF])
    got = evaluation.time_to_target(times, values, 0.7, higher_is_better=True)
    np.testing.assert_array_equal(got, [10, 10])

  def test_infinite_times_take_part_in_the_median(self):
    studies = jnp.array([[5.0, 9.0], [7.0, INF], [INF, INF]])
    self.assertEqual(float(evaluation.time_of_studies(studies)), 7)
    studies = studies.at[1].set(INF)
    self.assertEqual(float(evaluation.time_of_studies(studies)), INF)
    self.assertEqual(float(evaluation.time_of_studies(studies[:2])), INF)
    even = jnp.array([[2.0], [4.0]])
    self.assertEqual(float(evaluation.time_of_studies(even)), 3)

  def test_a_workload_counts_if_its_variant_does(self):
    held_out = jnp.ones_like(TIMES).at[0, 0].set(INF)
    got = evaluation.with_held_out(TIMES, held_out)
    np.testing.assert_array_equal(got, TIMES.at[0, 0].set(INF))

  def test_geometric_speedup(self):
    speedup, both = evaluation.geometric_speedup(
      jnp.array([1.0, 2.0, INF]), jnp.array([2.0, 16.0, 1.0])
    )
    self.assertAlmostEqual(float(speedup), 4, places=5)
    np.testing.assert_array_equal(both, [True, True, False])

  def test_half_of_the_reruns_reach_the_target(self):
    values = jnp.array([0.4, 0.1, 0.2, 0.3])
    self.assertAlmostEqual(float(evaluation.median_target(values)), 0.3)
    higher = evaluation.median_target(values, higher_is_better=True)
    self.assertAlmostEqual(float(higher), 0.2)
    self.assertAlmostEqual(float(evaluation.median_target(values[:3])), 0.2)

  def test_wrong_input(self):
    with self.assertRaisesRegex(ValueError, r'times\[0, 1\]=0.0, expected'):
      evaluation.algoperf_score(jnp.array([[1.0, 0.0]]))
    with self.assertRaisesRegex(ValueError, r'times\[0, 0\]=nan'):
      evaluation.algoperf_score(jnp.array([[jnp.nan, 1.0]]))
    with self.assertRaisesRegex(ValueError, 'max_ratio=1'):
      evaluation.algoperf_score(TIMES, 1.0)


if __name__ == '__main__':
  absltest.main()
