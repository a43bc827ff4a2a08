"""What the routers of a mixture of experts do with given sequences."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ttc.models.base import Cache, LanguageModel, Router
from ttc.models.experts import RouteOverride, Routing, check_override
from ttc.models.sharding import on_auto_axes
from ttc.types import Params


@on_auto_axes
def routing(
  model: LanguageModel,
  params: Params,
  tokens: Int[Array, 'B T'] | Float[Array, 'B T D'],
  override: RouteOverride | None = None,
  lengths: Int[Array, ' B'] | None = None,
) -> Routing:
  """Weights of all experts for each token of `B` sequences.

  Costs a forward pass.

  Args:
    model: with experts.
    params: its own.
    tokens: ids, or embeddings in their place.
    override: what routers are told instead, without rows or `[B, 1]`.
    lengths: how many of the `T` tokens count; None for all.

  Returns:
    Weights `[B, T, L, E]` after top-k, and the routers' logits.

  Raises:
    ValueError: if the model has no experts or the override cannot be meant.
  """
  return read_routed(model, params, tokens, lengths, override)[1]


@on_auto_axes
def read_routed(
  model: LanguageModel,
  params: Params,
  inputs: Int[Array, 'B T'] | Float[Array, 'B T D'],
  lengths: Int[Array, ' B'] | None = None,
  override: RouteOverride | None = None,
) -> tuple[Float[Array, 'B T D'], Routing]:
  """`read`, and what the routers did, in one pass; arguments as `routing`."""
  B, T = inputs.shape[:2]
  router = check_routes(model, override, B)
  zeros = jnp.zeros((B, 1), jnp.int32)
  num_tokens = zeros + T if lengths is None else lengths[:, None]
  empty = Cache(None, zeros[:, 0], None, zeros, override)
  features, _, routed = router.features(
    params, inputs[:, None], num_tokens, empty
  )
  weights, logits = routed
  return features[:, 0], Routing(weights[:, 0], logits[:, 0])


def check_routes(
  model: LanguageModel,
  override: RouteOverride | None,
  num_prompts: int | None = None,
  num_rows: int | None = None,
) -> Router:
  """The router of a model, which an override fits; else ValueError.

  Args:
    model: that must have experts.
    override: to check as `check_override` does; None for none.
    num_prompts: `B`.
    num_rows: `N`.

  Returns:
    The router.
  """
  if model.router is None:
    raise ValueError(
      'the model has no experts, so no routes; TransformerConfig.experts gives '
      'it some'
    )
  if override is not None:
    check_override(override, model.router.shape, num_prompts, num_rows)
  return model.router
