"""Sampling follows the closed form of the calibrated base."""

import jax
import jax.numpy as jnp
import numpy as np

from claims.calibrated_world import NUM_VALUES, base_law, base_samples
from claims.row import Row, interval, standard_error
from ttc import scaling


def reproduce(num_seeds: int) -> Row:
  """Accuracy, pass@k and majority@k are those of the closed form."""
  samples, gold = base_samples(num_seeds)
  answers = samples.answers[:, :16]
  right = (answers == gold[:, None]).sum(axis=1)
  law = base_law()
  counts = (answers[..., None] == np.arange(NUM_VALUES)).sum(axis=1)
  invalid = (answers < 0).sum(axis=1)

  def majority(k):
    exact = lambda c, g, i: scaling.majority_accuracy(c, g, k, i)
    return jax.vmap(exact)(jnp.asarray(counts), gold, jnp.asarray(invalid))

  rows = {'pass@1': (right / 16, law[0])}
  for k in (4, 16):
    passed = scaling.pass_at_k(16, jnp.asarray(right), k)
    rows[f'pass@{k}'] = passed, 1 - (1 - law[0]) ** k
    expected = scaling.majority_accuracy_population(law, 0, k)
    rows[f'majority@{k}'] = majority(k), expected
  cells, scores = [], []
  for name, (values, expected) in rows.items():
    error = standard_error(values)
    # Where all items agree the error is that of the law.
    least = (expected * (1 - expected) / len(gold)) ** 0.5 / 4
    z = (np.mean(values) - expected) / max(error, least)
    scores.append(abs(float(z)))
    cells.append(f'{name} {interval(values)} for {100 * expected:.1f}')
  by_seed = right.reshape(num_seeds, -1).mean(axis=1) / 16
  spread = ', '.join(f'{100 * x:.1f}' for x in by_seed)
  return Row(
    'calibrated base (S3, L=8, e=.1)',
    'sampling follows the closed form within 3 s.e.',
    '; '.join(cells) + f'; largest |z| {max(scores):.1f}',
    f'pass@1 of each trained seed: {spread}',
    max(scores) < 3,
  )
