"""What fixes the shape and the function of a transformer."""

import dataclasses

from ttc.models import rope
from ttc.models.experts import Experts


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """Everything that fixes the shape and the function of a transformer.

  Attributes:
    full_qk_norm: the norms of query and key are over all heads at once, as in
      OLMoE, instead of over each.
    clip_qkv: queries, keys and values are clipped to plus and minus this, after
      the norms.
    windowed_layers: layers that use `sliding_window`; None for all of them.
    rope_interleaved: see `rope.rotate`.
    rotary: whether queries and keys know their positions.
    causal: whether a token sees only those before it. If not, it sees all of
      its sequence, which is read in one piece, without a cache.
    log_length_scale: multiply a query by the logarithm of the number of tokens
      up to it, or of its sequence if not causal: the entropy of attention then
      does not grow with that number (Chiang and Cholak, 2202.12172).
    experts: makes layers mixtures of experts; their MLPs do not have `mlp_dim`.
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
  full_qk_norm: bool = False
  clip_qkv: float | None = None
  tie_embeddings: bool = True
  sliding_window: int | None = None
  windowed_layers: tuple[int, ...] | None = None
  experts: Experts | None = None
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
    if self.qk_norm and self.full_qk_norm:
      raise ValueError('qk_norm and full_qk_norm exclude each other')
    if not self.causal and self.sliding_window is not None:
      raise ValueError(
        f'sliding_window={self.sliding_window} needs causal=True'
      )
    if self.experts is not None and self.experts.layers is not None:
      layers = self.experts.layers
      if layers != tuple(sorted(set(layers) & set(range(self.num_layers)))):
        raise ValueError(
          f'experts.layers={layers} must be ascending layers of the '
          f'{self.num_layers}'
        )
      if self.scan_layers and len(layers) != self.num_layers:
        raise ValueError(
          f'experts.layers={layers} with scan_layers=True, which needs equal '
          'layers'
        )
