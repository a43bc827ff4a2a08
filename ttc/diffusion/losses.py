r"""What a denoiser is trained with: noise, a velocity, or the sample itself.

.. math:: x_t = \alpha_t x_0 + \sigma_t\varepsilon, \quad t \sim U(0, 1)

and the network answers :math:`\varepsilon` (Ho et al., 2006.11239; here with
the cosine law of alpha-bar) or :math:`\varepsilon - x_0` (Lipman et al., 2210.
02747; :math:`\alpha = 1 - t`, :math:`\sigma = t`). Both have to carry all of
the noise through the network. One that is narrower than what it sees answers
:math:`x_0`, whose error is weighed as that of the velocity that follows from
it (Li and He, 2511.13720). A label is dropped now and then, so that the network
also knows the images of all classes and guidance can tell the two apart (Ho and
Salimans, 2207.12598).
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc.diffusion.samplers import Denoiser, from_noise, from_velocity
from ttc.diffusion.schedules import (
  Schedule,
  cosine,
  cosine_alpha_bar,
  flow_times,
)
from ttc.types import Params

Target: TypeAlias = Literal['noise', 'velocity', 'sample']
TARGETS = ('noise', 'velocity', 'sample')
_LEAST_TIME = 0.1  # below it errors of a sample are weighed as here
# `(params, images [N, H, W, C], times [N], labels [N]) -> [N, H, W, C']`.
NetworkFn: TypeAlias = Callable[..., Float[Array, 'N H W O']]


class Batch(NamedTuple):
  """What a step of training sees."""

  images: Float[Array, 'N H W C']  # in [-1, 1]
  context: Float[Array, 'N H W c'] | None  # given beside the noisy image
  labels: Int[Array, ' N']
  key: PRNGKeyArray  # of noise, times and what is dropped


def denoising_loss(
  network_fn: NetworkFn,
  target: Target,
  num_classes: int,
  dropped: float,
  params: Params,
  batch: Batch,
) -> Float[Array, '']:
  """Mean squared error of the network's answer.

  Args:
    network_fn: the network.
    target: what it should answer.
    num_classes: the label that means none.
    dropped: share of labels that are.
    params: of the network.
    batch: images.

  Returns:
    The loss.
  """
  time_key, noise_key, drop_key = jax.random.split(batch.key, 3)
  x0 = batch.images
  times = jax.random.uniform(time_key, x0.shape[:1], jnp.float32)
  noise = jax.random.normal(noise_key, x0.shape, jnp.float32)
  drops = jax.random.bernoulli(drop_key, dropped, x0.shape[:1])
  labels = jnp.where(drops, num_classes, batch.labels)
  t = times[:, None, None, None]
  if target == 'noise':
    alpha_bar = jnp.clip(cosine_alpha_bar(t), 1e-5, 1.0)
    x = jnp.sqrt(alpha_bar) * x0 + jnp.sqrt(1 - alpha_bar) * noise
    wanted = noise
  else:
    x = (1 - t) * x0 + t * noise
    wanted = x0 if target == 'sample' else noise - x0
  given = x if batch.context is None else _beside(x, batch.context)
  answer = network_fn(params, given, times, labels)
  weight = 1.0
  if target == 'sample':
    weight = 1 / jnp.maximum(t, _LEAST_TIME)
  return jnp.mean(jnp.square(weight * (answer - wanted)))


def guided_denoiser(
  network_fn: NetworkFn,
  target: Target,
  num_classes: int,
  params: Params,
  labels: Int[Array, ' N'] | Int[Array, ''],
  *,
  guidance: float | Float[Array, ''] = 1.0,
  context: Float[Array, 'N H W c'] | None = None,
) -> Denoiser:
  r"""The denoiser of a trained network, with classifier-free guidance.

  .. math:: f = f_\emptyset + w (f_y - f_\emptyset)

  Both are computed in one call of twice as many rows, which counts as one.

  Args:
    network_fn: the network.
    target: what it answers.
    num_classes: the label that means none.
    params: of the network.
    labels: wanted of each particle, or one of all.
    guidance: `w`; 1 is the plain conditional model, 0 the unconditional one.
      As the Python number 1 it costs one row for a particle.
    context: given beside each particle's state.

  Returns:
    A denoiser that keeps its predictions in [-1, 1].
  """
  plain = isinstance(guidance, int | float) and guidance == 1

  def answer(x, time):
    wanted = jnp.broadcast_to(labels, x.shape[:1])
    given = x if context is None else _beside(x, context)
    times = jnp.full(x.shape[:1], time, jnp.float32)
    if plain:
      return network_fn(params, given, times, wanted)
    twice = lambda a: jnp.concatenate([a, a])
    none = jnp.full_like(wanted, num_classes)
    both = network_fn(
      params, twice(given), twice(times), jnp.concatenate([wanted, none])
    )
    conditional, free = jnp.split(both, 2)
    return free + guidance * (conditional - free)

  if target == 'noise':
    return from_noise(answer, clip=1.0)
  if target == 'sample':
    return lambda x, level: jnp.clip(answer(x, level.time), -1.0, 1.0)
  inner = from_velocity(answer)
  return lambda x, level: jnp.clip(inner(x, level), -1.0, 1.0)


def schedule_of(target: Target, num_steps: int) -> Schedule:
  """The schedule that goes with what a network was trained to answer."""
  return cosine(num_steps) if target == 'noise' else flow_times(num_steps)


def _beside(x: Any, context: Any) -> Any:
  return jnp.concatenate([x, context], axis=-1)
