"""The decoder-only transformer of the Llama family, and its relatives.

Pre-norm RMSNorm, grouped-query attention with rotary positions, SwiGLU. Where
the config says so: query, key and value biases (Qwen2), per-head query and key
norms (Qwen3), sliding windows (Mistral) in some layers, norms of what layers
add (OLMo 2), soft-caps and GeGLU (Gemma), multipliers (Granite), layers without
positions (SmolLM3), scaled and partial rotations (Phi); mixtures of experts in
place of MLPs (Mixtral, Qwen2-MoE, Qwen3-MoE, OLMoE); without rotary positions
or the causal mask, a transformer of sets. Parameters are a plain pytree:

  embed [V, D], layers: one dict per layer (stacked with `scan_layers`),
  final_norm [D], unembed [V, D] unless embeddings are tied.

Linear kernels are `[out, in]`, as checkpoints store them; those of experts
`[in, out]`, see `expert_products.Kernels`. A decoding step costs `2 P` FLOPs
per token for `P` parameters, those of experts that do not read it left out, and
`4 H Dh L` per attended token.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc.kernels.partial_attention import Segment, soft_cap
from ttc.models import experts, int8, layer_cache
from ttc.models.base import Cache, Inputs, LanguageModel, Router
from ttc.models.block import Block, rotation, rotations, windows
from ttc.models.experts import Routing
from ttc.models.layers import matmul, rms_norm
from ttc.models.mixture import Routed
from ttc.models.sharding import gather_width
from ttc.models.sparse_attention import SparseAttention
from ttc.models.transformer_config import TransformerConfig
from ttc.types import Params


@functools.lru_cache  # equal configs give equal functions: no recompilation
def transformer(
  config: TransformerConfig,
  attention: SparseAttention | None = None,
  remat: bool = False,
  straight_through: bool = False,
) -> LanguageModel:
  """The transformer of `config` as pure functions over a plain pytree.

  Args:
    config: shape and function.
    attention: what decoding attends to; None for everything. Parameters are the
      same for all.
    remat: whether a gradient computes the inside of each layer again instead of
      keeping it: less memory, a third more time. With `scan_layers`; of an
      unrolled program XLA's CPU compiler merges the two again. Of parameters
      that lie by `sharding.ZERO` each layer gathers its own.
    straight_through: let gradients see all experts as if all were chosen, not
      only the `top_k` (see `experts.straight_through`), at the price of running
      all. What comes out is the same.

  Returns:
    The model; equal arguments give the same one, so nothing recompiles.

  Raises:
    ValueError: if both the config and `attention` say what is attended to.
  """
  if attention is not None and not config.causal:
    raise ValueError('sparse attention is causal; the config has causal=False')
  if attention is not None and config.sliding_window is not None:
    raise ValueError(
      f'sparse attention has its own window; the config has '
      f'sliding_window={config.sliding_window}'
    )
  if attention is not None and config.attention_softcap is not None:
    raise ValueError(
      f'sparse attention has no soft-cap; the config has '
      f'attention_softcap={config.attention_softcap}'
    )
  options = _Options(attention, remat, straight_through)
  router = None
  if config.experts is not None:
    router = Router(
      (config.num_layers, config.experts.num_experts),
      functools.partial(_routed_features, config, options),
    )
  return LanguageModel(
    init=functools.partial(_init, config),
    features=functools.partial(_features, config, options),
    logits=functools.partial(_logits, config, options),
    make_suffix=functools.partial(_make_suffix, config, attention),
    vocab_size=config.vocab_size,
    max_length=config.max_length,
    batch_axis=1 if config.scan_layers else 0,
    embed=functools.partial(_embed, config, options),
    router=router,
    join=functools.partial(_join, config, options.attention),
  )


class _Options(NamedTuple):
  """What the function of a transformer has beside its config."""

  attention: SparseAttention | None
  remat: bool
  straight_through: bool


def num_params(params: Params) -> int:
  """Number of scalars in `params`; scales of int8 are not counted."""
  leaves = jax.tree.leaves(params, is_leaf=int8.is_quantized)
  return sum(leaf.size for leaf in leaves)


@functools.partial(jax.jit, static_argnums=0)  # op by op is much slower
def _init(config: TransformerConfig, key: PRNGKeyArray) -> Params:
  c = config
  embed_key, unembed_key, layers_key = jax.random.split(key, 3)
  dtype = jnp.dtype(c.dtype)
  x = jnp.zeros((1, 1, 1, c.embed_dim), dtype)
  attend = lambda q, k, v: (q, None)

  def init_layer(key, i=0):
    is_mixture = c.experts is not None and c.experts.in_layer(i)
    block = Block(c, is_mixture)
    return block.init(key, x, jnp.zeros((1, 1, 1), jnp.int32), attend)['params']

  layer_keys = jax.random.split(layers_key, c.num_layers)
  shape = (c.vocab_size, c.embed_dim)
  normal = lambda key: c.embed_dim**-0.5 * jax.random.normal(key, shape, dtype)
  params = {
    'embed': normal(embed_key),
    'layers': jax.vmap(init_layer)(layer_keys)
    if c.scan_layers
    else [init_layer(key, i) for i, key in enumerate(layer_keys)],
    'final_norm': jnp.full((c.embed_dim,), 0 if c.norm_plus_one else 1, dtype),
  }
  if not c.tie_embeddings:
    params['unembed'] = normal(unembed_key)
  return int8.quantize(params, c.quantization)


def _features(
  config: TransformerConfig,
  options: _Options,
  params: Params,
  inputs: Inputs,
  num_tokens: Int[Array, 'B N'],
  cache: Cache,
) -> tuple[Float[Array, 'B N T D'], Cache]:
  x, cache, _ = _run(config, options, False, params, inputs, num_tokens, cache)
  return x, cache


def _routed_features(
  config: TransformerConfig,
  options: _Options,
  params: Params,
  inputs: Inputs,
  num_tokens: Int[Array, 'B N'],
  cache: Cache,
) -> tuple[Float[Array, 'B N T D'], Cache, Routing]:
  return _run(config, options, True, params, inputs, num_tokens, cache)


def _run(config, options, recorded, params, inputs, num_tokens, cache):
  """All layers; with what the routers did if that is `recorded`."""
  cached = cache.prefix is not None or cache.suffix is not None
  if cached and not config.causal:
    raise ValueError(
      'a transformer with causal=False reads whole sequences; it has no cache'
    )
  positions, index = _places(cache, inputs.shape[2], num_tokens)
  num_up_to = positions + 1 if config.causal else num_tokens[..., None]
  override = _override_by_layer(config, cache.routes, positions)

  def layer(
    i,
    x,
    layer_params,
    prefix,
    suffix,
    window,
    turn,
    attention,
    is_dense=None,
    of_stack=None,
  ):
    def attend(query, key, value):
      new = Segment(key.swapaxes(2, 3), value.swapaxes(2, 3))
      if config.log_length_scale:
        query = _times_log(query, num_up_to)
      softcap = config.attention_softcap
      if not config.causal:
        return layer_cache.attend_to_all(query, new, num_tokens, softcap), new
      if not cached:
        written = layer_cache.write(None, new, index, attention)
        return layer_cache.attend_to_past(query, new, window, softcap), written

      def write_and_read(prefix, suffix, of_stack):
        written = layer_cache.write(suffix, new, index, attention, of_stack)
        output = layer_cache.attend(
          query,
          prefix,
          cache.prefix_lengths,
          written,
          cache.suffix_lengths,
          window,
          attention,
          is_dense,
          softcap,
          of_stack,
        )
        return output, written

      return layer_cache.where_it_lies(write_and_read, prefix, suffix, of_stack)

    def block(params, x):
      params = gather_width(params) if options.remat else params
      is_mixture = 'mixture' in params
      block = Block(config, is_mixture, options.straight_through)
      apply: Callable[..., Any] = block.apply
      of_layer = override(i) if is_mixture and override else None
      x, written, routed = apply(
        {'params': params}, x, positions, attend, turn, of_layer
      )
      return x, written, _record(config, routed, x) if recorded else None

    return (jax.checkpoint(block) if options.remat else block)(layer_params, x)

  if inputs.ndim == 3:
    x = _embed(config, options, params, inputs)
  else:
    x = inputs.astype(params['final_norm'].dtype)
  run = _scanned if config.scan_layers else _unrolled
  x, suffix, routing = run(
    config, options.attention, layer, x, params['layers'], cache
  )
  x = rms_norm(x, params['final_norm'], config.norm_eps, config.norm_plus_one)
  lengths = cache.suffix_lengths + num_tokens
  cache = cache._replace(suffix=suffix, suffix_lengths=lengths)
  return x, cache, routing


def _places(cache, T, num_tokens):
  """Of `T` new entries, positions and places in the suffix; -1 for nowhere."""
  steps, start = jnp.arange(T), cache.suffix_lengths
  index = start[..., None] + steps
  index = jnp.where(steps < num_tokens[..., None], index, -1)
  return (cache.prefix_lengths[:, None] + start)[..., None] + steps, index


def _override_by_layer(config, routes, positions):
  """`layer -> its override` for tokens at `positions`; None for none."""
  if routes is None:
    return None
  if config.experts is None:
    raise ValueError('a route override needs a model with experts')
  holds = experts.holds_at(routes, positions)
  return functools.partial(experts.of_layer, routes, holds)


def _record(config, routed: Routed | None, x) -> Routing:
  """The routing of one layer; zeros where it is no mixture."""
  num_experts = config.experts.num_experts
  if routed is None:
    zeros = jnp.zeros((*x.shape[:-1], num_experts), jnp.float32)
    return Routing(zeros, zeros)
  return Routing(experts.spread(routed.chosen, num_experts), routed.logits)


def _unrolled(config, attention, layer, x, layers, cache):
  """Layers one by one; caches are lists with one entry per layer."""
  absent = [None] * config.num_layers
  suffixes, routings = [], []
  for i, (layer_params, prefix, suffix, window) in enumerate(
    zip(
      layers,
      cache.prefix or absent,
      cache.suffix or absent,
      windows(config) or absent,
      strict=True,
    )
  ):
    x, suffix, routing = layer(
      i,
      x,
      layer_params,
      prefix,
      suffix,
      window,
      rotation(config, i),
      _of_layer(attention, i),
    )
    suffixes.append(suffix)
    routings.append(routing)
  if routings[0] is None:
    return x, suffixes, None
  stack = lambda *leaves: jnp.stack(leaves, axis=-2)
  return x, suffixes, jax.tree.map(stack, *routings)


def _scanned(config, attention, layer, x, layers, cache):
  """Layers by scan; parameters and caches are stacked on a leading axis.

  Prompts and suffixes stay whole, and each layer reads and writes its own where
  they lie: as scanned inputs they would be copied at every step.
  """
  reach = windows(config)
  reach = None if reach is None else jnp.asarray(reach)
  is_dense = None
  if attention is not None:
    dense = [i in attention.dense_layers for i in range(config.num_layers)]
    is_dense = jnp.asarray(dense)
  order = jnp.arange(config.num_layers)
  inputs = (order, layers, reach, rotations(config), is_dense)
  as_first = lambda turn: rotation(config, 0) if turn is None else turn
  behind = lambda leaf: jnp.moveaxis(leaf, 0, -2)

  if cache.suffix is None:

    def fresh(x, xs):
      (i, layer_params, window, turn, _), prefix = xs
      turn = as_first(turn)
      x, suffix, routing = layer(
        i, x, layer_params, prefix, None, window, turn, attention
      )
      return x, (suffix, routing)

    x, (suffix, routing) = jax.lax.scan(fresh, x, (inputs, cache.prefix))
    return x, suffix, jax.tree.map(behind, routing)

  def step(carry, xs):
    x, suffix = carry
    i, layer_params, window, turn, is_dense = xs
    x, suffix, routing = layer(
      i,
      x,
      layer_params,
      cache.prefix,
      suffix,
      window,
      as_first(turn),
      attention,
      is_dense,
      i,
    )
    return (x, suffix), routing

  (x, suffix), routing = jax.lax.scan(step, (x, cache.suffix), inputs)
  return x, suffix, jax.tree.map(behind, routing)


def _of_layer(attention, i):
  """The attention of layer `i`; None if it is dense."""
  if attention is None or i in attention.dense_layers:
    return None
  return attention


def _embed(
  config, options, params: Params, tokens: Int[Array, '*A']
) -> Float[Array, '*A D']:
  table = _table(options, params, 'embed')
  x = int8.lookup(table, tokens, params['final_norm'].dtype)
  scale = config.embed_scale
  return x if scale is None else x * jnp.asarray(scale, x.dtype)


def _logits(
  config, options, params: Params, features: Float[Array, '*A D']
) -> Float[Array, '*A V']:
  name = 'embed' if config.tie_embeddings else 'unembed'
  unembed = _table(options, params, name)
  logits = matmul(unembed, features, jnp.float32, many_rows=config.many_rows)
  if config.logits_divisor != 1.0:
    logits /= config.logits_divisor
  return soft_cap(logits, config.final_softcap)


def _table(options: _Options, params: Params, name: str):
  """The embedding of that name, as it is read."""
  table = {name: params[name]}
  return (gather_width(table) if options.remat else table)[name]


def _make_suffix(config, attention, B: int, N: int, capacity: int):
  c = config
  shape = (B, N, c.num_kv_heads, capacity, c.head_dim)
  if c.scan_layers:
    return layer_cache.empty((c.num_layers, *shape), c.dtype, attention)
  return [
    layer_cache.empty(shape, c.dtype, _of_layer(attention, i))
    for i in range(c.num_layers)
  ]


def _join(config, attention, prefix, more, lengths):
  if config.scan_layers:
    return layer_cache.join(prefix, more, lengths, attention)
  return [
    layer_cache.join(*caches, lengths, _of_layer(attention, i))
    for i, caches in enumerate(zip(prefix, more, strict=True))
  ]


def _times_log(
  query: Float[Array, 'B N T K G D'], count: Int[Array, 'B N #T']
) -> Float[Array, 'B N T K G D']:
  """Queries times the logarithm of a number of tokens."""
  scale = jnp.log(count.astype(jnp.float32))[..., None, None, None]
  return (query * scale).astype(query.dtype)
