r"""Meta-rater: weights of quality scores from proxy trainings (2504.14194).

Every document has m scores. For N weight vectors from the simplex the documents
with the largest weighted score train a small proxy model, whose loss on text
that was held out is recorded; a regression from weights to loss is asked for
many random weights, and the mean of those of the least predicted loss is used:

.. math:: w^* = \frac1K \sum_{w \in \mathrm{best}_K} w, \qquad
    \hat\ell(w) = a + b^\top w + w^\top C w.

Proxies train side by side by `vmap`, each on its own documents. The paper's
regressor is gradient-boosted trees; a ridge regression on squares and products
is differentiable and needs no other package. Cost: N proxy trainings.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


class Surrogate(NamedTuple):
  """A quadratic in the weights."""

  coefficients: Float[Array, ' F']

  def __call__(self, weights: Float[Array, '*A m']) -> Float[Array, '*A']:
    """The loss that is predicted of weights."""
    return _features(weights) @ self.coefficients


class MetaRater(NamedTuple):
  """What was tried and what came of it.

  Attributes:
    weights: to rate documents with; on the simplex.
    tried: weight vectors whose proxies were trained.
    losses: of these proxies.
    surrogate: fitted to them.
  """

  weights: Float[Array, ' m']
  tried: Float[Array, 'N m']
  losses: Float[Array, ' N']
  surrogate: Surrogate


def standardise(scores: Float[Array, 'docs m']) -> Float[Array, 'docs m']:
  """Each score with mean 0 and deviation 1; 0 where it is constant."""
  centred = scores - jnp.mean(scores, axis=0)
  deviation = jnp.std(scores, axis=0)
  return jnp.where(deviation > 0, centred / jnp.maximum(deviation, 1e-12), 0.0)


def select_documents(
  scores: Float[Array, 'docs m'], weights: Float[Array, ' m'], count: int
) -> Int[Array, ' count']:
  """The documents of the largest weighted score; ties go to the first.

  Args:
    scores: standardised.
    weights: of the scores.
    count: documents to keep, of equal length; static.

  Returns:
    Their indices, best first.

  Raises:
    ValueError: if there are not so many.
  """
  if not 1 <= count <= scores.shape[0]:
    raise ValueError(f'{count=} is not in [1, {scores.shape[0]}]')
  return jax.lax.top_k(scores @ weights, count)[1]


def meta_rater(
  key: PRNGKeyArray,
  scores: Float[Array, 'docs m'],
  losses_fn: Callable[[Int[Array, 'N count']], Float[Array, ' N']],
  count: int,
  *,
  num_proxies: int = 256,
  num_candidates: int = 100_000,
  num_averaged: int = 100,
  ridge: float = 1e-3,
) -> MetaRater:
  """Weights under which proxies learn most.

  Args:
    key: random key, consumed.
    scores: of each document; standardised here.
    losses_fn: trains a proxy on each row of documents, from the same initial
      parameters, and returns their losses on held-out text.
    count: documents of a proxy; static.
    num_proxies: `N`.
    num_candidates: weights that the regression is asked for.
    num_averaged: `K` of the best that are averaged.
    ridge: of the regression, on standardised losses.

  Returns:
    A `MetaRater`.

  Raises:
    ValueError: for fewer proxies than two or more averaged than candidates.
  """
  if num_proxies < 2:
    raise ValueError(f'{num_proxies=} must be at least 2')
  if not 1 <= num_averaged <= num_candidates:
    raise ValueError(f'{num_averaged=} is not in [1, {num_candidates}]')
  tried_key, candidate_key = jax.random.split(key)
  num_scores = scores.shape[1]
  flat = jnp.ones(num_scores, jnp.float32)
  tried = jax.random.dirichlet(tried_key, flat, (num_proxies,))
  scores = standardise(scores)
  chosen = jax.vmap(lambda w: select_documents(scores, w, count))(tried)
  losses = losses_fn(chosen)
  surrogate = fit_surrogate(tried, losses, ridge)
  candidates = jax.random.dirichlet(candidate_key, flat, (num_candidates,))
  best = jax.lax.top_k(-surrogate(candidates), num_averaged)[1]
  weights = jnp.mean(candidates[best], axis=0)
  return MetaRater(weights, tried, losses, surrogate)


def fit_surrogate(
  weights: Float[Array, 'N m'], losses: Float[Array, ' N'], ridge: float = 1e-3
) -> Surrogate:
  """Ridge regression of the losses on the weights, their squares and products.

  Args:
    weights: on the simplex.
    losses: of each; a training that diverged, NaN or infinite, is left out.
    ridge: penalty of a coefficient's square, with losses of deviation 1; the
      constant is not penalised.

  Returns:
    The quadratic.
  """
  counts = jnp.isfinite(losses)
  x = jnp.where(counts[:, None], _features(weights), 0.0)
  mean = jnp.mean(losses, where=counts)
  scale = jnp.maximum(jnp.std(losses, where=counts), 1e-12)
  y = jnp.where(counts, (losses - mean) / scale, 0.0)
  penalty = ridge * jnp.ones(x.shape[1]).at[0].set(0.0)
  gram = x.T @ x / jnp.sum(counts) + jnp.diag(penalty)
  solved = jnp.linalg.solve(gram, x.T @ y / jnp.sum(counts))
  return Surrogate((solved * scale).at[0].add(mean).astype(jnp.float32))


def _features(weights):
  """1, the weights but the last, which they imply, and products."""
  free = weights[..., :-1]
  i, j = jnp.triu_indices(free.shape[-1])
  ones = jnp.ones((*free.shape[:-1], 1), free.dtype)
  return jnp.concatenate([ones, free, free[..., i] * free[..., j]], axis=-1)
