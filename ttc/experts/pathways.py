r"""Pathways: the routing weights of a token, by layer and expert.

Methods move a part of a pathway, the core experts of the critical layers, and
leave the rest as the router has it. A layer's weights stay on the simplex: what
moves keeps the sum that it had. The model takes its top-k of them afterwards,
and normalises those as it always does.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ttc import models


def free_experts(
  pathway: Float[Array, '*A L E'], num_layers: int, num_core: int
) -> Bool[Array, '*A L E']:
  """The experts that may be re-weighted.

  Args:
    pathway: of the router; 0 in layers without experts.
    num_layers: critical layers, the last ones with experts; static. 5 in C3PO.
    num_core: core experts of each, those with the highest weights; static. 20
      of 64 in C3PO. Of equal weights the first count.

  Returns:
    True for the core experts of the critical layers.

  Raises:
    ValueError: if there are fewer layers or experts than asked for.
  """
  L, E = pathway.shape[-2:]
  check_share(L, E, num_layers, num_core)
  is_mixture = jnp.any(pathway > 0, axis=-1)
  from_end = jnp.flip(jnp.cumsum(jnp.flip(is_mixture, -1), axis=-1), -1)
  critical = is_mixture & (from_end <= num_layers)
  return critical[..., None] & models.expert_mask(pathway, num_core)


def check_share(L: int, E: int, num_layers: int, num_core: int) -> None:
  """Raises ValueError for layers or experts that a model does not have."""
  if not 1 <= num_layers <= L:
    raise ValueError(f'{num_layers=} must be from 1 to the {L} layers')
  if not 2 <= num_core <= E:
    raise ValueError(f'{num_core=} must be from 2 to the {E} experts')


def keep_rest(
  moved: Float[Array, '*A L E'],
  pathway: Float[Array, '*A L E'],
  free: Bool[Array, '*A L E'],
) -> Float[Array, '*A L E']:
  """What moved, on free experts only, scaled to the sum they had before."""
  of_free = lambda x: jnp.sum(jnp.where(free, x, 0.0), axis=-1, keepdims=True)
  theirs = of_free(moved)
  scale = of_free(pathway) / jnp.maximum(theirs, 1e-12)
  return jnp.where(free & (theirs > 0), scale * moved, pathway)


class Space(NamedTuple):
  """Coordinates in which a pathway descends.

  Attributes:
    start: of the router's own pathway.
    pathway: `coordinates -> [L, E]`.
    retract: `coordinates -> coordinates`, back to where they mean something.
  """

  start: Any
  pathway: Callable[[Any], Float[Array, 'L E']]
  retract: Callable[[Any], Any]


# `(pathway, free) -> space`.
MakeSpace = Callable[[Float[Array, 'L E'], Bool[Array, 'L E']], Space]


def logit_space(
  pathway: Float[Array, 'L E'], free: Bool[Array, 'L E']
) -> Space:
  r"""Logits of free experts: :math:`\omega = m \, softmax(z)`, `m` their sum.

  No step leaves the simplex. An expert whose weight is 0 has no logit and gets
  the smallest there is.
  """
  mass = jnp.sum(jnp.where(free, pathway, 0.0), axis=-1, keepdims=True)

  def of(logits):
    logits = jnp.where(free, logits, -jnp.inf)
    none = ~free.any(axis=-1, keepdims=True)
    shares = jax.nn.softmax(jnp.where(none, 0.0, logits), axis=-1)
    return jnp.where(free, mass * shares, pathway)

  start = jnp.log(jnp.maximum(pathway, jnp.finfo(jnp.float32).tiny))
  return Space(start, of, lambda logits: logits)


def simplex_space(
  pathway: Float[Array, 'L E'], free: Bool[Array, 'L E']
) -> Space:
  """The weights themselves, projected on the simplex after each step."""
  mass = jnp.sum(jnp.where(free, pathway, 0.0), axis=-1)
  retract = lambda moved: jnp.where(
    free, project_on_simplex(moved, free, mass), pathway
  )
  return Space(pathway, lambda moved: jnp.where(free, moved, pathway), retract)


def unbounded_space(
  pathway: Float[Array, 'L E'], free: Bool[Array, 'L E']
) -> Space:
  """The weights themselves, which may leave the simplex: to compare with."""
  of = lambda moved: jnp.where(free, moved, pathway)
  return Space(pathway, of, lambda moved: moved)


def project_on_simplex(
  x: Float[Array, '*A E'],
  free: Bool[Array, '*A E'],
  mass: Float[Array, '*A'],
) -> Float[Array, '*A E']:
  """The nearest weights of free experts that are positive and sum to `mass`.

  Held and Wolfe's algorithm: sort, and subtract the threshold at which what is
  left sums right. Others get 0.
  """
  lowest = jnp.finfo(jnp.float32).min
  descending = -jnp.sort(-jnp.where(free, x, lowest), axis=-1)
  counts = descending > lowest
  excess = jnp.cumsum(jnp.where(counts, descending, 0.0), axis=-1)
  excess -= mass[..., None]
  thresholds = excess / jnp.arange(1, x.shape[-1] + 1, dtype=jnp.float32)
  kept = jnp.sum(counts & (descending > thresholds), axis=-1, keepdims=True)
  last = jnp.maximum(kept - 1, 0)
  threshold = jnp.take_along_axis(thresholds, last, axis=-1)
  return jnp.where(free, jnp.maximum(x - threshold, 0.0), 0.0)
