r"""Class priors that shift: correcting for a known one, estimating the unknown.

If the source's probabilities :math:`p_{ik}` are right for its prior
:math:`\pi^s` and only the prior changes, the best logits for :math:`\pi` are
:math:`f + \log \pi - \log \pi^s`, and :math:`\pi` can be had from unlabelled
images. Saerens, Latinne and Decaestecker, 2002 (expectation maximisation);
Lipton, Wang and Smola, 2018, arXiv 1802.03916 (confusion matrix).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def correct_prior(
  logits: Float[Array, 'B K'],
  prior: Float[Array, ' K'],
  source_prior: Float[Array, ' K'],
) -> Float[Array, 'B K']:
  """The Bayes rule for another prior.

  Args:
    logits: right for the source's prior.
    prior: that of the images.
    source_prior: that of the training data.
  """
  return logits + jnp.log(prior) - jnp.log(source_prior)


def maximum_likelihood_prior(
  probabilities: Float[Array, 'n K'],
  source_prior: Float[Array, ' K'],
  num_steps: int = 100,
) -> Float[Array, ' K']:
  r"""Expectation maximisation; no step lowers the likelihood.

  .. math:: \pi_k \leftarrow \frac{1}{n} \sum_i
     \frac{p_{ik} \pi_k / \pi^s_k}{\sum_j p_{ij} \pi_j / \pi^s_j}

  Args:
    probabilities: of the source model, calibrated.
    source_prior: that of the training data, where the steps begin.
    num_steps: of them.

  Example:
    >>> said = jnp.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> even = jnp.array([0.5, 0.5])
    >>> adaptation.maximum_likelihood_prior(said, even).tolist()
    [0.75, 0.25]
  """

  def step(prior, _):
    known = source_prior > 0
    ratio = jnp.where(known, prior / jnp.where(known, source_prior, 1), 0)
    posterior = probabilities * ratio
    posterior /= jnp.sum(posterior, axis=-1, keepdims=True)
    return jnp.mean(posterior, axis=0), None

  return jax.lax.scan(step, source_prior, length=num_steps)[0]


def confusion_prior(
  confusion: Float[Array, 'K K'],
  predicted: Float[Array, ' K'],
  source_prior: Float[Array, ' K'],
) -> Float[Array, ' K']:
  """Solves for the prior that makes the predictions as frequent as they are.

  Args:
    confusion: `[i, j]`, how often the source's images were predicted to be `i`
      and were `j`; sums to one.
    predicted: how often classes were predicted on the new images.
    source_prior: that of the training data.

  Returns:
    The prior, cut at zero and normalised.
  """
  ratio = jnp.maximum(jnp.linalg.solve(confusion, predicted), 0)
  prior = ratio * source_prior
  return prior / jnp.sum(prior)
