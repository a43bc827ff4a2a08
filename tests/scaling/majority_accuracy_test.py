import itertools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ttc import scaling

majority = jax.jit(scaling.majority_accuracy, static_argnums=2)
population_majority = jax.jit(
  scaling.majority_accuracy_population, static_argnums=2
)


def share_of_gold(votes, gold):
  """What uniform tie-breaking gives `gold`; nobody votes: wrong."""
  best = max(votes)
  if best == 0 or votes[gold] < best:
    return Fraction(0)
  return Fraction(1, votes.count(best))


def exact_majority(counts, gold, k, num_invalid=0):
  """Enumerates the votes that `k` draws without replacement can give."""
  total = Fraction(0)
  for votes in itertools.product(*(range(c + 1) for c in counts)):
    blank = k - sum(votes)
    if 0 <= blank <= num_invalid:
      ways = math.comb(num_invalid, blank)
      ways *= math.prod(map(math.comb, counts, votes))
      total += ways * share_of_gold(votes, gold)
  return float(total / math.comb(sum(counts) + num_invalid, k))


class MajorityAccuracyTest(parameterized.TestCase):
  def test_oracles(self):
    first = {1: 0.4, 2: 0.4, 3: 0.4555555556, 4: 0.5190476190}
    first |= {5: 0.5595238095, 7: 0.6666666667, 9: 0.8}
    second = {1: 0.3, 3: 0.3, 5: 0.3154761905}
    for gold, oracle in ((0, first), (1, second)):
      for k, expected in oracle.items():
        got = majority(jnp.array([4, 3, 2, 1]), gold, k)
        self.assertAlmostEqual(float(got), expected, places=6)
    got = majority(jnp.array([5, 3, 2, 0]), 0, 3)
    self.assertAlmostEqual(float(got), 0.5833333333, places=6)

  @parameterized.parameters(1, 4, 9)
  def test_enumeration(self, k):
    counts = [4, 3, 3, 1]
    for gold, num_invalid in itertools.product((0, 1, 3), (0, 2)):
      got = majority(jnp.array(counts), gold, k, num_invalid)
      expected = exact_majority(counts, gold, k, num_invalid)
      self.assertAlmostEqual(float(got), expected, places=6)

  def test_absent_gold_and_silent_samples_score_zero(self):
    self.assertEqual(float(majority(jnp.array([3, 2, 0, 0]), -1, 3)), 0)
    self.assertEqual(float(majority(jnp.zeros(4, int), 0, 3, 4)), 0)

  def test_votes_of_all_samples_are_the_plain_majority(self):
    for counts, expected in (([9, 5, 2], 1), ([5, 9, 2], 0), ([7, 7, 2], 0.5)):
      got = majority(jnp.array(counts), 0, 16)
      self.assertAlmostEqual(float(got), expected, places=5)

  def test_float32_holds_where_the_binomials_overflow(self):
    # C(400, 61) is 1e73. Two answers: a hypergeometric tail.
    counts, k = [220, 180], 61
    exact = sum(
      Fraction(math.comb(220, v) * math.comb(180, k - v), math.comb(400, k))
      for v in range(k // 2 + 1, k + 1)
    )
    got = majority(jnp.array(counts), 0, k)
    self.assertAlmostEqual(float(got), float(exact), delta=1e-5)

  def test_jit_and_vmap_over_problems(self):
    counts = jnp.array([[4, 3, 2, 1], [1, 0, 8, 1], [5, 5, 0, 0]])
    gold = jnp.array([0, 2, -1])
    got = jax.jit(jax.vmap(lambda c, g: scaling.majority_accuracy(c, g, 5)))(
      counts, gold
    )
    expected = [
      exact_majority([4, 3, 2, 1], 0, 5),
      exact_majority([1, 0, 8, 1], 2, 5),
      0,
    ]
    np.testing.assert_allclose(got, expected, atol=1e-6)

  def test_too_many_voters_is_an_error(self):
    with self.assertRaisesRegex(ValueError, 'needs at least 6'):
      scaling.majority_accuracy(jnp.array([3, 2]), 0, 6)
    self.assertTrue(np.isnan(majority(jnp.array([3, 2]), 0, 6)))


class PopulationMajorityTest(parameterized.TestCase):
  def test_oracles(self):
    right_mode = {1: 0.4, 3: 0.422, 8: 0.471288, 32: 0.5866331121}
    wrong_mode = {1: 0.3, 3: 0.288, 8: 0.2607552, 32: 0.1877069332}
    wrong_mode[64] = 0.1333592636  # voting makes a wrong mode worse
    for probs, oracle in (
      ((0.4, 0.35, 0.25), right_mode),
      ((0.3, 0.4, 0.3), wrong_mode),
    ):
      for k, expected in oracle.items():
        got = population_majority(jnp.array(probs), 0, k)
        self.assertAlmostEqual(float(got), expected, delta=1e-6)

  @parameterized.parameters(1, 5)
  def test_enumeration_with_invalid_answers(self, k):
    probs, invalid = (0.35, 0.3, 0.2), 0.15
    expected = 0.0
    for draw in itertools.product(range(4), repeat=k):
      votes = [draw.count(a) for a in range(3)]
      chance = math.prod((*probs, invalid)[a] for a in draw)
      expected += chance * float(share_of_gold(votes, 0))
    got = population_majority(jnp.array(probs), 0, k, invalid)
    self.assertAlmostEqual(float(got), expected, places=6)

  def test_many_samples_of_few_voters_approach_the_population(self):
    probs = np.array([0.5, 0.3, 0.2])  # to one part in a million
    finite = majority(jnp.asarray(np.round(probs * 1_000_000), jnp.int32), 0, 9)
    limit = population_majority(jnp.asarray(probs, jnp.float32), 0, 9)
    self.assertAlmostEqual(float(finite), float(limit), delta=2e-5)

  def test_a_law_must_sum_to_one(self):
    with self.assertRaisesRegex(ValueError, 'sum to'):
      scaling.majority_accuracy_population(jnp.array([0.5, 0.3]), 0, 3)
