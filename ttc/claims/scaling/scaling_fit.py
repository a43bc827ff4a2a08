"""Which law of coverage may be extrapolated (Brown et al., 2024)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation, scaling
from ttc.claims.claim import Claim, text

A, B = 0.5, 2.0  # of the Beta law of the chances of problems
SINGLE = 0.1  # the chance of all problems of the control
NUM_PROBLEMS, NUM_SAMPLES = 400, 64  # of a seed
SEEN = np.array([1, 2, 4, 8, 16, 32])  # what is fitted
TARGET = 1024  # what is predicted
NUM_RESAMPLES = 500
LAWS = 'power law', 'power of the logarithm', 'one chance'
WORLDS = 'mixed', 'alike'


@functools.cache
def truth(world):
  """Of what is predicted."""
  if world == 'alike':
    return float(scaling.plateau_accuracy(TARGET, SINGLE))
  return float(scaling.beta_plateau_accuracy(A, B, TARGET)[-1])


def measure(seed, size, cache):
  """By world and law: fit, low and high end, of the prediction and exponent."""
  del cache
  num = size.problems(NUM_PROBLEMS)
  return {
    world: {
      name: jnp.stack(fit)[None]
      for name, fit in fits_of(seed, world == 'mixed', num).items()
    }
    for world in WORLDS
  }


@functools.partial(jax.jit, static_argnums=(1, 2))
def fits_of(seed, mixed, num_problems):
  """Prediction and exponent of each law: the fit, and its 95% interval."""
  key, sample_key, bootstrap_key = jax.random.split(jax.random.key(seed), 3)
  p = jnp.full((num_problems,), SINGLE)
  if mixed:
    p = jax.random.beta(key, A, B, (num_problems,))
  right = jax.random.binomial(sample_key, NUM_SAMPLES, p).astype(jnp.int32)
  curves = jnp.stack(
    [scaling.pass_at_k(NUM_SAMPLES, right, int(k)) for k in SEEN], axis=1
  )

  def power(mean):
    law = scaling.fit_power_law(SEEN, mean)
    return jnp.stack([scaling.power_law(TARGET, law), law.exponent])

  def log_power(mean):
    law = scaling.fit_coverage_law(SEEN, mean)
    return jnp.stack([scaling.coverage_law(TARGET, law), law.exponent])

  def exponential(mean):
    law = scaling.fit_plateau(jnp.asarray(SEEN), mean)
    accuracy = scaling.plateau_accuracy(TARGET, law.p, law.ceiling)
    return jnp.stack([accuracy, law.p])

  output = {}
  for name, fit in (
    ('power law', power),
    ('power of the logarithm', log_power),
    ('one chance', exponential),
  ):
    statistic = lambda data, weights, fit=fit: fit(
      evaluation.weighted_mean(data, weights)
    )
    replicates = evaluation.bootstrap(
      bootstrap_key, curves, statistic, NUM_RESAMPLES
    )
    interval = evaluation.percentile_interval(replicates)
    output[name] = (fit(jnp.mean(curves, axis=0)), *interval)
  return output


def predicted(data, world):
  """Coverage at the target by each law and seed."""
  cells = [
    f'{name} '
    + ', '.join(
      f'{100 * p:.1f} [{100 * a:.1f}, {100 * b:.1f}]'
      for p, a, b in data[world][name][..., 0]
    )
    for name in LAWS
  ]
  return '; '.join(cells)


def off(data, world, name):
  """Mean error of the predictions."""
  return float(np.abs(data[world][name][:, 0, 0] - truth(world)).mean())


def num_covered(data):
  """Seeds whose interval of the exponent holds the true one."""
  _, low, high = data['mixed']['power law'][..., 1].T
  return int(((low <= A) & (A <= high)).sum())


def mixed_worlds(data):
  """Exponents and predictions where chances differ."""
  exponents = ', '.join(
    f'{p:.2f} [{a:.2f}, {b:.2f}]'
    for p, a, b in data['mixed']['power law'][..., 1]
  )
  return (
    f'chances Beta({A}, {B}): exponent {exponents} for {A}, covered in '
    f'{num_covered(data)} of {data["num_seeds"]} seeds; coverage at {TARGET} '
    f'(truth {100 * truth("mixed"):.1f}): {predicted(data, "mixed")}'
  )


def power_law_is_best(data):
  """Close to the truth, and closer than one chance for all."""
  error = off(data, 'mixed', 'power law')
  return (
    num_covered(data) >= data['num_seeds'] - 1
    and error < off(data, 'mixed', 'one chance')
    and error < 0.03
  )


CLAIM = Claim(
  f'scaling_fit (simulated problems, fitted to k <= {SEEN[-1]})',
  '2407.21787',
  f'where chances differ the exponent is that of their law, and coverage at '
  f'{TARGET} is predicted better than by one chance for all',
  measure,
  checks=[text(mixed_worlds, power_law_is_best)],
  controls=[
    text(
      lambda d: (
        f'all chances {SINGLE} (truth {100 * truth("alike"):.1f}): '
        f'{predicted(d, "alike")}'
      ),
      lambda d: off(d, 'alike', 'one chance') < 0.01,
    )
  ],
)
