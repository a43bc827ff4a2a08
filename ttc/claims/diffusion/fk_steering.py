"""FK steering draws from the tilted law (2501.06848)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import diffusion
from ttc.claims.claim import Claim, text
from ttc.diffusion import mixtures
from ttc.testbeds import mixture_diffusion as bed

STRENGTH, NUM_STEPS, MODES = 1.0, 128, 3
# Places where each potential judges; None for all. Many runs of few particles:
# of few runs of many the errors have long tails.
PLANS = {
  'diff': None,
  'max': (0, 43, 86),
  'add': (0, 43, 86),
  'rt': (0, 43, 86),
}
NUM_PARTICLES, NUM_RUNS = 64, 512


@functools.cache
def target():
  """The tilted mixture."""
  return bed.linear_target(jax.random.key(0))


def measure(seed, size, cache):
  """Mass of each mode, by potential, and of the plain sampler weighed last.

  A run's mass is its estimate of E exp(lambda r) times the shares of modes
  among its particles: its mean is that of the sampler's tilted law.
  """
  del cache
  keys = jax.random.split(jax.random.key(2000 + seed), len(PLANS) + 2)
  run = lambda key, name, strength, places, num: _steer(
    key, name, strength, places, size.problems(num)
  )
  found = {
    name: run(key, name, STRENGTH, places, NUM_RUNS)
    for key, (name, places) in zip(keys[2:], PLANS.items(), strict=True)
  }
  return found | {
    'plain': run(keys[0], 'diff', STRENGTH, (), 4 * NUM_RUNS),
    'unsteered': run(keys[1], 'diff', 0.0, (), NUM_RUNS),
  }


def _steer(key, potential, strength, places, num_runs):
  sampler = bed.stochastic(target().mixture, NUM_STEPS)
  at = jnp.ones(NUM_STEPS, bool)
  if places is not None:
    at = jnp.isin(jnp.arange(NUM_STEPS), jnp.array(places, jnp.int32))

  @jax.jit
  def run(key):
    found = diffusion.fk_particles(
      key, sampler, target().reward, NUM_PARTICLES, at, strength=strength,
      potential=potential,
    )  # fmt: skip
    near = mixtures.responsibilities(target().mixture, found.x)
    shares = jnp.exp(found.log_weights) @ near
    return jnp.exp(found.log_normalizer) * shares

  return jax.lax.map(run, jax.random.split(key, num_runs))


def exact():
  """Shares of all modes by the tilted law of the mixture itself."""
  return np.exp(target().tilted(STRENGTH).law.log_weights)


def shares(data, name):
  """Of the largest modes: estimates and their standard errors."""
  top, mass = np.argsort(exact())[::-1][:MODES], data[name]
  total = mass.sum(axis=1)
  ratio = mass[:, top].mean(axis=0) / total.mean()
  rest = (mass[:, top] - ratio * total[:, None]) / total.mean()
  return ratio, rest.std(axis=0, ddof=1) / np.sqrt(len(mass))


def normalizer(data, name):
  """Over the exact one, and its standard error."""
  exact_total = float(np.exp(target().tilted(STRENGTH).log_normalizer))
  total = data[name].sum(axis=1) / exact_total
  return total.mean(), total.std(ddof=1) / np.sqrt(len(total))


def apart(data, name, measured):
  """Standard errors to the plain sampler whose samples are weighed."""
  (a, error), (b, other) = measured(data, name), measured(data, 'plain')
  return np.max(np.abs(a - b) / np.hypot(error, other))


def told(name):
  """What is found with a potential."""

  def say(data):
    modes = ', '.join(f'{x:.3f}' for x in shares(data, name)[0])
    mean, error = normalizer(data, name)
    return (
      f'{name} {modes}, Z {mean:.3f} ± {error:.3f} '
      f'({apart(data, name, shares):.1f} and '
      f'{apart(data, name, normalizer):.1f} standard errors)'
    )

  return text(
    say,
    lambda d: all(apart(d, name, x) < 3.5 for x in (shares, normalizer)),
  )


def reference(data):
  """Shares by the plain sampler, weighed, and by the mixture itself."""
  by_sampler = ', '.join(f'{x:.3f}' for x in shares(data, 'plain')[0])
  by_law = ', '.join(f'{x:.3f}' for x in np.sort(exact())[::-1][:MODES])
  mean = normalizer(data, 'plain')[0]
  return (
    f'largest modes: of the sampler {by_sampler}, Z {mean:.3f}; without an '
    f'error of steps {by_law}, Z 1'
  )


CLAIM = Claim(
  'FK steering on eight modes, 128 steps',
  '2501.06848',
  'weighted particles of all four potentials follow the law of the sampler '
  'tilted by the reward: shares of the three largest modes and the normaliser '
  'are within 3.5 standard errors (16 comparisons) of plain samples that are '
  'weighed at last, and these within .03 of the exact law',
  measure,
  checks=[
    *(told(name) for name in PLANS),
    text(
      reference,
      lambda d: (
        np.abs(shares(d, 'plain')[0] - np.sort(exact())[::-1][:MODES]).max()
        < 0.03
      ),
    ),
  ],
  controls=[
    text(
      lambda d: (
        'without strength the largest is off by '
        f'{abs(shares(d, "unsteered")[0][0] - exact().max()):.2f}'
      ),
      lambda d: apart(d, 'unsteered', shares) > 10,
    )
  ],
)
