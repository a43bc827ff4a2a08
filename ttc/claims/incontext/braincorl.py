"""Regressors written in context, against the best there are (2505.15813)."""

import jax
import jax.numpy as jnp
import numpy as np

from ttc import incontext
from ttc.claims.claim import Claim, text
from ttc.testbeds import in_context_regression as bed

# 4 to 64 in training.
LENGTHS = (8, 16, 32, 64, 128)
FEW = LENGTHS.index(bed.NUM_FEATURES // 2)


def measure(seed, size, cache):
  """Mean squared errors by law of the tasks and length of the context."""
  regressor = bed.small_regressor()
  recipe = bed.RECIPE._replace(steps=tuple(map(size.steps, bed.RECIPE.steps)))
  params = {kind: bed.learned(kind, seed, cache, recipe) for kind in bed.KINDS}
  tasks = {kind: bed.seed_tasks(kind, seed) for kind in bed.KINDS}
  key = jax.random.key(1000 + seed)
  errors = jax.jit(
    lambda params, tasks: {
      name: jnp.mean(x, axis=1)
      for name, x in bed.errors(
        regressor, params, tasks, LENGTHS, key, size.problems(1024)
      ).items()
    }
  )
  found = {kind: errors(params[kind], tasks[kind]) for kind in params}
  # Who has learned another law, on the subspace.
  found['misled'] = errors(params['isotropic'], tasks['subspace'])
  found = jax.tree.map(lambda x: np.asarray(x)[None], jax.device_get(found))
  moved = moves(regressor, params['isotropic'], tasks['isotropic'], key)
  return {**found, 'moved': np.float64(moved)}


def moves(regressor, params, tasks, key):
  """The most that a prediction changes with the order of the context."""
  num_tasks, length = 16, LENGTHS[-1]
  contexts = incontext.draw_contexts(
    tasks, key, jnp.full(num_tasks, length), length, 64
  )
  order = jax.random.permutation(key, length)

  @jax.jit
  def predict(x, y):
    found = regressor.fit(params, x, y, contexts.lengths)
    products = jnp.einsum('bqd,bd->bq', contexts.query_x, found.weights)
    return products + found.bias[:, None]

  before = predict(contexts.x, contexts.y)
  after = predict(contexts.x[:, order], contexts.y[:, order])
  return float(jnp.max(jnp.abs(before - after)))


def ratios(data, kind, over):
  """Of the errors in context to others, `[seeds, lengths]`."""
  return data[kind]['in context'] / data[kind][over]


def by_length(values):
  """Means over seeds and the largest, at each length."""
  return ', '.join(
    f'n={n} {x.mean():.3f} (at most {x.max():.3f})'
    for n, x in zip(LENGTHS, values.T, strict=True)
  )


CLAIM = Claim(
  'an in-context regressor, d = 16, half of the variance noise',
  '2505.15813',
  'squared error within 1.1 of the best there is at each length, also beyond '
  'those of training; on a subspace of 4 dimensions at least 25% below '
  'cross-validated ridge at n = d/2; more examples, less error',
  measure,
  checks=[
    text(
      lambda d: f'over the best: {by_length(ratios(d, "isotropic", "Bayes"))}',
      lambda d: np.all(ratios(d, 'isotropic', 'Bayes') <= 1.1),
    ),
    text(
      lambda d: (
        'on the subspace over ridge: '
        f'{by_length(ratios(d, "subspace", "ridge"))}; over the best: '
        f'{by_length(ratios(d, "subspace", "Bayes"))}'
      ),
      lambda d: np.all(ratios(d, 'subspace', 'ridge')[:, FEW] <= 0.75),
    ),
    text(
      lambda d: f'error: {by_length(d["isotropic"]["in context"])}',
      lambda d: all(
        np.all(np.diff(d[kind]['in context'], axis=1) < 0)
        for kind in ('isotropic', 'subspace')
      ),
    ),
  ],
  controls=[
    text(
      lambda d: (
        'trained on isotropic tasks, on the subspace over ridge: '
        f'{by_length(ratios(d, "misled", "ridge"))}'
      ),
      lambda d: np.all(
        ratios(d, 'misled', 'ridge')[:, FEW]
        > ratios(d, 'subspace', 'ridge')[:, FEW] + 0.1
      ),
    ),
    text(
      lambda d: f'in another order, predictions move {d["moved"].max():.1e}',
      lambda d: np.all(d['moved'] < 1e-5),
    ),
  ],
  seeds=range(3),
)
