"""Networks that denoise images, as models that a sampler is made of.

  model = load_model('fashion_flow_unet')  # ttc.testbeds.trained_denoisers
  sampler = diffusion.model_sampler(model, labels, num_steps=25, guidance=2.0)
  images = diffusion.samplers.draw(sampler, keys)

Images are in [-1, 1]. A model of videos draws some frames at once, its
channels, and is given the frames before.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from ttc.diffusion import losses, samplers
from ttc.diffusion.losses import Target
from ttc.diffusion.samplers import Sampler
from ttc.models.vision.dit import DiT
from ttc.models.vision.unet import UNet
from ttc.types import Params

NETWORKS = (DiT, UNet)
SIDE, NUM_CLASSES = 28, 10


class Model(NamedTuple):
  """A denoiser of images, or of the next frames of a video.

  Attributes:
    network: `(images, times, labels) -> answer`.
    target: what it answers.
    context: channels that are given beside the noisy ones; 0 for none.
    params: of the network.
    about: where they come from.
  """

  network: nn.Module
  target: Target
  context: int
  params: Params
  about: Mapping[str, Any]

  @property
  def shape(self) -> tuple[int, int, int]:
    """Of what it draws."""
    return (SIDE, SIDE, self.network.channels)  # type: ignore[attr-defined]

  def apply(self, params, *given) -> Float[Array, 'N H W O']:
    """What the network says of `(images, times, labels)`."""
    return self.network.apply(params, *given)  # type: ignore[return-value]

  def init(self, key) -> Params:
    """Parameters before training; the key is consumed."""
    *sides, channels = self.shape
    images = jnp.zeros((1, *sides, channels + self.context), jnp.float32)
    zero = jnp.zeros(1, jnp.int32)
    return self.network.init(key, images, jnp.zeros(1), zero)


def make_model(
  network: str,
  options: Mapping[str, Any],
  target: Target,
  context: int = 0,
  params: Params = None,
  about: Mapping[str, Any] | None = None,
) -> Model:
  """A model whose network is known by name.

  Raises:
    ValueError: for another network, option or target.
  """
  makers: dict[str, Any] = {x.__name__.lower(): x for x in NETWORKS}
  if network not in makers:
    raise ValueError(f'network {network!r} is none of {", ".join(makers)}')
  if target not in losses.TARGETS:
    raise ValueError(
      f'target {target!r} is none of {", ".join(losses.TARGETS)}'
    )
  lists = {
    k: tuple(x) if isinstance(x, list) else x for k, x in options.items()
  }
  try:
    return Model(makers[network](**lists), target, context, params, about or {})
  except TypeError as error:
    raise ValueError(f'network {network}: {error}') from None


def model_sampler(
  model: Model,
  labels: Int[Array, ' N'] | Int[Array, ''],
  num_steps: int,
  *,
  params: Params = None,
  guidance: float | Float[Array, ''] = 2.0,
  noise: float | Float[Array, ''] = 0.0,
  context: Float[Array, 'N H W c'] | None = None,
) -> Sampler:
  """A sampler of a trained model.

  Args:
    model: that denoises.
    labels: wanted classes; `NUM_CLASSES` for any.
    num_steps: `T`; static.
    params: in place of the model's own, such as traced ones.
    guidance: towards the class.
    noise: `eta` of DDIM or `churn` of a flow; 0 is deterministic.
    context: frames before.

  Returns:
    A sampler.
  """
  denoiser = losses.guided_denoiser(
    model.apply,
    model.target,
    NUM_CLASSES,
    model.params if params is None else params,
    labels,
    guidance=guidance,
    context=context,
  )
  schedule = losses.schedule_of(model.target, num_steps)
  if model.target == 'noise':
    return samplers.ddim(denoiser, schedule, model.shape, eta=noise)
  return samplers.flow(denoiser, schedule, model.shape, churn=noise)
