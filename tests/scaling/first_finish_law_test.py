import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ttc import scaling

first_finish_law = jax.jit(scaling.first_finish_law)


def half_geometric(p, num_lengths=200):
  """Half the mass on lengths 1..T, geometric, the tail on T."""
  t = np.arange(1, num_lengths + 1)
  pmf = p * (1 - p) ** (t - 1)
  pmf[-1] = (1 - p) ** (num_lengths - 1)
  return jnp.asarray(pmf / 2, jnp.float32)


class FirstFinishLawTest(parameterized.TestCase):
  @parameterized.parameters(
    (1, 0.5, 14.99965),
    (2, 0.586207, 7.328168),
    (4, 0.631177, 3.820750),
    (8, 0.652190, 2.172542),
    (16, 0.661715, 1.405757),
  )
  def test_oracles(self, n, accuracy, depth):
    law = first_finish_law(half_geometric(0.1), half_geometric(0.05), n)
    self.assertAlmostEqual(float(law.accuracy), accuracy, delta=3e-6)
    self.assertAlmostEqual(float(law.depth), depth, delta=5e-6)
    self.assertAlmostEqual(float(law.tokens), n * depth, delta=1e-4)

  def test_it_loses_where_the_correct_responses_are_the_long_ones(self):
    law = first_finish_law(half_geometric(0.05), half_geometric(0.1), 8)
    self.assertAlmostEqual(float(law.accuracy), 0.347810, delta=3e-6)

  @parameterized.parameters(1, 2, 3)
  def test_enumeration(self, n):
    correct = np.array([0.1, 0.0, 0.25, 0.05], np.float32)
    wrong = np.array([0.2, 0.0, 0.1, 0.3], np.float32)
    chance = np.stack([wrong, correct])  # [correct?, length - 1]
    accuracy = depth = 0.0
    outcomes = list(itertools.product(range(2), range(4)))
    for draw in itertools.product(outcomes, repeat=n):
      weight = np.prod([chance[o] for o in draw])
      first = min(length for _, length in draw)
      kept = [right for right, length in draw if length == first]
      accuracy += weight * np.mean(kept)
      depth += weight * (first + 1)
    law = first_finish_law(jnp.asarray(correct), jnp.asarray(wrong), n)
    self.assertAlmostEqual(float(law.accuracy), accuracy, places=6)
    self.assertAlmostEqual(float(law.depth), depth, places=5)

  def test_simulation(self):
    # 100 000 trials: three standard errors are 0.0046 and 3 * sd / 316.
    correct, wrong = half_geometric(0.1), half_geometric(0.05)
    n, trials = 4, 100_000
    outcome_key, tie_key = jax.random.split(jax.random.key(0))
    cdf = jnp.cumsum(jnp.concatenate([correct, wrong]))
    outcome = jnp.searchsorted(
      cdf, jax.random.uniform(outcome_key, (trials, n))
    ).clip(max=399)
    length = outcome % 200 + 1
    tie_break = jax.random.uniform(tie_key, (trials, n))
    kept = jnp.argmin(length + 0.5 * tie_break, axis=-1)
    right = jnp.take_along_axis(outcome, kept[:, None], axis=1)[:, 0] < 200
    shortest = jnp.min(length, axis=-1)
    law = first_finish_law(correct, wrong, n)
    self.assertAlmostEqual(
      float(right.mean()), float(law.accuracy), delta=0.0046
    )
    self.assertAlmostEqual(
      float(shortest.mean()),
      float(law.depth),
      delta=3 * float(shortest.std()) / trials**0.5,
    )

  def test_vmap_over_the_number_of_responses(self):
    correct, wrong = half_geometric(0.1), half_geometric(0.05)
    law = jax.vmap(lambda n: scaling.first_finish_law(correct, wrong, n))(
      jnp.array([1, 2, 4])
    )
    np.testing.assert_allclose(
      law.accuracy, [0.5, 0.586207, 0.631177], atol=3e-6
    )
