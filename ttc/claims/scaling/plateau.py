"""Where scaling saturates, predicted from its start (Wang et al., 2025)."""

import jax
import jax.numpy as jnp
import numpy as np

from ttc import scaling
from ttc.claims.claim import Claim, text

POINTS = np.array([1, 2, 3, 4, 6, 8, 12, 16])  # that the fits see
MAX_N = 1024  # where the plateau is looked at
THRESHOLD = 1e-3
NUM_PROBLEMS = 2000
SUCCESS = (0.05, 0.1, 0.15, 0.25, 0.4)  # of homogeneous worlds
BETA = ((0.5, 2.0), (0.7, 1.5), (1.0, 4.0), (0.4, 0.8), (1.5, 6.0))
CEILING = 0.85  # share of the problems that can be solved at all


def measure(seed, size, cache):
  """By world: saturation predicted and observed, plateau predicted and true."""
  del cache
  num = size.problems(NUM_PROBLEMS)
  rows = {'same': [], 'mixed': [], 'corrected': []}
  for name, laws in (('same', SUCCESS), ('mixed', BETA)):
    for i, law in enumerate(laws):
      rng = np.random.default_rng([seed, i])
      seen, truth = simulate(rng, law, num)
      observed = saturation(truth), truth[MAX_N]
      rows[name].append(predict_single(seen[POINTS], *observed))
      if name == 'mixed':
        rows['corrected'].append(predict_beta(seen[POINTS], *observed))
  return jax.tree.map(np.array, rows, is_leaf=lambda x: isinstance(x, list))


def simulate(rng, law, num_problems):
  """Observed accuracy at 0..MAX_N of drawn problems, and its expectation.

  A problem can be solved with probability CEILING, and then its first right
  sample comes after a geometric number of them.
  """
  mixed = isinstance(law, tuple)
  p = rng.beta(*law, num_problems) if mixed else np.full(num_problems, law)
  first = rng.geometric(np.maximum(p, 1e-9))
  first = np.where(rng.random(num_problems) < CEILING, first, MAX_N + 1)
  n = np.arange(MAX_N + 1)
  seen = (first[:, None] <= n).mean(axis=0).astype(np.float32)
  if mixed:
    a, b = law
    truth = scaling.beta_plateau_accuracy(a, b, MAX_N, CEILING)
  else:
    truth = scaling.plateau_accuracy(jnp.asarray(n), law, CEILING)
  return jnp.asarray(seen), np.asarray(truth, np.float64)


def saturation(curve):
  """The first unit after which one more gains at most the threshold."""
  return int(np.argmax(np.diff(curve) <= THRESHOLD))


def predict_single(seen, point, plateau):
  """By one probability, fitted to the first points."""
  fit = fit_single(seen)
  return (
    int(scaling.saturation_point(fit.p, THRESHOLD, fit.ceiling)),
    point,
    float(scaling.plateau_accuracy(MAX_N, fit.p, fit.ceiling)),
    plateau,
  )


def predict_beta(seen, point, plateau):
  """By the Beta law, fitted to the first points."""
  law = fit_beta(seen)
  ahead = scaling.beta_plateau_accuracy(law.a, law.b, MAX_N, law.ceiling)
  predicted = scaling.beta_saturation_point(
    law.a, law.b, THRESHOLD, MAX_N, law.ceiling
  )
  return int(predicted), point, float(ahead[-1]), plateau


@jax.jit
def fit_single(seen):
  """One probability, fitted to the first points."""
  return scaling.fit_plateau(jnp.asarray(POINTS), seen)


@jax.jit
def fit_beta(seen):
  """The Beta law, fitted to the first points."""
  return scaling.fit_beta_plateau(jnp.asarray(POINTS), seen, int(POINTS[-1]))


def summary(rows):
  """Agreement of predicted and observed over worlds and seeds."""
  predicted, observed, plateau, truth = np.array(rows, np.float64).T
  ratios = np.log(np.maximum(predicted, 1) / observed)
  gaps = plateau - truth
  count = len(rows) ** 0.5
  return {
    'correlation': np.corrcoef(predicted, observed)[0, 1],
    'ratio': np.exp(ratios.mean()),
    'ratio error': ratios.std(ddof=1) / count,
    'gap': gaps.mean(),
    'gap error': gaps.std(ddof=1) / count,
  }


def describe(s):
  """A summary in words."""
  low, high = (s['ratio'] * np.exp(k * s['ratio error']) for k in (-2, 2))
  gap, error = 100 * s['gap'], 200 * s['gap error']
  return (
    f'saturation predicted / observed {s["ratio"]:.2f} [{low:.2f}, {high:.2f}]'
    f', correlation {s["correlation"]:.2f}, plateau off by {gap:+.1f} '
    f'[{gap - error:+.1f}, {gap + error:+.1f}]'
  )


def derive(data):
  """Agreement in each world."""
  return {
    f'{name} agrees': summary(data[name])
    for name in ('same', 'mixed', 'corrected')
  }


def is_biased(data):
  """One probability for all is wrong where they differ; the Beta law less."""
  mixed, fixed = data['mixed agrees'], data['corrected agrees']
  return (
    mixed['ratio'] < 0.7
    and mixed['gap'] < -0.02
    and abs(np.log(fixed['ratio'])) < abs(np.log(mixed['ratio']))
    and abs(fixed['gap']) < abs(mixed['gap']) / 2
  )


CLAIM = Claim(
  'plateau (TTSPM, simulated problems, fitted to N <= 16)',
  '2505.20522',
  'predicted and observed saturation agree where problems are alike',
  measure,
  checks=[
    text(
      lambda d: f'alike, one p: {describe(d["same agrees"])}',
      lambda d: (
        d['same agrees']['correlation'] > 0.95
        and d['same agrees']['ratio'] > 0.8
      ),
    )
  ],
  controls=[
    text(
      lambda d: f'p ~ Beta, one p: {describe(d["mixed agrees"])}', is_biased
    ),
    text(
      lambda d: f'with the Beta correction: {describe(d["corrected agrees"])}'
    ),
  ],
  derive=derive,
)
