"""Drifts: PPO's identity, what makes a drift one, DPO's limits."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import agents, metarl

KEYS = jax.random.split(jax.random.key(0), 4)
RATIO = jnp.exp(jax.random.normal(KEYS[0], (2000,)))
ADVANTAGE = jax.random.normal(KEYS[1], (2000,))
LPO = metarl.init_drift(KEYS[2])
TA_LPO = metarl.init_drift(KEYS[3], temporal=True)
DRIFTS = {
  'ppo': metarl.ppo_drift(0.2),
  'dpo': metarl.dpo_drift(),
  'lpo': metarl.learned_drift(LPO),
  'lpo_alone': metarl.learned_drift(LPO, clip=None),
  'ta_lpo_begin': metarl.learned_drift(TA_LPO, 0.0),
  'ta_lpo_end': metarl.learned_drift(TA_LPO, 1.0),
}


class DriftsTest(parameterized.TestCase):
  @parameterized.named_parameters(DRIFTS.items())
  def test_it_is_a_drift(self, drift):
    self.assertTrue(np.all(drift(RATIO, ADVANTAGE) >= 0))
    self.assertGreater(drift(RATIO, ADVANTAGE).max(), 0)
    one = jnp.ones_like(RATIO)
    np.testing.assert_array_equal(drift(one, ADVANTAGE), 0)
    slope = jax.vmap(jax.grad(lambda r, a: drift(r[None], a[None])[0]))
    np.testing.assert_array_equal(slope(one, ADVANTAGE), 0)

  def test_ppo_is_a_drift(self):
    got = metarl.surrogate_of(metarl.ppo_drift(0.3))(RATIO, ADVANTAGE)
    want = agents.clipped_surrogate(0.3)(RATIO, ADVANTAGE)
    np.testing.assert_allclose(got, want, atol=1e-5)

  def test_dpo_is_flat_near_one_and_saturates(self):
    for ratio in (1 - 1e-3, 1 + 1e-3):
      drift = metarl.dpo_drift()(jnp.full_like(ADVANTAGE, ratio), ADVANTAGE)
      self.assertLess(drift.max(), 1e-6)
    objective = metarl.surrogate_of(metarl.dpo_drift(alpha=2.0))
    far = objective(jnp.array([40.0]), jnp.array([1.5]))
    self.assertAlmostEqual(float(far[0]), 1.5 + 2.0, delta=1e-3)
    # And for bad actions A log r stops at beta: what is left of r A.
    bad = objective(jnp.array([1e-4]), jnp.array([-1.0]))
    want = -1e-4 - (-np.log(1e-4) - 0.6)
    self.assertAlmostEqual(float(bad[0]), want, delta=1e-3)

  def test_time_changes_what_was_learned(self):
    begin, end = DRIFTS['ta_lpo_begin'], DRIFTS['ta_lpo_end']
    self.assertGreater(
      np.abs(begin(RATIO, ADVANTAGE) - end(RATIO, ADVANTAGE)).max(), 0.1
    )

  def test_without_parameters_it_is_nearly_ppo(self):
    none = jax.tree.map(jnp.zeros_like, LPO)
    got = metarl.learned_drift(none, clip=0.2)(RATIO, ADVANTAGE)
    want = metarl.ppo_drift(0.2)(RATIO, ADVANTAGE)
    np.testing.assert_allclose(got, want, atol=2e-4)  # the margin


if __name__ == '__main__':
  absltest.main()
