r"""Mixtures of experts: which experts read a token, and how to override that.

A router sends each token to `k` of `E` experts (Shazeer et al., 1701.06538):

.. math:: p = \mathrm{softmax}(W_r h + b), \quad
    p_e = v_e \text{ where that is replaced}
.. math:: y = \sum_{e \in \mathrm{top}_k(p)} w_e\, \mathrm{MLP}_e(h), \quad
    w = p \text{ or } p / \sum_{\mathrm{top}_k} p

with the softmax over all `E`, in float32. A `RouteOverride` gives `b` and `v`
by layer, and by prompt or row; top-k and normalisation come after it, so what
is mixed is always what the model could have chosen itself.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

_LEAST = np.finfo(np.float32).tiny  # weights that are all zero mix nothing


@dataclasses.dataclass(frozen=True)
class Experts:
  """What makes layers of a transformer mixtures of experts.

  Attributes:
    num_experts: `E`.
    top_k: experts that read a token.
    mlp_dim: width of one expert.
    normalise: whether the weights of the `top_k` are divided by their sum
      (Mixtral) or are those of the softmax over all (OLMoE).
    shared_mlp_dim: width of an expert that reads every token, times the sigmoid
      of a gate of its own (Qwen2-MoE); None for none.
    layers: which layers are mixtures; None for all. The others have a plain
      MLP.
  """

  num_experts: int
  top_k: int
  mlp_dim: int
  normalise: bool
  shared_mlp_dim: int | None = None
  layers: tuple[int, ...] | None = None

  def __post_init__(self):
    for name in ('num_experts', 'mlp_dim', 'shared_mlp_dim'):
      value = getattr(self, name)
      if value is not None and value < 1:
        raise ValueError(f'{name}={value} must be at least 1')
    if self.num_experts >= 2**31:
      raise ValueError(
        f'num_experts={self.num_experts} must be below 2**31, as their ids are'
      )
    if not 1 <= self.top_k <= self.num_experts:
      raise ValueError(
        f'top_k={self.top_k} must be from 1 to num_experts={self.num_experts}'
      )

  def in_layer(self, layer: int) -> bool:
    """Whether a layer is a mixture."""
    return self.layers is None or layer in self.layers


class RouteOverride(NamedTuple):
  """What to add to or put in place of a router's choice; all may be traced.

  `*R` is nothing (the same everywhere) or `[B, N]` (of each row; `[B, 1]`, of
  each prompt). Entries of layers without experts mean nothing.
  """

  bias: Float[Array, '*R L E']  # added to the router's logits
  values: Float[Array, '*R L E']  # in place of softmax(logits + bias) ...
  replaces: Bool[Array, '*R L E']  # ... where this holds
  # At which absolute positions, the prompt's first token being at 0, all this
  # holds; beyond `P` as at the last entry.
  positions: Bool[Array, '*R P']


class LayerOverride(NamedTuple):
  """The override of one layer, for each of its tokens."""

  bias: Float[Array, '#B #N #T E']
  values: Float[Array, '#B #N #T E']
  replaces: Bool[Array, '#B #N #T E']


class Chosen(NamedTuple):
  """The experts of each token and their weights."""

  weights: Float[Array, '*A k']
  ids: Int[Array, '*A k']


class Routing(NamedTuple):
  """What the routers of a model did; zero in layers without experts."""

  weights: Float[Array, '*A L E']  # after top-k, as they mixed
  logits: Float[Array, '*A L E']  # as the router gave them, without bias


def no_override(config: Any) -> RouteOverride:
  """An override of nothing, to begin from with `_replace`.

  Args:
    config: a `TransformerConfig` with experts.

  Returns:
    Zeros `[L, E]` that replace nothing, at every position.
  """
  shape = (config.num_layers, config.experts.num_experts)
  zeros = jnp.zeros(shape, jnp.float32)
  return RouteOverride(zeros, zeros, zeros > 0, jnp.ones((1,), bool))


def layer_mask(config: Any, layers: Sequence[int]) -> Bool[Array, 'L 1']:
  """Which layers are free: `replaces = layer_mask & expert_mask`.

  Raises:
    ValueError: for a layer that is no mixture of experts.
  """
  for i in layers:
    if not (0 <= i < config.num_layers and config.experts.in_layer(i)):
      raise ValueError(
        f'layer {i} is no mixture of experts of this model of '
        f'{config.num_layers} layers'
      )
  free = [[i in layers] for i in range(config.num_layers)]
  return jnp.array(free)


def expert_mask(
  weights: Float[Array, '*R L E'], num_experts: int
) -> Bool[Array, '*R L E']:
  """Which experts are free: those of the greatest weight in each layer."""
  _, ids = jax.lax.top_k(weights, num_experts)
  return jnp.any(jax.nn.one_hot(ids, weights.shape[-1], dtype=bool), axis=-2)


def check_override(
  override: RouteOverride,
  shape: tuple[int, int],
  num_prompts: int | None = None,
  num_rows: int | None = None,
) -> None:
  """Refuses an override that cannot be meant; traced values pass.

  Args:
    override: to check.
    shape: `(L, E)` of the model.
    num_prompts: `B`, or None for an override that must be without rows.
    num_rows: `N`; rows may also be one, for each prompt.

  Raises:
    ValueError: naming the field.
  """
  rows = [()]
  if num_prompts is not None:
    rows += [(num_prompts, 1), (num_prompts, num_rows or 1)]
  lead = override.bias.shape[:-2]
  for name, value in override._asdict().items():
    own = shape if name != 'positions' else value.shape[-1:]
    if value.shape != (*lead, *own) or lead not in rows or 0 in value.shape:
      wanted = ' or '.join(str((*row, *own)) for row in dict.fromkeys(rows))
      raise ValueError(f'route override: {name} is {value.shape}, not {wanted}')
    is_flag = name in ('replaces', 'positions')
    if (value.dtype == bool) != is_flag:
      kind = 'bool' if is_flag else 'float'
      raise ValueError(f'route override: {name} is {value.dtype}, not {kind}')
    if isinstance(value, Tracer) or is_flag:
      continue
    if not np.all(np.isfinite(value)):
      raise ValueError(f'route override: {name} is not finite everywhere')
    if name == 'values' and np.any(np.asarray(value) < 0):
      raise ValueError(
        f'route override: values must not be negative, but one is '
        f'{float(np.min(value)):g}'
      )


def holds_at(
  override: RouteOverride, positions: Int[Array, 'B N T']
) -> Bool[Array, 'B N T 1']:
  """Whether an override holds for tokens at absolute positions."""
  index = jnp.minimum(positions, override.positions.shape[-1] - 1)
  if override.positions.ndim == 1:
    return override.positions[index][..., None]
  return jnp.take_along_axis(override.positions, index, axis=-1)[..., None]


def of_layer(
  override: RouteOverride,
  holds: Bool[Array, 'B N T 1'],
  layer: int | Int[Array, ''],
) -> LayerOverride:
  """The override of one layer, for tokens that it holds for or not."""
  rows = override.bias.ndim > 2
  at = lambda leaf: jnp.take(leaf, layer, axis=-2)
  at_tokens = lambda leaf: at(leaf)[:, :, None] if rows else at(leaf)
  bias, values, replaces = map(at_tokens, override[:3])
  return LayerOverride(
    jnp.where(holds, bias.astype(jnp.float32), 0.0),
    values.astype(jnp.float32),
    jnp.logical_and(holds, replaces),
  )


def probabilities(
  logits: Float[Array, '*A E'], override: LayerOverride | None
) -> Float[Array, '*A E']:
  """The weights of all experts before top-k."""
  if override is None:
    return jax.nn.softmax(logits)
  p = jax.nn.softmax(logits + override.bias)
  return jnp.where(override.replaces, override.values, p)


def choose(
  experts: Experts,
  logits: Float[Array, '*A E'],
  override: LayerOverride | None = None,
) -> Chosen:
  """Top-k of the router's law, and how they are mixed."""
  p = probabilities(logits, override)
  weights, ids = jax.lax.top_k(p, experts.top_k)
  return Chosen(_normalise(experts, weights), ids.astype(jnp.int32))


def spread(chosen: Chosen, num_experts: int) -> Float[Array, '*A E']:
  """The weight of every expert, 0 for those that were not chosen."""
  is_chosen = jax.nn.one_hot(chosen.ids, num_experts, dtype=jnp.float32)
  return jnp.einsum('...k,...ke->...e', chosen.weights, is_chosen)


def straight_through(
  experts: Experts,
  logits: Float[Array, '*A E'],
  override: LayerOverride | None = None,
) -> Float[Array, '*A E']:
  r"""Weights of all experts: those of top-k, with the gradient of top-`E`.

  What top-k leaves out has no gradient of its own; with this one
  :math:`\partial L / \partial b_e = p_e (g_e - \sum_j p_j g_j)`, where `g_e` is
  the derivative to the weight of expert `e`, chosen or not.
  """
  hard = spread(choose(experts, logits, override), experts.num_experts)
  soft = _normalise(experts, probabilities(logits, override))
  return soft + jax.lax.stop_gradient(hard - soft)


def _normalise(experts, weights):
  if not experts.normalise:
    return weights
  total = jnp.sum(weights, axis=-1, keepdims=True)
  return weights / jnp.maximum(total, _LEAST)
