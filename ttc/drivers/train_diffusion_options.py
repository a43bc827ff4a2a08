"""What a training of a denoiser may choose."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from ttc import diffusion
from ttc.diffusion import Model
from ttc.diffusion.losses import TARGETS
from ttc.diffusion.model import NUM_CLASSES
from ttc.drivers import options
from ttc.drivers.options import option
from ttc.testbeds import bouncing_digits, image_diffusion
from ttc.types import Params

_whole, _real = options.whole, options.real
_share = options.real(0.0, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainDiffusionOptions:
  """Of a training.

  Attributes:
    data: one of `image_diffusion.DATA`.
    network: 'unet' or 'dit'.
    target: what it answers: 'noise', 'velocity' or 'sample'.
    width: of a DiT's tokens, or of a U-Net's finer blocks.
    depth: of a DiT.
    num_steps: of training.
    batch_size: images of a step.
    learning_rate: of Adam, at its peak; falls to 0.
    warmup_steps: to there.
    clip: largest norm of a gradient.
    dropped: share of labels that are dropped, for guidance.
    ema: most of the moving average of the parameters.
    seed: of everything.
    checkpoint_every: steps.
    sampling_steps: of the samples that are shown and measured.
    guidance: of these.
    num_eval: samples that are measured.
  """

  data: str = option(options.one_of(image_diffusion.DATA))
  network: str = option(options.one_of(('unet', 'dit')))
  target: str = option(options.one_of(TARGETS))
  width: int = option(_whole(8, 1024))
  depth: int = option(_whole(1, 100), 3)
  num_steps: int = option(_whole(1))
  batch_size: int = option(_whole(1, 1_000_000), 64)
  learning_rate: float = option(_real(0.0, 10.0, above=True), 2e-3)
  warmup_steps: int = option(_whole(0), 100)
  clip: float = option(_real(0.0, 1e9, above=True), 1.0)
  dropped: float = option(_share, 0.1)
  ema: float = option(_real(0.0, 1.0, below=True), 0.999)
  seed: int = option(options.seed(), 0)
  checkpoint_every: int = option(_whole(1), 250)
  sampling_steps: int = option(_whole(1, 1000), 25)
  guidance: float = option(_real(0.0, 100.0), 2.0)
  num_eval: int = option(_whole(10, 100_000), 500)


class Average(NamedTuple):
  """The moving average of parameters, as the last part of an optimiser."""

  params: Params
  num_steps: Int[Array, '']


def check(chosen: TrainDiffusionOptions) -> None:
  """Raises ValueError for options that do not go together."""
  if chosen.warmup_steps >= chosen.num_steps:
    raise ValueError(
      f'config.warmup_steps={chosen.warmup_steps} leaves nothing of '
      f'config.num_steps={chosen.num_steps}'
    )
  if chosen.width % 8:
    raise ValueError(f'config.width={chosen.width} is not a multiple of 8')


def network_options(chosen: TrainDiffusionOptions) -> dict[str, object]:
  """Of the network, by the names of its attributes."""
  bounces = image_diffusion.is_video(chosen.data)
  channels = bouncing_digits.UNIT if bounces else 1
  if chosen.network == 'unet':
    return {'channels': channels, 'widths': (chosen.width, 2 * chosen.width)}
  return {'channels': channels, 'width': chosen.width, 'depth': chosen.depth}


def make_model(chosen: TrainDiffusionOptions) -> Model:
  """The model before training."""
  check(chosen)
  bounces = image_diffusion.is_video(chosen.data)
  return diffusion.make_model(
    chosen.network,
    network_options(chosen),
    chosen.target,  # type: ignore[arg-type]
    bouncing_digits.UNIT if bounces else 0,
  )


def loss_fn(chosen: TrainDiffusionOptions, model: Model):
  """`(params, batch) -> loss`."""
  return functools.partial(
    diffusion.denoising_loss,
    model.apply,
    model.target,
    NUM_CLASSES,
    chosen.dropped,
  )


def make_optimizer(
  chosen: TrainDiffusionOptions,
) -> optax.GradientTransformation:
  """Adam with warm-up and cosine decay, and an average of parameters."""
  schedule = optax.warmup_cosine_decay_schedule(
    0.0, chosen.learning_rate, chosen.warmup_steps, chosen.num_steps
  )
  return optax.chain(
    optax.clip_by_global_norm(chosen.clip),
    optax.adam(schedule),
    averaged(chosen.ema),
  )


def averaged(most: float) -> optax.GradientTransformation:
  """Keeps the average of what parameters become; changes no update.

  The decay of step `i` is `min(most, (1 + i) / (10 + i))`.
  """

  def init(params):
    copy = jax.tree.map(jnp.array, params)
    return Average(copy, jnp.zeros((), jnp.int32))

  def update(updates, state, params=None):
    assert params is not None
    decay = jnp.minimum(most, (1 + state.num_steps) / (10 + state.num_steps))
    new = optax.apply_updates(params, updates)
    mix: Float[Array, '*A']
    mix = jax.tree.map(
      lambda a, b: decay * a + (1 - decay) * b, state.params, new
    )
    return updates, Average(mix, state.num_steps + 1)

  return optax.GradientTransformation(init, update)


def average_of(opt_state) -> Params:
  """The averaged parameters in the state of `make_optimizer`."""
  return opt_state[-1].params
