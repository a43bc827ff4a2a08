r"""Feynman-Kac steering: particles that are resampled by what they promise.

Singhal et al., 2501.06848. `N` particles are denoised side by side; at some
places the sample that each predicts is judged, its weight is multiplied by a
potential `G`, and particles are drawn anew by their weights. In the logarithm,
with :math:`r_t` the reward of :math:`\hat x_0` at a place,

  diff   :math:`\lambda (r_t - r_{t-1})`, from :math:`r_0 = 0`
  max    :math:`\lambda \max_{s \le t} r_s`
  add    :math:`\lambda \sum_{s \le t} r_s`
  rt     :math:`\lambda r_t`

and the last weight is :math:`\lambda r(x_0)` less what was multiplied before,
so that the whole product is :math:`e^{\lambda r(x_0)}`: weighted, the particles
follow the sampler's law tilted by it, and the mean weight is an unbiased
estimate of its normaliser. Costs `N T` calls.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.diffusion import samplers
from ttc.diffusion.base import Found, Verifier, at_least, judge, settle
from ttc.diffusion.samplers import Particles, Sampler

# `(lambda r, memory) -> (log G, memory)`, and the memory before the first.
_POTENTIALS = {
  'diff': (lambda now, before: (now - before, now), 0.0),
  'max': (lambda now, most: (jnp.maximum(now, most),) * 2, -jnp.inf),
  'add': (lambda now, total: (now + total,) * 2, 0.0),
  'rt': (lambda now, memory: (now, memory), 0.0),
}
_LEAST = -1e30  # log of the weight of a particle whose reward is NaN


class Steered(NamedTuple):
  """Weighted particles."""

  x: Particles  # whole samples
  rewards: Float[Array, ' N']
  log_weights: Float[Array, ' N']  # normalised
  log_normalizer: Float[Array, '']  # of the estimate of E exp(lambda r)
  num_resampled: Int[Array, '']  # times


def fk_steering(
  key: PRNGKeyArray,
  sampler: Sampler,
  verifier: Verifier,
  num_particles: int,
  resample_at: Bool[ArrayLike, ' T'],
  *,
  strength: float | Float[Array, ''] = 10.0,
  potential: str = 'diff',
  resampling: str = 'systematic',
  threshold: float | Float[Array, ''] = 1.0,
) -> Found:
  """Steers particles and keeps the best; arguments as of `fk_particles`.

  Returns:
    What was found; the population is the particles, without their weights.
  """
  steered = fk_particles(
    key,
    sampler,
    verifier,
    num_particles,
    resample_at,
    strength=strength,
    potential=potential,
    resampling=resampling,
    threshold=threshold,
  )
  judged = num_particles * (1 + jnp.sum(jnp.asarray(resample_at)))
  nfe = num_particles * sampler.num_steps
  return settle(steered.x, steered.rewards, nfe, judged)


def fk_particles(
  key: PRNGKeyArray,
  sampler: Sampler,
  verifier: Verifier,
  num_particles: int,
  resample_at: Bool[ArrayLike, ' T'],
  *,
  strength: float | Float[Array, ''] = 10.0,
  potential: str = 'diff',
  resampling: str = 'systematic',
  threshold: float | Float[Array, ''] = 1.0,
) -> Steered:
  """Steers particles towards the tilted law.

  Args:
    key: random key, consumed.
    sampler: stochastic.
    verifier: of samples, also predicted ones.
    num_particles: `N`; static.
    resample_at: before which steps; traced. See `every`.
    strength: lambda; 10 in the paper. Traced.
    potential: 'diff', 'max', 'add' or 'rt'; static.
    resampling: how particles are drawn, 'systematic' (of less variance) or
      'multinomial'; static.
    threshold: only if the effective number of particles is below this share
      of them; at 1 always, .5 is the adaptive variant. Traced.

  Returns:
    Weighted particles. A reward that is NaN ends its particle.

  Raises:
    ValueError: for another potential or resampling, and if `resample_at` has
      no entry for each step.
  """
  _check(num_particles, potential, resample_at, sampler.num_steps)
  keys = samplers.particle_keys(key, num_particles)
  resampling_key = samplers.purpose(key, 0)
  potential_fn, memory = _POTENTIALS[potential]

  def reweigh(cloud):
    rewards = judge(verifier, cloud.x0)
    is_nan = jnp.isnan(rewards)
    known = _scaled(jnp.where(is_nan, 0.0, rewards), strength)
    gain, memory = potential_fn(known, cloud.memory)
    weights = jnp.where(is_nan, _LEAST, cloud.log_weights + gain)
    given = cloud.given + gain
    return cloud._replace(memory=memory, log_weights=weights, given=given)

  def body(cloud, now):
    place, judges = now
    cloud = cloud._replace(x0=sampler.predict(cloud.x, place))
    cloud = jax.lax.cond(judges, reweigh, lambda cloud: cloud, cloud)
    enough = threshold * num_particles * (1 + 1e-5)
    few = judges & (effective_number(cloud.log_weights) < enough)
    place_key = jax.random.fold_in(resampling_key, place)
    cloud = _resampled(place_key, cloud, few, resampling)
    x = samplers.branch(sampler, keys, cloud.x, cloud.x0, place).x
    return cloud._replace(x=x), None

  x, zeros = samplers.initial(sampler, keys), jnp.zeros(num_particles)
  zeros = zeros.astype(jnp.float32)
  cloud = _Cloud(
    x, x, zeros, zeros, zeros + memory, jnp.float32(0), jnp.int32(0)
  )
  places = jnp.arange(sampler.num_steps, dtype=jnp.int32)
  judges = jnp.asarray(resample_at, bool)
  cloud, _ = jax.lax.scan(body, cloud, (places, judges))
  rewards = judge(verifier, cloud.x)
  log_weights = cloud.log_weights + _scaled(rewards, strength) - cloud.given
  return Steered(
    cloud.x,
    rewards,
    jax.nn.log_softmax(log_weights),
    cloud.log_normalizer + _log_mean(log_weights),
    cloud.num_resampled,
  )


def every(
  num_steps: int, first: int, last: int, gap: int
) -> Bool[np.ndarray, ' T']:
  """Steps `first`, `first + gap`, ... up to `last`, as a mask."""
  place = np.arange(num_steps, dtype=np.int32)
  return (place >= first) & (place <= last) & ((place - first) % gap == 0)


def effective_number(log_weights: Float[Array, ' N']) -> Float[Array, '']:
  r"""Effective number of particles, :math:`1 / \sum \bar w^2`."""
  return jnp.exp(-jax.nn.logsumexp(2 * jax.nn.log_softmax(log_weights)))


def resample(
  key: PRNGKeyArray,
  log_weights: Float[Array, ' N'],
  resampling: str = 'systematic',
) -> Int[Array, ' N']:
  """Draws `N` particles by their weights; their places, sorted or not.

  Raises:
    ValueError: for another kind of resampling.
  """
  num = log_weights.shape[0]
  if resampling == 'multinomial':
    drawn = jax.random.categorical(key, log_weights, shape=(num,))
    return drawn.astype(jnp.int32)
  if resampling != 'systematic':
    raise ValueError(
      f'resampling={resampling!r} is neither systematic nor multinomial'
    )
  shares = jnp.cumsum(jax.nn.softmax(log_weights))
  place = jnp.arange(num, dtype=jnp.float32)
  points = (place + jax.random.uniform(key, (), jnp.float32)) / num
  drawn = jnp.searchsorted(shares / shares[-1], points, side='right')
  return jnp.minimum(drawn, num - 1).astype(jnp.int32)


class _Cloud(NamedTuple):
  """Particles on their way."""

  x: Particles
  x0: Particles  # predicted from them
  log_weights: Float[Array, ' N']  # since they were resampled
  given: Float[Array, ' N']  # sum of all potentials of a particle's line
  memory: Float[Array, ' N']  # of the potential
  log_normalizer: Float[Array, '']
  num_resampled: Int[Array, '']


def _resampled(key, cloud, is_due, resampling):
  """The cloud drawn anew, with equal weights, if that is due."""
  num = cloud.log_weights.shape[0]
  drawn = resample(key, cloud.log_weights, resampling)
  drawn = jnp.where(is_due, drawn, jnp.arange(num, dtype=jnp.int32))
  per_particle = (cloud.x, cloud.x0, cloud.given, cloud.memory)
  x, x0, given, memory = (leaf[drawn] for leaf in per_particle)
  log_mean = _log_mean(cloud.log_weights)
  return _Cloud(
    x,
    x0,
    jnp.where(is_due, 0.0, cloud.log_weights),
    given,
    memory,
    cloud.log_normalizer + jnp.where(is_due, log_mean, 0.0),
    cloud.num_resampled + is_due,
  )


def _check(num_particles, potential, resample_at, num_steps):
  at_least(num_particles=(num_particles, 1))
  if potential not in _POTENTIALS:
    raise ValueError(f'potential={potential!r} is none of diff, max, add, rt')
  if jnp.shape(resample_at) != (num_steps,):
    raise ValueError(
      f'resample_at has shape {jnp.shape(resample_at)}, expected ({num_steps},)'
    )


def _scaled(rewards, strength):
  """Lambda times rewards, finite."""
  scaled = jnp.where(
    jnp.isnan(rewards), _LEAST, jnp.asarray(strength, rewards.dtype) * rewards
  )
  return jnp.clip(scaled, _LEAST, -_LEAST)


def _log_mean(log_weights):
  return jax.nn.logsumexp(log_weights) - jnp.log(
    jnp.float32(log_weights.shape[0])
  )
