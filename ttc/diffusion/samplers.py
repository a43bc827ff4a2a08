r"""Samplers: what a search over noise asks of a diffusion or a flow model.

A step predicts the sample, :math:`\hat x_0 = E[x_0 | x_i]`, which is the one
call of the network, and draws :math:`x_{i+1} \sim N(m(x_i, \hat x_0), s_i^2)`.
Everything else is arithmetic: many draws from one call are free. DDIM (2010.
02502; `eta` 1 is the ancestral step of DDPM) and flows, as an ODE or as an SDE
with the same marginals (2505.17618), differ in `m` and `s` alone.

Particles are the leading axis and each has its key: its noise depends neither
on the others nor on how many there are.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ttc.diffusion.schedules import Level, Schedule

Particles: TypeAlias = Float[Array, 'N *shape']
Place: TypeAlias = int | Int[Array, '']
# `(x, level) -> E[x_0 | x]`, one call of the network for each particle.
Denoiser: TypeAlias = Callable[[Particles, Level], Particles]


class Sampler(NamedTuple):
  """A sampler; made inside `jit`, so that its numbers may be traced.

  Attributes:
    schedule: noise levels of its `T` steps.
    shape: of a sample; static.
    predict: `(x, place) -> x0_hat`: calls the network.
    transition: `(x, x0_hat, place) -> (mean, std [])` of the next state.
  """

  schedule: Schedule
  shape: tuple[int, ...]
  predict: Callable[[Particles, Place], Particles]
  transition: Callable[
    [Particles, Particles, Place], tuple[Particles, Float[Array, '']]
  ]

  @property
  def num_steps(self) -> int:
    """`T`."""
    return self.schedule.num_steps


class Step(NamedTuple):
  """What one step gives."""

  x: Particles  # the next state
  x0: Particles  # the sample predicted on the way
  std: Float[Array, '']  # of the noise that was added


def ddim(
  denoiser: Denoiser,
  schedule: Schedule,
  shape: tuple[int, ...],
  *,
  eta: float | Float[Array, ''] = 1.0,
) -> Sampler:
  r"""DDIM: with `eta` 0 deterministic in its first noise, with 1 DDPM.

  .. math::
    s &= \eta\sqrt{\tfrac{1-\bar\alpha'}{1-\bar\alpha}}
         \sqrt{1-\tfrac{\bar\alpha}{\bar\alpha'}} \\
    m &= \sqrt{\bar\alpha'}\hat x_0
         + \sqrt{1-\bar\alpha'-s^2}\,\hat\varepsilon

  Args:
    denoiser: see `from_noise`; or exact, of a mixture.
    schedule: of diffusion, such as `cosine`.
    shape: of a sample.
    eta: share of the noise of the ancestral step, in 0..1; may be traced.

  Returns:
    A sampler. The last step adds no noise.
  """

  def transition(x, x0, place):
    now, then = schedule.level(place), schedule.level(place + 1)
    noise = (x - now.alpha * x0) / now.sigma
    fresh = jnp.sqrt(jnp.maximum(0.0, 1 - (now.alpha / then.alpha) ** 2))
    std = jnp.asarray(eta, x.dtype) * then.sigma / now.sigma * fresh
    kept = jnp.sqrt(jnp.maximum(0.0, then.sigma**2 - std**2))
    return then.alpha * x0 + kept * noise, std

  predict = lambda x, place: denoiser(x, schedule.level(place))
  return Sampler(schedule, tuple(shape), predict, transition)


def flow(
  denoiser: Denoiser,
  schedule: Schedule,
  shape: tuple[int, ...],
  *,
  churn: float | Float[Array, ''] = 0.0,
) -> Sampler:
  r"""Euler steps of a flow, with noise that leaves its marginals as they are.

  .. math:: dx = (v - \tfrac 1 2 g^2 s)\,dt + g\,dW, \quad g = a\sqrt t, \quad
    s = -(x + (1 - t) v) / t

  Args:
    denoiser: see `from_velocity`; or exact, of a mixture.
    schedule: of `flow_times`.
    shape: of a sample.
    churn: `a`; 0, the default, is the ODE; searches that branch need noise,
      .7 say; may be traced.

  Returns:
    A sampler. The last step is one of the ODE.
  """

  def transition(x, x0, place):
    time, then = schedule.times[place], schedule.times[place + 1]
    velocity = (x - x0) / time
    score = -(x + (1 - time) * velocity) / time
    is_last = jnp.asarray(place) == schedule.num_steps - 1
    variance = jnp.where(
      is_last, 0.0, jnp.square(jnp.asarray(churn, x.dtype)) * time
    )  # g^2
    mean = x + (velocity - variance / 2 * score) * (then - time)
    return mean, jnp.sqrt(variance * (time - then))

  predict = lambda x, place: denoiser(x, schedule.level(place))
  return Sampler(schedule, tuple(shape), predict, transition)


def from_noise(
  noise_fn: Callable[[Particles, Float[Array, '']], Particles],
  *,
  clip: float | None = None,
) -> Denoiser:
  """The denoiser of a network `(x, time) -> noise`.

  Args:
    noise_fn: the network.
    clip: largest absolute value of a prediction; None for any.
  """

  def denoiser(x, level):
    x0 = (x - level.sigma * noise_fn(x, level.time)) / level.alpha
    return x0 if clip is None else jnp.clip(x0, -clip, clip)

  return denoiser


def from_velocity(
  velocity_fn: Callable[[Particles, Float[Array, '']], Particles],
) -> Denoiser:
  """The denoiser of a network `(x, time) -> noise - x_0`."""
  return lambda x, level: x - level.time * velocity_fn(x, level.time)


def particle_keys(
  key: Key[Array, ''], num_particles: int, first: Place = 0
) -> Key[Array, ' N']:
  """The keys of particles `first`, `first + 1`, ..."""
  place = first + jnp.arange(num_particles, dtype=jnp.int32)
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, place)


def purpose(keys: Key[Array, '*N'], number: Place) -> Key[Array, '*N']:
  """Keys for something else than steps, apart from those of any place."""
  fold = lambda key: jax.random.fold_in(
    key, jnp.asarray(number, jnp.uint32) + jnp.uint32(2**31)
  )
  return jax.vmap(fold)(keys) if keys.ndim else fold(keys)


def initial(sampler: Sampler, keys: Key[Array, ' N']) -> Particles:
  """Standard normal noise, that of place 0."""
  return _normal(sampler, keys, sampler.num_steps)


def branch(
  sampler: Sampler,
  keys: Key[Array, ' N'],
  x: Particles,
  x0: Particles,
  place: Place,
  number: Place = 0,
) -> Step:
  """Draws the next state, without a call of the network.

  Args:
    sampler: that steps.
    keys: of the particles; not consumed, each place has its own noise.
    x: states at `place`.
    x0: predicted from them.
    place: from 0 to `T - 1`.
    number: of the draw; others give independent ones.

  Returns:
    The step.
  """
  mean, std = sampler.transition(x, x0, place)
  noise = _normal(sampler, keys, place, number)
  return Step(mean + std * noise, x0, std)


def step(
  sampler: Sampler, keys: Key[Array, ' N'], x: Particles, place: Place
) -> Step:
  """One step: a call of the network for each particle, and a draw."""
  return branch(sampler, keys, x, sampler.predict(x, place), place)


def denoise(
  sampler: Sampler,
  keys: Key[Array, ' N'],
  x: Particles,
  start: Place,
  num_steps: int,
) -> tuple[Particles, Particles]:
  """Steps on from a place.

  Args:
    sampler: that steps.
    keys: of the particles; not consumed.
    x: states at `start`.
    start: place, may be traced.
    num_steps: static; costs as many calls for each particle.

  Returns:
    States at `start + num_steps`, and the samples predicted by the last step;
    without a step the states twice.
  """

  def body(carry, place):
    new = step(sampler, keys, carry[0], place)
    return (new.x, new.x0), None

  places = start + jnp.arange(num_steps, dtype=jnp.int32)
  return jax.lax.scan(body, (x, x), places)[0]


def draw(sampler: Sampler, keys: Key[Array, ' N']) -> Particles:
  """Whole samples, one for each key."""
  noise = initial(sampler, keys)
  return denoise(sampler, keys, noise, 0, sampler.num_steps)[0]


def renoise(
  sampler: Sampler,
  keys: Key[Array, ' N'],
  x: Particles,
  place: Place,
  earlier: Place,
) -> Particles:
  r"""Draws from the forward law of a noisier state.

  .. math:: x_e = \frac{\alpha_e}{\alpha_i} x_i
    + \sqrt{\sigma_e^2 - \frac{\alpha_e^2}{\alpha_i^2}\sigma_i^2}\,z

  Args:
    sampler: that has the levels.
    keys: of the particles; consumed.
    x: states at `place`.
    place: with signal in it.
    earlier: at most `place`.

  Returns:
    States at `earlier`.
  """
  now = sampler.schedule.level(place)
  before = sampler.schedule.level(earlier)
  stays = jnp.asarray(place) == earlier  # nothing changes, even without signal
  ratio = before.alpha / jnp.where(stays, 1.0, now.alpha)
  ratio = jnp.where(stays, 1.0, ratio)
  variance = before.sigma**2 - (ratio * now.sigma) ** 2
  std = jnp.sqrt(jnp.where(stays, 0.0, jnp.maximum(variance, 0.0)))
  return ratio * x + std * _normal(sampler, keys, earlier)


def _normal(sampler, keys, place: Place, number: Place = 0):
  """Noise of each particle, by place and number of the draw."""

  def of_particle(key):
    key = jax.random.fold_in(jax.random.fold_in(key, place), number)
    return jax.random.normal(key, sampler.shape, jnp.float32)

  return jax.vmap(of_particle)(keys)
