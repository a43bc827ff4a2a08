import jax.numpy as jnp
import numpy as np

from ttc import evaluation


def test_by_hand():
  # (0, .5]: confidence .4, accuracy .5; (.5, 1]: .8 and 1.
  got = evaluation.expected_calibration_error(
    jnp.array([0.3, 0.5, 0.7, 0.9]), jnp.array([0, 1, 1, 1]), 2
  )
  np.testing.assert_allclose(got, 0.5 * 0.1 + 0.5 * 0.2, atol=1e-6)


def test_bins_are_closed_above():
  correct = jnp.array([1.0, 0.0])
  together = evaluation.expected_calibration_error(
    jnp.array([0.3, 0.25]), correct
  )
  apart = evaluation.expected_calibration_error(jnp.array([0.3, 0.35]), correct)
  np.testing.assert_allclose(together, abs(0.5 - 0.275), atol=1e-6)
  np.testing.assert_allclose(apart, (0.7 + 0.35) / 2, atol=1e-6)


def test_calibrated_sure_and_absent_answers():
  ece = evaluation.expected_calibration_error
  assert float(ece(jnp.array([0.5, 0.5]), jnp.array([1, 0]))) == 0
  assert float(ece(jnp.array([1.0, 1.0]), jnp.array([0, 0]))) == 1
  assert float(ece(jnp.array([1.0, 0.0]), jnp.array([1, 0]))) == 0
  assert float(ece(jnp.array([1.0, 0.0]), jnp.array([0, 0]))) == 1
