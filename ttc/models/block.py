"""One layer of a transformer, and what differs between layers."""

import functools
from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp

from ttc.models import rope
from ttc.models.experts import LayerOverride
from ttc.models.layers import Linear, RMSNorm, gated_mlp
from ttc.models.mixture import Mixture
from ttc.models.transformer_config import TransformerConfig

_NO_WINDOW = 2**30  # a distance that no key has


class Block(nn.Module):
  """One layer. What it attends to is the caller's business.

  `attend(query [B, N, T, K, G, Dh], key, value [B, N, T, K, Dh])` returns the
  attention output and anything it wants carried out of the layer. Queries and
  keys are turned by `rotation`, if any. A mixture of experts also returns what
  its router said; `override` may say otherwise.
  """

  config: TransformerConfig
  is_mixture: bool = False
  straight_through: bool = False

  @nn.compact
  def __call__(
    self,
    x,
    positions,
    attend,
    rotation: rope.Rotation | None = None,
    override: LayerOverride | None = None,
  ):
    c = self.config
    norm = functools.partial(RMSNorm, c.norm_eps, c.norm_plus_one)
    linear = functools.partial(Linear, many_rows=c.many_rows)
    split = lambda y: y.reshape(*y.shape[:-1], -1, c.head_dim)

    def added(y, name):  # what a branch adds to `x`
      y = norm(name=name)(y) if c.post_norm else y
      return y if c.residual_scale == 1.0 else c.residual_scale * y

    h = norm(name='attention_norm')(x) if c.pre_norm else x
    q = linear(c.num_heads * c.head_dim, c.qkv_bias, name='query')(h)
    k = linear(c.num_kv_heads * c.head_dim, c.qkv_bias, name='key')(h)
    v = linear(c.num_kv_heads * c.head_dim, c.qkv_bias, name='value')(h)
    if c.full_qk_norm:
      q, k = norm(name='query_norm')(q), norm(name='key_norm')(k)
    q, k, v = split(q), split(k), split(v)
    if c.qk_norm:
      q, k = norm(name='query_norm')(q), norm(name='key_norm')(k)
    if c.clip_qkv is not None:
      q, k, v = (jnp.clip(y, -c.clip_qkv, c.clip_qkv) for y in (q, k, v))
    if rotation is not None:
      turn = functools.partial(
        rope.rotate,
        positions=positions,
        frequency=rotation.frequency,
        interleaved=c.rope_interleaved,
        factor=rotation.factor,
      )
      q, k = turn(q), turn(k)
    if c.attention_scale is not None:  # attention itself divides by a root
      q *= c.attention_scale * c.head_dim**0.5
    grouped = q.reshape(*q.shape[:-2], c.num_kv_heads, -1, c.head_dim)
    attended, carried = attend(grouped, k, v)
    attended = attended.reshape(*x.shape[:-1], -1)
    x += added(
      linear(c.embed_dim, name='output')(attended), 'attention_post_norm'
    )

    h = norm(name='mlp_norm')(x) if c.pre_norm else x
    if self.is_mixture:
      assert c.experts is not None
      y, routed = Mixture(
        c.experts, self.straight_through, c.many_rows, name='mixture'
      )(h, override)
    else:
      y, routed = gated_mlp(h, c.mlp_dim, c.many_rows, c.activation), None
    return x + added(y, 'mlp_post_norm'), carried, routed


def windows(config: TransformerConfig) -> list[int] | None:
  """Attention window of each layer; None if no layer has one."""
  if config.sliding_window is None:
    return None
  return [
    config.sliding_window if _has_window(config, i) else _NO_WINDOW
    for i in range(config.num_layers)
  ]


def rotation(config: TransformerConfig, layer: int) -> rope.Rotation | None:
  """How a layer turns queries and keys; None if it does not."""
  c = config
  layers = c.rotary_layers
  if not c.rotary or (layers is not None and layer not in layers):
    return None
  dim = c.rotary_dim or c.head_dim
  if c.windowed_theta is not None and _has_window(c, layer):
    return rope.Rotation(rope.frequencies(dim, c.windowed_theta))
  return rope.Rotation(
    rope.frequencies(dim, c.rope_theta, c.rope_scaling, c.max_length),
    rope.attention_factor(c.rope_scaling),
  )


def rotations(config: TransformerConfig) -> rope.Rotation | None:
  """Those of all layers, stacked; None if all layers are as the first."""
  if config.rotary_layers is None and config.windowed_theta is None:
    return None
  return jax.tree.map(lambda *x: jnp.stack(x), *_explicit(config))


def _explicit(config) -> Iterator[rope.Rotation]:
  """The rotation of each layer, by no angle where there is none."""
  for i in range(config.num_layers):
    turn = rotation(config, i)
    if turn is None:
      half = (config.rotary_dim or config.head_dim) // 2
      turn = rope.Rotation(jnp.zeros(half, jnp.float32))
    factor = 1.0 if turn.factor is None else turn.factor
    yield rope.Rotation(turn.frequency, jnp.float32(factor))


def _has_window(config, layer: int) -> bool:
  layers = config.windowed_layers
  return config.sliding_window is not None and (
    layers is None or layer in layers
  )
