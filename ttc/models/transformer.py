"""The decoder-only transformer of the Llama family, Qwen2, Qwen3 and Mistral.

Pre-norm RMSNorm, grouped-query attention with rotary positions, SwiGLU; query,
key and value biases (Qwen2), per-head query and key norms (Qwen3) and sliding
windows (Mistral) where the config says so; without rotary positions or the
causal mask, a transformer of sets. Parameters are a plain pytree:

  embed [V, D], layers: one dict per layer (stacked with `scan_layers`),
  final_norm [D], unembed [V, D] unless embeddings are tied.

Linear kernels are `[out, in]`, as checkpoints store them. A decoding step costs
`2 P` FLOPs per token for `P` parameters and `4 H Dh L` per attended token.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc.kernels.partial_attention import Segment
from ttc.models import layer_cache, rope
from ttc.models.base import Cache, Inputs, LanguageModel
from ttc.models.low_rank import Kernel, LowRankSum
from ttc.models.sparse_attention import SparseAttention
from ttc.types import Params

_NO_WINDOW = 2**30  # a distance that no key has


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """Everything that fixes the shape and the function of a transformer.

  Attributes:
    windowed_layers: layers that use `sliding_window`; None for all of them.
    rope_interleaved: see `rope.rotate`.
    rotary: whether queries and keys know their positions.
    causal: whether a token sees only those before it. If not, it sees all of
      its sequence, which is read in one piece, without a cache.
    log_length_scale: multiply a query by the logarithm of the number of tokens
      up to it, or of its sequence if not causal: the entropy of attention then
      does not grow with that number (Chiang and Cholak, 2202.12172).
    scan_layers: stack the layers' parameters and scan over them. Compiles in
      time independent of depth; the unrolled loop is faster on CPU.
    many_rows: lay products out for batches of whole sequences, as training has
      them; up to 1.6 times faster there on CPU, and slower for the few rows of
      a decoding step. Results are the same up to their last bits.
    dtype: of parameters and activations; logits and softmaxes are float32.
  """

  vocab_size: int
  num_layers: int
  embed_dim: int
  mlp_dim: int
  num_heads: int
  num_kv_heads: int
  head_dim: int
  max_length: int = 8192
  rope_theta: float = 10_000.0
  rope_scaling: rope.Llama3Scaling | None = None
  rope_interleaved: bool = False
  rotary: bool = True
  causal: bool = True
  log_length_scale: bool = False
  norm_eps: float = 1e-5
  qkv_bias: bool = False
  qk_norm: bool = False
  tie_embeddings: bool = True
  sliding_window: int | None = None
  windowed_layers: tuple[int, ...] | None = None
  scan_layers: bool = False
  many_rows: bool = False
  dtype: str = 'float32'

  def __post_init__(self):
    for name in ('vocab_size', 'num_layers', 'num_heads', 'num_kv_heads'):
      if getattr(self, name) < 1:
        raise ValueError(f'{name}={getattr(self, name)} must be at least 1')
    if self.num_heads % self.num_kv_heads:
      raise ValueError(
        f'num_heads={self.num_heads} is not a multiple of '
        f'num_kv_heads={self.num_kv_heads}'
      )
    if self.rotary and self.head_dim % 2:
      raise ValueError(f'head_dim={self.head_dim} is odd; rope needs pairs')
    if not self.causal and self.sliding_window is not None:
      raise ValueError(
        f'sliding_window={self.sliding_window} needs causal=True'
      )


@functools.lru_cache  # equal configs give equal functions: no recompilation
def transformer(
  config: TransformerConfig,
  attention: SparseAttention | None = None,
  remat: bool = False,
) -> LanguageModel:
  """The transformer of `config` as pure functions over a plain pytree.

  Args:
    config: shape and function.
    attention: what decoding attends to; None for everything. Parameters are the
      same for all.
    remat: whether a gradient computes the inside of each layer again instead of
      keeping it: less memory, a third more time. With `scan_layers`; of an
      unrolled program XLA's CPU compiler merges the two again.

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
  return LanguageModel(
    init=functools.partial(_init, config),
    features=functools.partial(_features, config, attention, remat),
    logits=functools.partial(_logits, config),
    make_suffix=functools.partial(_make_suffix, config, attention),
    vocab_size=config.vocab_size,
    max_length=config.max_length,
    batch_axis=1 if config.scan_layers else 0,
    embed=_embed,
  )


