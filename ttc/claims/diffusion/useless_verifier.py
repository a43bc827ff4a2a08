"""A verifier that knows nothing buys nothing, whatever is spent."""

import zlib

import jax
import jax.numpy as jnp

from ttc.claims.claim import Claim, text
from ttc.claims.claim import difference as paired
from ttc.testbeds import mixture_diffusion as bed

BUDGET = 59  # samples of best-of-N
NAMES = tuple(bed.searches(BUDGET))


def measure(seed, size, cache):
  """True rewards, by search, of what a useless and the true one prefer."""
  del cache
  keys = jax.random.split(jax.random.key(3000 + seed), size.problems(64))
  run = lambda name, knows: jax.vmap(_one(name, knows))(keys)
  return {
    'useless': {name: run(name, False) for name in NAMES},
    'true': {name: run(name, True) for name in NAMES},
    'one sample': run('best of N', None),
  }


def _one(name, knows):
  """`key -> true reward` of a search; None for a single sample."""
  search = bed.searches(BUDGET)[name]

  @jax.jit
  def run(key):
    target_key, search_key = jax.random.split(key)
    target = bed.linear_target(target_key)
    sde, ode = (
      make(target.mixture) for make in (bed.stochastic, bed.deterministic)
    )
    verifier = target.reward if knows else _noise
    found = search(search_key, sde, ode, verifier)
    if knows is None:
      return target.reward(found.population[:1])[0]
    return bed.outcome(target, found).reward

  return run


def _noise(x):
  """Normal numbers that only depend on the last bits of a sample."""
  bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
  mixed = jnp.sum(bits * jnp.uint32(zlib.crc32(b'useless') | 1), axis=-1)
  draw = lambda seed: jax.random.normal(jax.random.key(seed), (), jnp.float32)
  return jax.vmap(draw)(mixed)


def change(data, verifier, name):
  """Over one sample, paired."""
  return paired(data[verifier][name], data['one sample'])


def told(verifier, asks):
  """What each search gains over one sample."""

  def say(data):
    parts = []
    for name in NAMES:
      mean, error = change(data, verifier, name)[:2]
      parts.append(f'{name} {mean:+.2f} ± {error:.2f}')
    return f'{verifier} verifier, over one sample: {", ".join(parts)}'

  return text(say, lambda d: all(asks(change(d, verifier, n)) for n in NAMES))


CLAIM = Claim(
  'Searches whose verifier is noise, on linear targets',
  '2501.09732',
  'no search gains by a verifier that knows nothing, with 1888 calls for 32',
  measure,
  checks=[told('useless', lambda x: abs(x.mean) < 3.5 * x.standard_error)],
  controls=[told('true', lambda x: x.mean > 3 * x.standard_error)],
)
