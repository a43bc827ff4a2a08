"""What fixes the shape and the function of a transformer."""

import dataclasses

from ttc.models import rope
from ttc.models.experts import Experts
from ttc.models.int8 import check_quantization


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """Everything that fixes the shape and the function of a transformer.

  Attributes:
    rope_theta: base of the frequencies.
    rope_scaling: of the frequencies, see `rope.py`; two kinds depend on
      `max_length`.
    rotary_dim: channels of a head that are rotated, the first ones; None for
      all of them.
    rotary_layers: layers that know positions; None for all of them.
    windowed_theta: base of the layers that use the window, whose frequencies
      are not scaled then; None if they are as those of the others.
    norm_plus_one: scales of norms are stored less one, as Gemma has them.
    pre_norm: layers norm what attention and MLP read.
    post_norm: layers norm what attention and MLP give, before it is added.
    full_qk_norm: the norms of query and key are over all heads at once, as in
      OLMoE, instead of over each.
    clip_qkv: queries, keys and values are clipped to plus and minus this, after
      the norms.
    activation: of the gate of MLPs, 'silu' or 'gelu_tanh'.
    attention_scale: what multiplies the scores of attention; None for
      `head_dim ** -0.5`.
    attention_softcap: scores `s` become `c tanh(s / c)` with this `c`.
    final_softcap: the same of logits.
    embed_scale: multiplies embeddings, rounded to their dtype.
    residual_scale: multiplies what attention and MLP add.
    logits_divisor: divides logits.
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
    quantization: 'int8' for kernels and tables in int8, 'w8a8' to round their
      inputs to int8 as well (see `int8.py`); None for floats.
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
  rope_scaling: rope.Scaling | None = None
  rope_interleaved: bool = False
  rotary_dim: int | None = None
  rotary_layers: tuple[int, ...] | None = None
  windowed_theta: float | None = None
  rotary: bool = True
  causal: bool = True
  log_length_scale: bool = False
  norm_eps: float = 1e-5
  norm_plus_one: bool = False
  pre_norm: bool = True
  post_norm: bool = False
  qkv_bias: bool = False
  qk_norm: bool = False
  full_qk_norm: bool = False
  clip_qkv: float | None = None
  activation: str = 'silu'
  attention_scale: float | None = None
  attention_softcap: float | None = None
  final_softcap: float | None = None
  embed_scale: float | None = None
  residual_scale: float = 1.0
  logits_divisor: float = 1.0
  tie_embeddings: bool = True
  sliding_window: int | None = None
  windowed_layers: tuple[int, ...] | None = None
  experts: Experts | None = None
  scan_layers: bool = False
  many_rows: bool = False
  dtype: str = 'float32'
  quantization: str | None = None

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
    self._check_positions()
    if self.activation not in ('silu', 'gelu_tanh'):
      raise ValueError(
        f"activation={self.activation!r} is not 'silu' or 'gelu_tanh'"
      )
    if not (self.pre_norm or self.post_norm):
      raise ValueError('pre_norm=False needs post_norm=True')
    if self.qk_norm and self.full_qk_norm:
      raise ValueError('qk_norm and full_qk_norm exclude each other')
    if not self.causal and self.sliding_window is not None:
      raise ValueError(
        f'sliding_window={self.sliding_window} needs causal=True'
      )
    check_quantization(self.quantization)
    if self.experts is not None and self.quantization is not None:
      raise ValueError(
        f'quantization={self.quantization!r} of a mixture of experts is not '
        'implemented'
      )
    if self.experts is not None and self.activation != 'silu':
      raise ValueError(f'activation={self.activation!r} of experts')
    if self.experts is not None and self.experts.layers is not None:
      layers = self.experts.layers
      self._check_layers('experts.layers', layers)
      if self.scan_layers and len(layers) != self.num_layers:
        raise ValueError(
          f'experts.layers={layers} with scan_layers=True, which needs equal '
          'layers'
        )

  def _check_positions(self):
    """Refuses rotations that the shape cannot have."""
    dim, scaling = self.rotary_dim, self.rope_scaling
    if dim is not None and (dim % 2 or not 0 < dim <= self.head_dim):
      raise ValueError(
        f'rotary_dim={dim} is not an even number of the {self.head_dim} '
        'channels of a head'
      )
    dim = dim or self.head_dim
    if isinstance(scaling, rope.LongRopeScaling):
      for factors in (scaling.short, scaling.long):
        if len(factors) != dim // 2:
          raise ValueError(
            f'{len(factors)} divisors of longrope do not fit the {dim // 2} '
            f'pairs of {dim} rotated channels'
          )
    if isinstance(scaling, rope.DynamicScaling) and dim < 4:
      raise ValueError(f'{dim} rotated channels cannot be scaled by dynamic')
    if self.windowed_theta is not None and self.sliding_window is None:
      raise ValueError('windowed_theta needs sliding_window')
    if isinstance(scaling, rope.YarnScaling) and self.rope_theta <= 1:
      raise ValueError(
        f'rope_theta={self.rope_theta} cannot be scaled by yarn, which needs '
        'more than 1'
      )
    for name in ('windowed_layers', 'rotary_layers'):
      if getattr(self, name) is not None:
        self._check_layers(name, getattr(self, name))

  def _check_layers(self, name: str, layers: tuple[int, ...]):
    if layers != tuple(sorted(set(layers) & set(range(self.num_layers)))):
      raise ValueError(
        f'{name}={layers} must be ascending layers of the {self.num_layers}'
      )
