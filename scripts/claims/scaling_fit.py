"""Which law of coverage may be extrapolated (Brown et al., 2024)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims.row import Row
from ttc import evaluation, scaling

A, B = 0.5, 2.0  # of the Beta law of the chances of problems
SINGLE = 0.1  # the chance of all problems of the control
NUM_PROBLEMS, NUM_SAMPLES = 400, 64  # of a seed
SEEN = np.array([1, 2, 4, 8, 16, 32])  # what is fitted
TARGET = 1024  # what is predicted
NUM_RESAMPLES = 500


def reproduce(num_seeds: int) -> Row:
  """Mixed problems make power laws, from which coverage can be predicted."""
  truth = {
    'mixed': float(scaling.beta_plateau_accuracy(A, B, TARGET)[-1]),
    'alike': float(scaling.plateau_accuracy(TARGET, SINGLE)),
  }
  cells, inside, errors, exponents = {}, 0, {}, []
  for world in truth:
    runs = [fits_of(seed, world == 'mixed') for seed in range(num_seeds)]
    parts = []
    for name in runs[0]:
      point = np.array([run[name][0] for run in runs])
      low = np.array([run[name][1] for run in runs])
      high = np.array([run[name][2] for run in runs])
      errors[world, name] = point[:, 0] - truth[world]
      parts.append(
        f'{name} '
        + ', '.join(
          f'{100 * p:.1f} [{100 * a:.1f}, {100 * b:.1f}]'
          for p, a, b in zip(point[:, 0], low[:, 0], high[:, 0], strict=True)
        )
      )
      if world == 'mixed' and name == 'power law':
        covered = (low[:, 1] <= A) & (A <= high[:, 1])
        inside = int(covered.sum())
        exponents = [
          f'{p:.2f} [{a:.2f}, {b:.2f}]'
          for p, a, b in zip(point[:, 1], low[:, 1], high[:, 1], strict=True)
        ]
    cells[world] = '; '.join(parts)
  off = {k: float(np.abs(v).mean()) for k, v in errors.items()}
  return Row(
    f'scaling_fit (simulated problems, fitted to k <= {SEEN[-1]})',
    f'where chances differ the exponent is that of their law, and coverage at '
    f'{TARGET} is predicted better than by one chance for all',
    f'chances Beta({A}, {B}): exponent {", ".join(exponents)} for {A}, '
    f'covered in {inside} of {num_seeds} seeds; coverage at {TARGET} '
    f'(truth {100 * truth["mixed"]:.1f}): {cells["mixed"]}',
    f'all chances {SINGLE} (truth {100 * truth["alike"]:.1f}): '
    f'{cells["alike"]}',
    bool(
      inside >= num_seeds - 1
      and off['mixed', 'power law'] < off['mixed', 'one chance']
      and off['mixed', 'power law'] < 0.03
      and off['alike', 'one chance'] < 0.01
    ),
  )


@functools.partial(jax.jit, static_argnums=1)
def fits_of(seed, mixed):
  """Prediction and exponent of each law: the fit, and its 95% interval."""
  key, sample_key, bootstrap_key = jax.random.split(jax.random.key(seed), 3)
  p = jnp.full((NUM_PROBLEMS,), SINGLE)
  if mixed:
    p = jax.random.beta(key, A, B, (NUM_PROBLEMS,))
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
    law = scaling.fit_plateau(SEEN, mean)
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
