"""What a classifier of images is: two pure functions and a few names.

Methods that adapt a classifier need more than logits: they choose whose
moments normalise, read features, and put blocks of their own between stages.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

# `params`, and `batch_stats` where there is batch normalisation.
Variables = dict[str, Any]
# Whose moments normalise: the source's, the batch's, or a mixture in which
# the batch weighs alpha (a number or a traced scalar).
Moments = Literal['source', 'batch'] | float | Float[Array, '']
# `(stage, what went into it, what came out) -> what goes on`.
Between = Callable[[int, Array, Array], Array]


class Outputs(NamedTuple):
  """What a classifier says of `B` images."""

  logits: Float[Array, 'B K']
  features: Float[Array, 'B D']  # what the head reads
  moments: Any  # means and variances normalised with, as in `batch_stats`


class ApplyFn(Protocol):
  """`Classifier.apply`."""

  def __call__(
    self,
    variables: Variables,
    images: Float[Array, 'B H W C'],
    moments: Moments = 'source',
    mask: Bool[Array, ' B'] | None = None,
    between: Between | None = None,
  ) -> Outputs: ...


class Classifier(NamedTuple):
  """A network that tells `K` classes of images apart.

  Modules that normalise have `norm` in their names and the last layer is
  called `head`: that is how parameters are chosen by path.
  """

  # `(key, images [B, H, W, C] in [0, 1]) -> variables`.
  init: Callable[[Array, Array], Variables]
  apply: ApplyFn
  num_classes: int
  num_stages: int
  # Names of the modules of the last stage, which some methods leave alone.
  last_stage: tuple[str, ...]
  # Whether there is batch normalisation.
  normalises_batches: bool


def from_module(
  module: nn.Module,
  *,
  num_classes: int,
  num_stages: int,
  last_stage: tuple[str, ...],
  normalises_batches: bool,
) -> Classifier:
  """A classifier of a Flax module `(images, moments, mask, between)`.

  Args:
    module: returns logits and features; batch normalisation leaves the moments
      it used in the collection `moments`.
    num_classes: `K`.
    num_stages: how often it calls `between`.
    last_stage: names of modules.
    normalises_batches: whether it has batch normalisation.
  """

  def init(key, images):
    variables = module.init(key, images, 'source', None, None)
    return {k: v for k, v in variables.items() if k != 'moments'}

  def apply(
    variables: Variables,
    images: Array,
    moments: Moments = 'source',
    mask: Array | None = None,
    between: Between | None = None,
  ) -> Outputs:
    (logits, features), collected = module.apply(
      variables, images, moments, mask, between, mutable=['moments']
    )
    return Outputs(logits, features, collected.get('moments', {}))

  return Classifier(
    init, jax.named_call(apply, name='classifier'), num_classes, num_stages,
    last_stage, normalises_batches,
  )  # fmt: skip


def standardised(
  images: Float[Array, 'B H W C'], mean: Sequence[float], std: Sequence[float]
) -> Float[Array, 'B H W C']:
  """Images less the mean of each channel, over its deviation.

  Args:
    images: in [0, 1].
    mean: of channels.
    std: of channels.

  Raises:
    ValueError: if there are other channels.
  """
  if not len(mean) == len(std) == images.shape[-1]:
    raise ValueError(
      f'{len(mean)} means and {len(std)} deviations for images of '
      f'{images.shape[-1]} channels'
    )
  dtype = images.dtype
  return (images - jnp.asarray(mean, dtype)) / jnp.asarray(std, dtype)