def num_params(params: Params) -> int:
  """Number of scalars in `params`."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))


class RMSNorm(nn.Module):
  """`x / rms(x) * scale` (Zhang and Sennrich, 1910.07467), in float32."""

  eps: float

  @nn.compact
  def __call__(self, x: Float[Array, '*A D']) -> Float[Array, '*A D']:
    scale = self.param('scale', nn.initializers.ones, (x.shape[-1],), x.dtype)
    return _rms_norm(x, scale, self.eps)


class Linear(nn.Module):
  """`W x (+ b)` with the kernel `W` stored `[out, in]`."""

  features: int
  use_bias: bool = False
  many_rows: bool = False

  @nn.compact
  def __call__(self, x: Float[Array, '*A I']) -> Float[Array, '*A O']:
    init = nn.initializers.variance_scaling(1.0, 'fan_in', 'normal', 1, 0)
    shape = (self.features, x.shape[-1])
    kernel = self.param('kernel', init, shape, x.dtype)
    y = _matmul(kernel, x, many_rows=self.many_rows)
    if self.use_bias:
      y += self.param('bias', nn.initializers.zeros, shape[:1], x.dtype)
    return y


class Block(nn.Module):
  """One layer. What it attends to is the caller's business.

  `attend(query [B, N, T, K, G, Dh], key, value [B, N, T, K, Dh])` returns the
  attention output and anything it wants carried out of the layer.
  """

  config: TransformerConfig

  @nn.compact
  def __call__(self, x, positions, attend):
    c = self.config
    norm = functools.partial(RMSNorm, c.norm_eps)
    linear = functools.partial(Linear, many_rows=c.many_rows)
    split = lambda y: y.reshape(*y.shape[:-1], -1, c.head_dim)

    h = norm(name='attention_norm')(x)
    q = split(linear(c.num_heads * c.head_dim, c.qkv_bias, name='query')(h))
    k = split(linear(c.num_kv_heads * c.head_dim, c.qkv_bias, name='key')(h))
    v = split(linear(c.num_kv_heads * c.head_dim, c.qkv_bias, name='value')(h))
    if c.qk_norm:
      q, k = norm(name='query_norm')(q), norm(name='key_norm')(k)
    if c.rotary:
      frequency = rope.frequencies(c.head_dim, c.rope_theta, c.rope_scaling)
      turn = functools.partial(
        rope.rotate,
        positions=positions,
        frequency=frequency,
        interleaved=c.rope_interleaved,
      )
      q, k = turn(q), turn(k)
    grouped = q.reshape(*q.shape[:-2], c.num_kv_heads, -1, c.head_dim)
    attended, carried = attend(grouped, k, v)
    attended = attended.reshape(*x.shape[:-1], -1)
    x += linear(c.embed_dim, name='output')(attended)

    h = norm(name='mlp_norm')(x)
    gate = linear(c.mlp_dim, name='gate')(h)
    up = linear(c.mlp_dim, name='up')(h)
    x += linear(c.embed_dim, name='down')(nn.silu(gate) * up)
    return x, carried


@functools.partial(jax.jit, static_argnums=0)  # op by op is much slower
def _init(config: TransformerConfig, key: PRNGKeyArray) -> Params:
  c = config
  embed_key, unembed_key, layers_key = jax.random.split(key, 3)
  dtype = jnp.dtype(c.dtype)
  x = jnp.zeros((1, 1, 1, c.embed_dim), dtype)
  attend = lambda q, k, v: (q, None)

  def init_layer(key):
    block = Block(c).init(key, x, jnp.zeros((1, 1, 1), jnp.int32), attend)
    return block['params']

  layer_keys = jax.random.split(layers_key, c.num_layers)
  shape = (c.vocab_size, c.embed_dim)
  normal = lambda key: c.embed_dim**-0.5 * jax.random.normal(key, shape, dtype)
  params = {
    'embed': normal(embed_key),
    'layers': jax.vmap(init_layer)(layer_keys)
    if c.scan_layers
    else [init_layer(key) for key in layer_keys],
    'final_norm': jnp.ones((c.embed_dim,), dtype),
  }
  if not c.tie_embeddings:
    params['unembed'] = normal(unembed_key)
  return params


def _features(
  config: TransformerConfig,
  attention: SparseAttention | None,
  remat: bool,
  params: Params,
  inputs: Inputs,
  num_tokens: Int[Array, 'B N'],
  cache: Cache,
) -> tuple[Float[Array, 'B N T D'], Cache]:
  cached = cache.prefix is not None or cache.suffix is not None
  if cached and not config.causal:
    raise ValueError(
      'a transformer with causal=False reads whole sequences; it has no cache'
    )
  steps = jnp.arange(inputs.shape[2])
  positions = cache.prefix_lengths[:, None] + cache.suffix_lengths
  positions = positions[..., None] + steps
  # Where each new entry goes in the suffix; -1 for those that are not written.
  index = jnp.where(
    steps < num_tokens[..., None], cache.suffix_lengths[..., None] + steps, -1
  )
  num_up_to = positions + 1 if config.causal else num_tokens[..., None]

  def layer(x, layer_params, prefix, suffix, window, attention, is_dense=None):
    def attend(query, key, value):
      new = Segment(key.swapaxes(2, 3), value.swapaxes(2, 3))
      if config.log_length_scale:
        query = _times_log(query, num_up_to)
      if not config.causal:
        return layer_cache.attend_to_all(query, new, num_tokens), new
      written = layer_cache.write(suffix, new, index, attention)
      output = layer_cache.attend(
        query,
        prefix,
        cache.prefix_lengths,
        written,
        cache.suffix_lengths,
        window,
        attention,
        is_dense,
      )
      return output, written

    block = lambda params, x: Block(config).apply(
      {'params': params}, x, positions, attend
    )
    return (jax.checkpoint(block) if remat else block)(layer_params, x)

  if inputs.ndim == 3:
    x = _embed(params, inputs)
  else:
    x = inputs.astype(params['embed'].dtype)
  run = _scanned if config.scan_layers else _unrolled
  x, suffix = run(config, attention, layer, x, params['layers'], cache)
  x = _rms_norm(x, params['final_norm'], config.norm_eps)
  lengths = cache.suffix_lengths + num_tokens
  return x, cache._replace(suffix=suffix, suffix_lengths=lengths)


def _unrolled(config, attention, layer, x, layers, cache):
  """Layers one by one; caches are lists with one entry per layer."""
  absent = [None] * config.num_layers
  suffixes = []
  for i, (layer_params, prefix, suffix, window) in enumerate(
    zip(
      layers,
      cache.prefix or absent,
      cache.suffix or absent,
      _windows(config) or absent,
      strict=True,
    )
  ):
    x, suffix = layer(
      x, layer_params, prefix, suffix, window, _of_layer(attention, i)
    )
    suffixes.append(suffix)
  return x, suffixes


def _scanned(config, attention, layer, x, layers, cache):
  """Layers by scan; parameters and caches are stacked on a leading axis.

  The suffix is carried and updated in place: as a scanned input it would be
  copied at every step.
  """
  windows = _windows(config)
  windows = None if windows is None else jnp.asarray(windows)
  is_dense = None
  if attention is not None:
    dense = [i in attention.dense_layers for i in range(config.num_layers)]
    is_dense = jnp.asarray(dense)
  order = jnp.arange(config.num_layers)
  inputs = (order, layers, cache.prefix, windows, is_dense)

  if cache.suffix is None:

    def fresh(x, xs):
      _, layer_params, prefix, window, _ = xs
      return layer(x, layer_params, prefix, None, window, attention)

    return jax.lax.scan(fresh, x, inputs)

  def step(carry, xs):
    x, stack = carry
    i, layer_params, prefix, window, is_dense = xs
    at = lambda leaf: jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False)
    suffix = jax.tree.map(at, stack)
    x, suffix = layer(
      x, layer_params, prefix, suffix, window, attention, is_dense
    )
    put = lambda leaf, new: jax.lax.dynamic_update_index_in_dim(leaf, new, i, 0)
    return (x, jax.tree.map(put, stack, suffix)), None

  carry, _ = jax.lax.scan(step, (x, cache.suffix), inputs)
  return carry


def _of_layer(attention, i):
  """The attention of layer `i`; None if it is dense."""
  if attention is None or i in attention.dense_layers:
    return None
  return attention


def _windows(config: TransformerConfig) -> list[int] | None:
  """Attention window of each layer; None if no layer has one."""
  if config.sliding_window is None:
    return None
  windowed = config.windowed_layers
  return [
    config.sliding_window if windowed is None or i in windowed else _NO_WINDOW
    for i in range(config.num_layers)
  ]


def _embed(params: Params, tokens: Int[Array, '*A']) -> Float[Array, '*A D']:
  return params['embed'][tokens]


def _logits(
  config: TransformerConfig, params: Params, features: Float[Array, '*A D']
) -> Float[Array, '*A V']:
  unembed = params['embed' if config.tie_embeddings else 'unembed']
  return _matmul(unembed, features, jnp.float32, many_rows=config.many_rows)


def _make_suffix(config, attention, B: int, N: int, capacity: int):
  c = config
  shape = (B, N, c.num_kv_heads, capacity, c.head_dim)
  if c.scan_layers:
    return layer_cache.empty((c.num_layers, *shape), c.dtype, attention)
  return [
    layer_cache.empty(shape, c.dtype, _of_layer(attention, i))
    for i in range(c.num_layers)
  ]


def _matmul(
  kernel: Kernel,
  x: Float[Array, '*A I'],
  dtype=None,
  *,
  many_rows: bool = False,
) -> Float[Array, '*A O']:
  """`x W^T`, accumulated in float32.

  With the kernel on the left XLA's CPU product runs up to 1.7 times faster for
  the few rows of a decoding step than with it on the right, and for many rows
  up to 1.6 times slower, since what it gives is turned around.
  """
  if isinstance(kernel, LowRankSum):
    y = _matmul(kernel.kernel, x, dtype, many_rows=many_rows)
    return y + (kernel.scale * (x @ kernel.down @ kernel.up)).astype(y.dtype)
  dtype = dtype or x.dtype
  axis = x.ndim - 1
  if many_rows:
    return jax.lax.dot_general(
      x, kernel, (((axis,), (1,)), ((), ())), preferred_element_type=dtype
    )
  y = jax.lax.dot_general(
    kernel, x, (((1,), (axis,)), ((), ())), preferred_element_type=dtype
  )
  return jnp.moveaxis(y, 0, -1)


def _times_log(
  query: Float[Array, 'B N T K G D'], count: Int[Array, 'B N #T']
) -> Float[Array, 'B N T K G D']:
  """Queries times the logarithm of a number of tokens."""
  scale = jnp.log(count.astype(jnp.float32))[..., None, None, None]
  return (query * scale).astype(query.dtype)


def _rms_norm(
  x: Float[Array, '*A D'], scale: Float[Array, ' D'], eps: float
) -> Float[Array, '*A D']:
  wide = x.astype(jnp.float32)
  variance = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
  normed = wide * jax.lax.rsqrt(variance + eps)
  return (normed * scale.astype(jnp.float32)).astype(x.dtype)
