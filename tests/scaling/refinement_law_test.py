"""The law of verifying and editing, against sums over all its paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import scaling


def test_perfect_verifier_closed_form():
  for steps in (0, 1, 5, 10):
    law = scaling.two_state_refinement(0.3, 0.4, 0.9, 1.0, 0.0, steps)
    want = 1 - 0.7 * 0.6**steps
    got = law.accepted[0] + law.pending[0]
    assert float(got) == pytest.approx(want, abs=1e-6)
    assert float(law.accepted[1]) == 0


def test_all_paths():
  """Two states, three steps, by enumeration."""
  p, f, b, tpr, fpr, steps = 0.35, 0.6, 0.25, 0.7, 0.2, 3
  accept, edit = [tpr, fpr], [[1 - b, b], [f, 1 - f]]
  accepted, pending, calls = np.zeros(2), np.zeros(2), 0.0
  for path in itertools.product((0, 1), repeat=steps + 1):
    weight = [p, 1 - p][path[0]]
    for t in range(steps):
      ends = tuple(path[t + 1 :]) == (0,) * (steps - t)  # count prefixes once
      calls += weight * ends
      accepted[path[t]] += weight * accept[path[t]] * ends
      weight *= (1 - accept[path[t]]) * edit[path[t]][path[t + 1]]
    pending[path[-1]] += weight
  law = scaling.two_state_refinement(p, f, b, tpr, fpr, steps)
  np.testing.assert_allclose(law.accepted, accepted, atol=1e-6)
  np.testing.assert_allclose(law.pending, pending, atol=1e-6)
  assert float(law.num_verifications) == pytest.approx(calls, abs=1e-6)
  total = float(jnp.sum(law.accepted) + jnp.sum(law.pending))
  assert total == pytest.approx(1, abs=1e-6)


def test_a_blind_verifier_that_edits_nothing_changes_nothing():
  law = scaling.two_state_refinement(0.3, 0.0, 0.0, 0.4, 0.4, 6)
  assert float(law.accepted[0] + law.pending[0]) == pytest.approx(0.3)
  assert float(law.num_verifications) == pytest.approx((1 - 0.6**6) / 0.4)
  edits = law.num_verifications - jnp.sum(law.accepted)
  assert float(law.num_edits) == pytest.approx(float(edits))


def test_matrix_power_and_sweeps():
  """Rates are traced: one map sweeps them."""
  rates = jnp.array([0.0, 0.1, 0.3])
  sweep = jax.vmap(
    lambda fpr: scaling.two_state_refinement(0.2, 0.5, 0.1, 0.9, fpr, 10)
  )
  law = sweep(rates)
  right = law.accepted[:, 0] + law.pending[:, 0]
  assert np.all(np.diff(right) < 0)  # an error of the verifier costs
  for i, fpr in enumerate(rates):
    step = np.diag([0.1, 1 - fpr]) @ [[0.9, 0.1], [0.5, 0.5]]
    pending = np.array([0.2, 0.8]) @ np.linalg.matrix_power(step, 10)
    np.testing.assert_allclose(law.pending[i], pending, atol=1e-6)
