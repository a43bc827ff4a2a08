import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import scaling

verified_accuracy = jax.jit(scaling.verified_accuracy, static_argnums=2)


def enumerated(p, num_solutions, num_verifications, tpr, fpr, invalid=0.0):
  """Over the kinds of all solutions and the numbers of their yeses."""
  kinds = []
  for yeses in itertools.product((0, 1), repeat=num_verifications):
    chance = lambda rate, yeses=yeses: np.prod(
      [rate if y else 1 - rate for y in yeses]
    )
    kinds.append((p * chance(tpr), sum(yeses), 1))
    kinds.append(((1 - p - invalid) * chance(fpr), sum(yeses), 0))
  kinds.append((invalid, -1, 0))
  total = 0.0
  for draw in itertools.product(kinds, repeat=num_solutions):
    best = max(score for _, score, _ in draw)
    winners = [right for _, score, right in draw if score == best]
    total += np.prod([prob for prob, _, _ in draw]) * np.mean(winners)
  return total


@pytest.mark.parametrize(
  'case',
  [
    (0.3, 1, 2, 0.8, 0.3),
    (0.3, 3, 1, 0.8, 0.3),
    (0.6, 3, 2, 0.7, 0.4),
    (0.3, 3, 1, 0.3, 0.8),  # worse than blind
    (0.3, 3, 1, 0.8, 0.3, 0.2),
  ],
)
def test_best_of_s_by_enumeration(case):
  np.testing.assert_allclose(
    verified_accuracy(*case), enumerated(*case), atol=2e-6
  )


def test_limits():
  p, solutions = 0.2, 7
  passed = 1 - (1 - p) ** solutions
  got = lambda v, tpr, fpr: float(verified_accuracy(p, solutions, v, tpr, fpr))
  assert abs(got(3, 1.0, 0.0) - passed) < 1e-5  # an exact verifier: pass@S
  assert abs(got(0, 1.0, 0.0) - p) < 1e-6  # none: one sample
  assert abs(got(4, 0.6, 0.6) - p) < 1e-5  # an uninformative one likewise
  assert got(4, 0.4, 0.6) < p < got(4, 0.6, 0.4) < got(16, 0.6, 0.4) < passed


def test_one_verification_of_two_solutions_gains_p_times_1_less_p():
  for p, tpr, fpr in ((0.3, 0.65, 0.35), (0.5, 0.9, 0.1), (0.8, 0.4, 0.6)):
    got = scaling.verified_accuracy(p, 2, 1, tpr, fpr)
    np.testing.assert_allclose(got, p + p * (1 - p) * (tpr - fpr), rtol=1e-5)


def test_cost_counts_verifications_of_each_solution():
  got = scaling.verification_cost(jnp.array([4, 4, 4]), jnp.array([0, 1, 8]))
  np.testing.assert_array_equal(got, [4, 8, 36])
  assert float(scaling.verification_cost(4, 8, 2.0)) == 68


def test_optimal_cell_by_brute_force():
  solutions, verifications = np.array([1, 2, 4, 8]), np.array([1, 2, 4])
  accuracies = np.random.default_rng(0).random((4, 3))
  budgets = np.array([1, 2, 9, 40])
  got = scaling.optimal_verification(
    accuracies, solutions, verifications, budgets, 0.5
  )
  for i, budget in enumerate(budgets):
    cells = [
      (accuracies[s, v], solutions[s], verifications[v])
      for s, v in itertools.product(range(4), range(3))
      if solutions[s] * (1 + 0.5 * verifications[v]) <= budget
    ]
    expected = max(cells) if cells else (0, 0, 0)
    assert tuple(field[i] for field in got) == expected


def test_exponent_and_crossover():
  budgets = np.array([2, 4, 8, 16, 64])
  exponent = scaling.scaling_exponent(budgets, 3 * budgets**0.57)
  assert abs(exponent - 0.57) < 1e-6
  incumbent = np.array([0.3, 0.4, 0.5, 0.55, 0.56])
  challenger = np.array([0.1, 0.45, 0.4, 0.6, 0.7])
  crossover = lambda a, b: scaling.crossover_budget(budgets, a, b)
  assert crossover(challenger, incumbent) == 16
  assert crossover(incumbent, challenger) == float('inf')
  assert crossover(incumbent + 0.1, incumbent) == 2
  assert crossover(incumbent, incumbent) == float('inf')
