r"""SVDD: of several next states, go on with the one that promises most.

Li et al., 2408.08252. At each step `M` candidates are drawn from the model's
own transition, and one is kept with probability :math:`\propto e^{v / \alpha}`,
:math:`v = r(\hat x_0)` of the sample that is predicted from it. That call is
also the one that the next step needs, and the last step has no candidates, so
it costs `1 + (T - 1) M` calls for a sample.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ttc.diffusion import samplers
from ttc.diffusion.base import (
  Found,
  Verifier,
  at_least,
  comparable,
  judge,
  settle,
)
from ttc.diffusion.samplers import Sampler


def svdd(
  key: PRNGKeyArray,
  sampler: Sampler,
  verifier: Verifier,
  num_samples: int,
  num_candidates: int,
  *,
  temperature: float | Float[Array, ''] = 0.0,
) -> Found:
  """Steers `N` samples, each by itself.

  Args:
    key: random key, consumed.
    sampler: stochastic, and without noise in its last step.
    verifier: of samples, also predicted ones.
    num_samples: `N`; static.
    num_candidates: `M`; static. With 1 it is the plain sampler.
    temperature: alpha of the paper; 0 takes the best candidate. Traced.

  Returns:
    What was found; the population is the `N` samples.
  """
  at_least(num_samples=(num_samples, 1), num_candidates=(num_candidates, 1))
  keys = samplers.particle_keys(key, num_samples)
  choice_keys = samplers.purpose(keys, 0)
  last = sampler.num_steps - 1

  def body(carry, place):
    x, x0 = carry
    draw = lambda m: samplers.branch(sampler, keys, x, x0, place, m).x
    candidates = jax.vmap(draw)(jnp.arange(num_candidates, dtype=jnp.int32))
    flat = candidates.reshape(-1, *sampler.shape)
    predicted = sampler.predict(flat, place + 1)
    values = comparable(judge(verifier, predicted))
    values = values.reshape(num_candidates, num_samples)
    chosen = _choose(choice_keys, place, values, temperature)
    particle = jnp.arange(num_samples, dtype=jnp.int32)
    pick = lambda of_all: of_all.reshape(candidates.shape)[chosen, particle]
    return (pick(candidates), pick(predicted)), None

  x = samplers.initial(sampler, keys)
  places = jnp.arange(last, dtype=jnp.int32)
  (x, x0), _ = jax.lax.scan(body, (x, sampler.predict(x, 0)), places)
  x = samplers.branch(sampler, keys, x, x0, last).x
  judged = num_samples * num_candidates * last
  return settle(
    x, judge(verifier, x), num_samples + judged, judged + num_samples
  )


def _choose(keys, place, values, temperature):
  """A candidate for each particle, from values `[M, N]`."""

  def noise(key):
    key = jax.random.fold_in(key, place)
    return jax.random.gumbel(key, values.shape[:1], jnp.float32)

  values = jnp.maximum(values, jnp.finfo(jnp.float32).min / 2)
  return jnp.argmax(values + temperature * jax.vmap(noise)(keys).T, axis=0)
