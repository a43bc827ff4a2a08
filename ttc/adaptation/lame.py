r"""LAME: neighbours should agree (Boudiaf et al., 2022, arXiv 2201.05718).

Parameters stay; the predictions of a batch are changed together. Assignments
:math:`Z` on the simplex minimise, by a concave-convex procedure,

.. math:: E(Z) = \sum_i \mathrm{KL}(z_i \,\|\, p_i)
   - \tfrac{\lambda}{2} \sum_{ij} W_{ij} z_i^\top z_j,
   \qquad Z \leftarrow \mathrm{softmax}(\log p + \lambda W Z).

E falls at every step if :math:`W` is symmetric and positive semidefinite, as
the Gaussian and the linear affinities are; with nearest neighbours it may rise.
Good on streams in which classes come in runs, harmful on shuffled ones.

Costs one forward pass and at most 100 products of `[B, B]` and `[B, K]`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ttc.adaptation.adapter import Adapter, Prediction, unit
from ttc.adaptation.statistics import source
from ttc.models.vision.classifier import Classifier

# `(unit features [B, D], mask [B]) -> [B, B]`, zero where a row does not count.
Affinity = Callable[[Array, Array], Array]


def gaussian_affinity(num_neighbours: int = 5) -> Affinity:
  r""":math:`\exp(-d_{ij}^2 / 2 \sigma^2)`.

  Sigma is the mean distance to the k-th entry of the list of distances that
  begins with the image itself, so to neighbour k - 1.

  Args:
    num_neighbours: `k`, at least 2.

  Raises:
    ValueError: for less.
  """
  if num_neighbours < 2:
    raise ValueError(f'num_neighbours {num_neighbours}: at least 2')

  def affinity(features, mask):
    squared, is_pair = _squared_distances(features, mask)
    others = jnp.sort(jnp.where(is_pair, squared, jnp.inf), axis=-1)
    last = jnp.clip(jnp.sum(mask) - 2, 0, num_neighbours - 2)
    kth = jnp.where(mask & (jnp.sum(mask) > 1), others[:, last], 0)
    distance = jnp.where(kth > 0, jnp.sqrt(jnp.where(kth > 0, kth, 1)), 0)
    sigma = jnp.sum(distance) / jnp.maximum(jnp.sum(mask), 1)
    near = jnp.exp(-squared / jnp.maximum(2 * sigma**2, 1e-12))
    counts = mask[:, None] & mask
    return jnp.where(counts, jnp.where(is_pair, near, 1), 0)

  return affinity


def neighbour_affinity(
  num_neighbours: int = 5, *, symmetric: bool = False
) -> Affinity:
  """One for the `k` nearest other images of a row, else zero.

  Args:
    num_neighbours: `k`.
    symmetric: whether to average it with its transpose.

  Raises:
    ValueError: without neighbours.
  """
  if num_neighbours < 1:
    raise ValueError(f'num_neighbours {num_neighbours}: at least 1')

  def affinity(features, mask):
    squared, is_pair = _squared_distances(features, mask)
    nearness = jnp.where(is_pair, -squared, -jnp.inf)
    k = min(num_neighbours, len(features))
    values, found = jax.lax.top_k(nearness, k)
    rows = jnp.arange(len(features))[:, None]
    weights = (
      jnp.zeros_like(squared)
      .at[rows, found]
      .set(jnp.isfinite(values).astype(squared.dtype))
    )
    return (weights + weights.T) / 2 if symmetric else weights

  return affinity


def linear_affinity(
  features: Float[Array, 'B D'], mask: Bool[Array, ' B']
) -> Float[Array, 'B B']:
  """Cosines of features."""
  return jnp.where(mask[:, None] & mask, features @ features.T, 0)


GAUSSIAN = gaussian_affinity()


def laplacian_assignments(
  log_p: Float[Array, 'B K'],
  affinity: Float[Array, 'B B'],
  *,
  strength: float | Float[Array, ''] = 1.0,
  num_steps: int = 100,
  tolerance: float | None = 1e-6,
) -> Float[Array, 'B K']:
  """The assignments that the procedure ends at.

  Args:
    log_p: log-probabilities of the network.
    affinity: `W`.
    strength: lambda.
    num_steps: at most so many.
    tolerance: stop once no assignment changes by more; None for all steps,
      which can be differentiated. (The release stops once an energy, which is
      not this E, changes by less than 1e-8 of itself.)
  """

  def step(z):
    return jax.nn.softmax(log_p + strength * affinity @ z).astype(log_p.dtype)

  first = jax.nn.softmax(log_p)
  if tolerance is None:
    advance = lambda z, _: (step(z), None)
    return jax.lax.scan(advance, first, length=num_steps)[0]

  def goes_on(carry):
    _, change, i = carry
    return (i < num_steps) & (change > tolerance)

  def advance_once(carry):
    z, _, i = carry
    new = step(z)
    return new, jnp.max(jnp.abs(new - z)), i + 1

  start = (first, jnp.array(jnp.inf, first.dtype), jnp.int32(0))
  return jax.lax.while_loop(goes_on, advance_once, start)[0]


def laplacian_energy(
  z: Float[Array, 'B K'],
  log_p: Float[Array, 'B K'],
  affinity: Float[Array, 'B B'],
  strength: float | Float[Array, ''] = 1.0,
) -> Float[Array, '']:
  """E of the module's formula."""
  own = jnp.sum(jax.scipy.special.xlogy(z, z) - z * log_p)
  return own - strength / 2 * jnp.sum(affinity * (z @ z.T))


def agree(
  prediction: Prediction,
  mask: Bool[Array, ' B'],
  affinity: Affinity = GAUSSIAN,
  *,
  strength: float | Float[Array, ''] = 1.0,
) -> Prediction:
  """LAME after any method: its predictions, made to agree with neighbours.

  Args:
    prediction: of the method.
    mask: rows that count.
    affinity: of features of length one.
    strength: lambda.

  Returns:
    The prediction with log-assignments for logits.
  """
  log_p = jnp.log(jax.nn.softmax(prediction.logits) + 1e-10)
  z = laplacian_assignments(
    log_p, affinity(unit(prediction.features), mask), strength=strength
  )
  return prediction._replace(logits=jnp.log(z + 1e-30))


def lame(
  network: Classifier,
  affinity: Affinity = GAUSSIAN,
  *,
  strength: float | Float[Array, ''] = 1.0,
) -> Adapter:
  """LAME on the network as it was trained.

  Args:
    network: the classifier.
    affinity: of features of length one.
    strength: lambda.
  """
  init, frozen = source(network)

  def update(state, batch, key):
    prediction, state = frozen(state, batch, key)
    return agree(prediction, batch.mask, affinity, strength=strength), state

  return Adapter(init, update)


def _squared_distances(features, mask):
  """Of unit rows; and which pairs of different rows count."""
  squared = jnp.maximum(2 - 2 * features @ features.T, 0)
  is_pair = mask[:, None] & mask & ~jnp.eye(len(features), dtype=bool)
  return squared, is_pair
