"""Searches at equal cost."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc.testbeds import mixture_diffusion as bed


class MixtureDiffusionTest(parameterized.TestCase):
  @parameterized.parameters((59, 32), (15, 32), (236, 32), (8, 16), (30, 16))
  def test_searches_cost_what_they_may(self, num_samples, num_steps):
    target = bed.linear_target(jax.random.key(0))
    sde = bed.stochastic(target.mixture, num_steps)
    for name, search in bed.searches(num_samples, num_steps).items():
      # Costs are known without computing anything: XLA folds them.
      nfe = jax.jit(
        lambda key, search=search: (
          search(key, sde, sde, target.reward).nfe  # type: ignore[arg-type]
        )
      )
      cost = int(nfe(jax.random.key(0)))
      share = cost / (num_samples * num_steps)
      self.assertBetween(share, 0.79, 1.0, (name, share))

  def test_generations_of_the_spec(self):
    self.assertEqual(bed.evosearch_sizes(59, 32), (24, 14, 14, 14, 14))

  def test_rewards_and_their_tilted_laws(self):
    for make in (bed.linear_target, bed.rare_target):
      target = make(jax.random.key(1))
      x = target.mixture.means[:5]
      lift = lambda strength, target=target, x=x: (
        bed.mixtures.log_density(target.tilted(strength).law, x)
        - bed.mixtures.log_density(target.mixture, x)
        + target.tilted(strength).log_normalizer
      )
      np.testing.assert_allclose(
        lift(0.7), 0.7 * target.reward(x), rtol=1e-3, atol=1e-3
      )
    self.assertEqual(float(jnp.max(target.reward(x))), 0.0)


if __name__ == '__main__':
  absltest.main()
