import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from compiled import compiled_module

from ttc import evaluation as library

evaluation = compiled_module(library)

PROBS = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.3, 0.5]])
LOGITS = jnp.log(jnp.asarray(PROBS, jnp.float32)) + 2.5
LABELS = jnp.array([0, 2, 2])
ALL = jnp.ones(3, bool)


class ClassificationTest(absltest.TestCase):
  def test_by_hand(self):
    for function, value in (
      (evaluation.error_rate, 1 / 3),
      (evaluation.negative_log_likelihood, -np.log([0.7, 0.3, 0.5]).mean()),
      # .09 + .04 + .01, .01 + .36 + .49, .04 + .09 + .25
      (evaluation.brier_score, (0.14 + 0.86 + 0.38) / 3),
      # Class 0 all, class 2 one of two, class 1 does not occur.
      (evaluation.macro_accuracy, 0.75),
      # Bins of 1/15: three of one item each.
      (evaluation.calibration_error, (0.3 + 0.6 + 0.5) / 3),
    ):
      with self.subTest(function.__name__):
        self.assertAlmostEqual(
          float(function(LOGITS, LABELS, ALL)), value, places=5
        )

  def test_masked_rows_do_not_count(self):
    more = jnp.concatenate([LOGITS, LOGITS[::-1]])
    labels = jnp.concatenate([LABELS, jnp.array([1, 1, 1])])
    mask = jnp.arange(6) < 3
    for function in (
      evaluation.error_rate,
      evaluation.negative_log_likelihood,
      evaluation.brier_score,
      evaluation.macro_accuracy,
      evaluation.calibration_error,
    ):
      np.testing.assert_allclose(
        function(more, labels, mask), function(LOGITS, LABELS, ALL), rtol=1e-6
      )

  def test_brier_is_least_at_the_truth(self):
    truth = jnp.array([0.2, 0.3, 0.5])
    labels = jnp.repeat(jnp.arange(3), jnp.array([2, 3, 5]))

    def score(logits):
      logits = jnp.broadcast_to(logits, (10, 3))
      return evaluation.brier_score(logits, labels, jnp.ones(10, bool))

    gradient = jax.grad(score)(jnp.log(truth))
    np.testing.assert_allclose(gradient, 0, atol=1e-6)

  def test_slope(self):
    self.assertAlmostEqual(
      float(evaluation.slope(jnp.array([1.0, 1.5, 2.0, 2.5]))), 0.5, places=6
    )
    self.assertAlmostEqual(
      float(evaluation.slope(jnp.array([1.0, 0.0, 1.0]))), 0, places=6
    )

  def test_reliability_adds_up_to_the_calibration_error(self):
    confidences = jax.random.uniform(jax.random.key(0), (200,))
    confidences = confidences.at[:20].set(0)
    correct = jax.random.bernoulli(jax.random.key(1), 0.5, (200,)).astype(
      jnp.float32
    )
    found = evaluation.reliability(confidences, correct, 10)
    gaps = jnp.abs(found.accuracies - found.confidences)
    self.assertEqual(float(found.counts.sum()), 180)
    np.testing.assert_allclose(
      jnp.sum(gaps * found.counts) / 180,
      evaluation.expected_calibration_error(confidences, correct, 10),
      rtol=1e-5,
    )


if __name__ == '__main__':
  absltest.main()
