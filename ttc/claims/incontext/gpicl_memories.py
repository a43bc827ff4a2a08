"""What is learned in context goes by the size of the state (2212.04458)."""

import numpy as np

from ttc.claims.claim import Claim, text
from ttc.testbeds import in_context_classification as bed

NUM_TASKS = 2**16
# Memory and width, in the order of the size of their states.
MEMORIES = (
  ('fast_weights', 8),
  ('lstm', 32),
  ('lstm', 128),
  ('fast_weights', 16),
  ('fast_weights', 32),
  ('transformer', 64),
)


def measure(seed, size, cache):
  """Accuracies on unseen tasks of unseen data, sizes and parameters."""
  found = [
    bed.measure(kind, width, NUM_TASKS, seed, size, cache, size.problems(512))
    for kind, width in MEMORIES
  ]
  mean = lambda x: float(np.mean(x['other data'][:, 1:]))
  return {
    'accuracy': np.array([[mean(x) for x in found]]),
    'state': np.array([[x['state'] for x in found]]),
    'params': np.array([[x['params'] for x in found]]),
  }


def rank_correlation(a, b):
  """Spearman's, ties at their mean rank."""
  ranks = lambda x: np.array(
    [np.mean(np.flatnonzero(np.sort(x) == y)) for y in x]
  )
  return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def correlations(data, name):
  """Of accuracies with a size, of each seed."""
  rows = zip(data['accuracy'], data[name], strict=True)
  return np.array([rank_correlation(a, np.log(b)) for a, b in rows])


def table(data):
  """Each memory, its state, its parameters and its accuracy."""
  rows = zip(
    MEMORIES,
    data['state'][0],
    data['params'][0],
    data['accuracy'].mean(axis=0),
    strict=True,
  )
  return ', '.join(
    f'{kind} {width} ({state:.0f}; {params:.0f}) {100 * accuracy:.0f}'
    for (kind, width), state, params, accuracy in rows
  )


def each(values):
  """Mean over seeds, and each of them."""
  return f'{values.mean():.2f} ({", ".join(f"{x:.2f}" for x in values)})'


CLAIM = Claim(
  'memories on projected tasks',
  '2212.04458',
  'accuracy goes by the size of the state, not by the number of parameters: '
  'rank correlation > 0.8 with the one, and less with the other',
  measure,
  checks=[
    text(lambda d: f'state; parameters: {table(d)}'),
    text(
      lambda d: f'with the state {each(correlations(d, "state"))}',
      lambda d: np.all(correlations(d, 'state') > 0.8),
    ),
  ],
  controls=[
    text(
      lambda d: f'with parameters {each(correlations(d, "params"))}',
      lambda d: np.all(correlations(d, 'params') < correlations(d, 'state')),
    )
  ],
  seeds=range(3),
  because=('it has not been run at full size yet'),
)
