r"""What keeps a router in order while it is trained: two losses of its routing.

Load balancing (Fedus et al., "Switch Transformers", 2101.03961, eqs. 4-6), for
the share `f_e` of choices that went to expert `e` and its mean probability
`P_e`, and the z-loss (Zoph et al., "ST-MoE", 2202.08906, eq. 5), which keeps
logits small:

.. math:: E \sum_e f_e P_e, \qquad
    \frac{1}{T} \sum_t \Big(\log \sum_e e^{l_{te}}\Big)^2

Only `P` has a gradient. Published weights of the two are about 0.01 and 0.001.
Both are functions of what `read_routed` records in the pass that is trained.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ttc.models.experts import Routing


def load_balancing_loss(
  routing: Routing, mask: Bool[Array, '*A'] | None = None
) -> Float[Array, ' L']:
  """How unevenly experts are used: 1 if evenly, up to `E / k`.

  (In transformers `f` sums to `k` and all layers are one, so that it is `k` for
  an even use, and layers that err in opposite ways pass.)

  Args:
    routing: of tokens, `[*A, L, E]`.
    mask: tokens that count; None for all.

  Returns:
    A loss for each layer; 0 without experts.
  """
  chosen = _mean((routing.weights > 0).astype(jnp.float32), mask)
  share = chosen / jnp.maximum(jnp.sum(chosen, axis=-1, keepdims=True), 1e-9)
  p = _mean(jax.nn.softmax(routing.logits), mask)
  return routing.logits.shape[-1] * jnp.sum(share * p, axis=-1)


def router_z_loss(
  routing: Routing, mask: Bool[Array, '*A'] | None = None
) -> Float[Array, ' L']:
  """Mean squared log-normaliser of the routers; arguments as above."""
  squared = jnp.square(jax.nn.logsumexp(routing.logits, axis=-1))
  is_mixture = jnp.any(routing.weights > 0, axis=-1)
  return _mean(jnp.where(is_mixture, squared, 0.0)[..., None], mask)[..., 0]


def _mean(x: Float[Array, '*A L E'], mask) -> Float[Array, 'L E']:
  """Mean over tokens."""
  axes = tuple(range(x.ndim - 2))
  if mask is None:
    return jnp.mean(x, axis=axes)
  mask = mask[..., None, None]
  count = jnp.maximum(jnp.sum(mask), 1)
  return jnp.sum(jnp.where(mask, x, 0.0), axis=axes) / count
