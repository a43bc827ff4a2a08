"""Priors that shift: what Bayes says of Gaussian classes."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc.adaptation import priors
from ttc.adaptation.label_shift_adapter import (
  adapted_logits,
  imbalance,
  train_label_shift_adapter,
)

CENTRES = jnp.array([[0.0, 0.0], [1.5, 0.0], [0.0, 1.5]], jnp.float32)
SOURCE = jnp.array([0.7, 0.2, 0.1], jnp.float32)
OTHER = jnp.array([0.1, 0.3, 0.6], jnp.float32)


def draw(seed, prior, size):
  label_key, noise_key = jax.random.split(jax.random.key(seed))
  labels = jax.random.categorical(label_key, jnp.log(prior), shape=(size,))
  noise = jax.random.normal(noise_key, (size, 2), jnp.float32)
  return CENTRES[labels] + noise, labels.astype(jnp.int32)


def head(prior):
  """Bayes-optimal for unit Gaussians with this prior."""
  bias = jnp.log(prior) - jnp.sum(CENTRES**2, -1) / 2
  return {'kernel': CENTRES.T, 'bias': bias}


def logits_of(x, prior):
  return x @ head(prior)['kernel'] + head(prior)['bias']


class PriorsTest(absltest.TestCase):
  def test_correction_is_the_other_bayes_rule(self):
    x, _ = draw(0, OTHER, 50)
    corrected = priors.correct_prior(logits_of(x, SOURCE), OTHER, SOURCE)
    np.testing.assert_allclose(corrected, logits_of(x, OTHER), atol=1e-5)

  def test_maximum_likelihood_finds_the_prior_and_never_falls(self):
    x, _ = draw(1, OTHER, 20_000)
    p = jax.nn.softmax(logits_of(x, SOURCE))
    found = priors.maximum_likelihood_prior(p, SOURCE)
    # Deviations over seeds are about .007.
    np.testing.assert_allclose(found, OTHER, atol=0.025)
    likelihood = lambda n: jnp.mean(
      jnp.log(p @ (priors.maximum_likelihood_prior(p, SOURCE, n) / SOURCE))
    )
    steps = [float(likelihood(n)) for n in (0, 1, 2, 5, 20, 100)]
    self.assertGreater(np.diff(steps).min(), -1e-6)
    self.assertGreater(steps[-1], steps[0] + 0.1)

  def test_the_confusion_matrix_finds_it_too(self):
    x, y = draw(2, SOURCE, 20_000)
    said = logits_of(x, SOURCE).argmax(-1)
    confusion = jnp.zeros((3, 3)).at[said, y].add(1 / len(y))
    z, _ = draw(3, OTHER, 20_000)
    predicted = jnp.bincount(logits_of(z, SOURCE).argmax(-1), length=3) / len(z)
    found = priors.confusion_prior(confusion, predicted, SOURCE)
    np.testing.assert_allclose(found, OTHER, atol=0.05)

  def test_the_adapter_comes_near_the_bayes_rule(self):
    x, y = draw(4, SOURCE, 20_000)
    params = train_label_shift_adapter(
      jax.random.key(0), x, y, head(SOURCE), SOURCE,
      num_steps=1500, batch_size=512, learning_rate=3e-3,
    )  # fmt: skip
    inverted = SOURCE**-1 / jnp.sum(SOURCE**-1)
    for prior in (SOURCE, jnp.full(3, 1 / 3), inverted):
      x, y = draw(5, prior, 20_000)
      degree = imbalance(prior, SOURCE)
      logits = adapted_logits(params, head(SOURCE), x, degree)
      right = lambda f, y=y: float(jnp.mean(f.argmax(-1) == y))
      self.assertGreater(right(logits), right(logits_of(x, prior)) - 0.01)
    self.assertGreater(right(logits), right(logits_of(x, SOURCE)) + 0.2)

  def test_degrees_of_imbalance(self):
    degree = lambda prior: float(imbalance(prior, SOURCE))
    self.assertAlmostEqual(degree(SOURCE), 0.6, places=6)
    self.assertAlmostEqual(degree(SOURCE[::-1]), -0.6, places=6)
    self.assertAlmostEqual(degree(jnp.full(3, 1 / 3)), 0, places=6)


if __name__ == '__main__':
  absltest.main()
