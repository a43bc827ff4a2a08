r"""C3PO: routes of a question from those that served its neighbours.

Li et al., 2504.07964. A reference set holds questions that the model got right,
with the pathway :math:`\omega_i` of each. For a new question with pathway
:math:`\omega` and neighbours :math:`N(x)` under a kernel `K`, one of

* mode finding: :math:`\omega \leftarrow a \omega + (1 - a)
  \sum_i K(\omega, \omega_i) \omega_i / \sum_i K(\omega, \omega_i)`, repeated;
* kernel regression: :math:`\omega \leftarrow a \omega + (1 - a)
  \sum_i K(x, x_i) \omega_i / \sum_i K(x, x_i)`;
* neighbourhood gradient descent: steps on :math:`\sum_i K(x, x_i)
  CE(f(x_i; \omega), y_i) / \sum_i K(x, x_i)` from the model's own pathway.

All are functions of arrays, of one question: `jax.vmap` over questions. In
passes over a question, with `k` neighbours: the reference set is read once, 1
each; mode finding and kernel regression cost 1 to find the pathway, 1 to
answer, and `k` for each `a` that is tried; gradient descent costs 2 and
`3 k S` for `S` steps.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from ttc.experts.pathways import MakeSpace, keep_rest, logit_space

# `(x [D], others [R, D]) -> log K [R]`; -inf for what is no neighbour at all.
LogKernel: TypeAlias = Callable[
  [Float[Array, ' D'], Float[Array, 'R D']], Float[Array, ' R']
]
Pathways: TypeAlias = Float[Array, 'K L E']  # of the neighbours
LossFn: TypeAlias = Callable[[Float[Array, 'L E']], Float[Array, '']]


class Neighbours(NamedTuple):
  """Of a question in a reference set, the nearest first."""

  ids: Int[Array, ' K']
  weights: Float[Array, ' K']  # K(x, x_i) over their sum; all 0 if that is 0


class Descent(NamedTuple):
  """What gradient descent found."""

  pathway: Float[Array, 'L E']
  losses: Float[Array, ' S']  # of the neighbours, before each step


def gaussian_kernel(bandwidth: float | Float[Array, '']) -> LogKernel:
  """`exp(-|x - y|^2 / (2 h^2))` (the paper's), its bandwidth traced."""

  def log_kernel(x, others):
    distance = jnp.sum(jnp.square(others - x), axis=-1)
    return -distance / (2.0 * jnp.square(bandwidth))

  return log_kernel


def cosine_kernel(
  x: Float[Array, ' D'], others: Float[Array, 'R D']
) -> Float[Array, ' R']:
  """The cosine, 0 where it is negative (the released code's, but clipped)."""
  norms = jnp.linalg.norm(x) * jnp.linalg.norm(others, axis=-1)
  return jnp.log(jnp.maximum(others @ x / jnp.maximum(norms, 1e-12), 0.0))


def typical_distance(
  references: Float[Array, 'R D'], num_neighbours: int
) -> Float[Array, '']:
  """A bandwidth: the median distance to the `num_neighbours`-th neighbour.

  Raises:
    ValueError: if there are no more references than that.
  """
  R = references.shape[0]
  if not 1 <= num_neighbours < R:
    raise ValueError(f'{num_neighbours=} must be from 1 to {R - 1} others')
  squares = jnp.sum(jnp.square(references), axis=-1)
  distances = squares[:, None] + squares - 2 * references @ references.T
  nearest = jnp.sort(distances, axis=-1)[:, num_neighbours]  # 0 is itself
  return jnp.median(jnp.sqrt(jnp.maximum(nearest, 1e-12)))


def find_neighbours(
  x: Float[Array, ' D'],
  references: Float[Array, 'R D'],
  num_neighbours: int,
  log_kernel: LogKernel,
  is_same: Bool[Array, ' R'] | None = None,
) -> Neighbours:
  """The nearest references of a question, which is never one of them.

  Args:
    x: its embedding.
    references: embeddings.
    num_neighbours: `k`, 3 in the paper; static.
    log_kernel: of embeddings.
    is_same: references that are the question itself; they get no weight.

  Returns:
    The neighbours.

  Raises:
    ValueError: if there are fewer references than neighbours.
  """
  R = references.shape[0]
  if not 1 <= num_neighbours <= R:
    raise ValueError(f'{num_neighbours=} must be from 1 to {R} references')
  scores = log_kernel(x, references)
  if is_same is not None:
    scores = jnp.where(is_same, -jnp.inf, scores)
  scores, ids = jax.lax.top_k(scores, num_neighbours)
  return Neighbours(ids, _shares(scores))


def mode_finding(
  pathway: Float[Array, 'L E'],
  pathways: Pathways,
  free: Bool[Array, 'L E'],
  num_steps: int = 10,
  *,
  alpha: float | Float[Array, ''] = 0.5,
  bandwidth: float | Float[Array, ''] = 0.5,
) -> Float[Array, 'L E']:
  """Mean shift in the space of pathways, over free experts.

  Args:
    pathway: of the router.
    pathways: of the neighbours.
    free: what may move.
    num_steps: static.
    alpha: share of the old pathway in a step; 1 changes nothing.
    bandwidth: of the Gaussian kernel of free experts' weights.

  Returns:
    The pathway after the steps.
  """
  log_kernel = gaussian_kernel(bandwidth)
  flat = jnp.where(free, pathways, 0.0).reshape(len(pathways), -1)

  def step(moved, _):
    ours = jnp.where(free, moved, 0.0).reshape(-1)
    weights = _shares(log_kernel(ours, flat))
    return _mix(moved, pathways, weights, alpha), None

  moved, _ = jax.lax.scan(step, pathway, length=num_steps)
  return keep_rest(moved, pathway, free)


def kernel_regression(
  pathway: Float[Array, 'L E'],
  pathways: Pathways,
  weights: Float[Array, ' K'],
  free: Bool[Array, 'L E'],
  *,
  alpha: float | Float[Array, ''] = 0.5,
) -> Float[Array, 'L E']:
  """The weighted mean of the neighbours' pathways, mixed with the router's.

  Args:
    pathway: of the router.
    pathways: of the neighbours.
    weights: of `Neighbours`; all 0 changes nothing.
    free: what may move.
    alpha: share of the router's; 1 changes nothing. See `best_alpha`.

  Returns:
    The pathway.
  """
  return keep_rest(_mix(pathway, pathways, weights, alpha), pathway, free)


def best_alpha(
  make: Callable[[Float[Array, '']], Float[Array, 'L E']],
  loss_fn: LossFn,
  alphas: Float[Array, ' A'],
) -> Float[Array, 'L E']:
  """The pathway whose alpha suits the neighbours best; of equals the first.

  Args:
    make: `alpha -> pathway`.
    loss_fn: the neighbours' loss, never that of the question itself.
    alphas: to try.

  Returns:
    The pathway of the best alpha.
  """
  tried = jax.vmap(make)(alphas)
  return tried[jnp.argmin(jax.lax.map(loss_fn, tried))]


def neighbourhood_gradient_descent(
  pathway: Float[Array, 'L E'],
  loss_fn: LossFn,
  free: Bool[Array, 'L E'],
  optimizer: optax.GradientTransformation,
  num_steps: int = 10,
  make_space: MakeSpace = logit_space,
) -> Descent:
  """Steps on the neighbours' loss from the router's pathway.

  Args:
    pathway: of the router.
    loss_fn: the neighbours' weighted loss; see `neighbours_loss`.
    free: what may move.
    optimizer: its steps should decay.
    num_steps: static.
    make_space: coordinates; logits by default.

  Returns:
    The last pathway, and the losses on the way.
  """
  space = make_space(pathway, free)

  def step(carry, _):
    x, opt_state = carry
    loss, grads = jax.value_and_grad(lambda x: loss_fn(space.pathway(x)))(x)
    updates, opt_state = optimizer.update(grads, opt_state, x)
    x = space.retract(optax.apply_updates(x, updates))
    return (x, opt_state), loss

  carry = space.start, optimizer.init(space.start)
  (x, _), losses = jax.lax.scan(step, carry, length=num_steps)
  return Descent(space.pathway(x), losses)


def _shares(log_weights: Float[Array, ' K']) -> Float[Array, ' K']:
  """Weights over their sum; zeros if it is 0."""
  most = jnp.max(log_weights)
  weights = jnp.exp(log_weights - jnp.where(jnp.isfinite(most), most, 0.0))
  return weights / jnp.maximum(jnp.sum(weights), 1e-12)


def _mix(pathway, pathways, weights, alpha):
  """`alpha` of the one and the rest of the others; all of it if none weighs."""
  rest = (1.0 - alpha) * jnp.where(jnp.any(weights > 0), 1.0, 0.0)
  return (1.0 - rest) * pathway + rest * jnp.einsum(
    'k,kle->le', weights, pathways
  )
