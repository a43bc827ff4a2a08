"""Batch normalisation whose moments are an argument.

Rows that only fill a batch up are masked out of the moments, and moments of
source and batch mix as variances, not as standard deviations (Schneider et
al., 2020, arXiv 2006.16971, eq. 3).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from ttc.models.vision.classifier import Moments


class BatchNorm(nn.Module):
  """Normalises channels, the last axis.

  The running averages in `batch_stats` are the source's and are never written:
  the moments that were used are left in the collection `moments`, and who
  trains averages them.
  """

  epsilon: float = 1e-5
  scale_init: nn.initializers.Initializer = nn.initializers.ones

  @nn.compact
  def __call__(
    self, x: Array, moments: Moments, mask: Bool[Array, ' B'] | None
  ) -> Array:
    channels = x.shape[-1:]
    scale = self.param('scale', self.scale_init, channels, jnp.float32)
    bias = self.param('bias', nn.initializers.zeros, channels, jnp.float32)
    mean = self.variable(
      'batch_stats', 'mean', jnp.zeros, channels, jnp.float32
    ).value
    var = self.variable(
      'batch_stats', 'var', jnp.ones, channels, jnp.float32
    ).value
    if not isinstance(moments, str):
      batch_mean, batch_var = masked_moments(x, mask)
      alpha = jnp.asarray(moments, x.dtype)
      mean = (1 - alpha) * mean + alpha * batch_mean
      var = (1 - alpha) * var + alpha * batch_var
    elif moments == 'batch':
      if x.shape[0] == 1:
        raise ValueError(
          'a batch of one image has no moments of its own: mix them in by a '
          "number instead of 'batch', or use adaptation.sliding_window"
        )
      mean, var = masked_moments(x, mask)
    elif moments != 'source':
      raise ValueError(
        f"moments {moments!r}: 'source', 'batch' or a number between"
      )
    for name, value in (('mean', mean), ('var', var)):
      self.sow('moments', name, value, lambda _, new: new, lambda: mean)
    return (x - mean) * jax.lax.rsqrt(var + self.epsilon) * scale + bias


def masked_moments(
  x: Float[Array, 'B *space C'], mask: Bool[Array, ' B'] | None
) -> tuple[Float[Array, ' C'], Float[Array, ' C']]:
  """Means and biased variances of channels over rows that are kept.

  Args:
    x: activations.
    mask: rows that count; None for all. With none kept, both are zero.
  """
  axes = tuple(range(x.ndim - 1))
  if mask is None:
    return jnp.mean(x, axes), jnp.var(x, axes)
  weights = mask.astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
  space = x.size // (x.shape[0] * x.shape[-1])
  count = space * jnp.maximum(jnp.sum(weights), 1)
  mean = jnp.sum(weights * x, axes) / count
  return mean, jnp.sum(weights * (x - mean) ** 2, axes) / count
