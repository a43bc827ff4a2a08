"""Sampling follows the closed form of the calibrated base."""

import jax
import jax.numpy as jnp
import numpy as np

from ttc import scaling
from ttc.claims.claim import (
  Claim,
  by_seed,
  interval,
  listed,
  standard_error,
  text,
)
from ttc.testbeds.calibrated import NUM_VALUES, base_law, base_samples

NUM_SAMPLES = 16


def derive(data):
  """Accuracy, pass@k and majority@k, what they should be, and how far off."""
  gold = data['gold']
  answers = data['samples']['answers'][:, :NUM_SAMPLES]
  right = (answers == gold[:, None]).sum(axis=1)
  law = base_law()
  counts = (answers[..., None] == np.arange(NUM_VALUES)).sum(axis=1)
  invalid = (answers < 0).sum(axis=1)

  def majority(k):
    exact = lambda c, g, i: scaling.majority_accuracy(c, g, k, i)
    return jax.vmap(exact)(jnp.asarray(counts), gold, jnp.asarray(invalid))

  rows = {'pass@1': (right / NUM_SAMPLES, law[0])}
  for k in (4, NUM_SAMPLES):
    passed = scaling.pass_at_k(NUM_SAMPLES, jnp.asarray(right), k)
    rows[f'pass@{k}'] = passed, 1 - (1 - law[0]) ** k
    expected = scaling.majority_accuracy_population(law, 0, k)
    rows[f'majority@{k}'] = majority(k), expected
  scores = []
  for values, expected in rows.values():
    # Where all items agree the error is that of the law.
    least = (expected * (1 - expected) / len(gold)) ** 0.5 / 4
    error = max(standard_error(values), least)
    scores.append(abs(float((np.mean(values) - expected) / error)))
  return {
    'rows': rows,
    'z': max(scores),
    'by seed': by_seed(right / NUM_SAMPLES, data['num_seeds']),
  }


CLAIM = Claim(
  'calibrated base (S3, L=8, e=.1)',
  '2408.03314',
  'sampling follows the closed form within 3 s.e.',
  base_samples,
  checks=[
    text(
      lambda d: '; '.join(
        f'{name} {interval(values)} for {100 * expected:.1f}'
        for name, (values, expected) in d['rows'].items()
      )
    ),
    text(lambda d: f'largest |z| {d["z"]:.1f}', lambda d: d['z'] < 3),
  ],
  controls=[
    text(lambda d: f'pass@1 of each trained seed: {listed(d["by seed"])}')
  ],
  derive=derive,
)
