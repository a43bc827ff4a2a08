"""A head that follows the classes of the stream (2308.08810)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ttc import adaptation
from ttc.adaptation import Batch, protocols
from ttc.claims.claim import Claim, every, text
from ttc.testbeds import long_tails

BATCH = 50
PRIORS = {
  'as trained': protocols.exponential_prior(10, 100.0),
  'uniform': protocols.exponential_prior(10, 1.0),
  'inverted': protocols.exponential_prior(10, 100.0, backward=True),
}


def measure(seed, size, cache):
  """Error of each method by prior, %, and how far its estimate is off."""
  del cache
  bed = long_tails.prepare(seed, size.steps(1200))
  tent = adaptation.tent(bed.network, optax.adam(1e-3))
  shift = lambda host: adaptation.label_shift_adapter(
    host, bed.params, bed.prior
  )
  methods = {
    'source': adaptation.source(bed.network),
    'TENT': tent,
    'adapter': shift(adaptation.source(bed.network)),
    'adapter on TENT': shift(tent),
  }
  found = {}
  for name, prior in PRIORS.items():
    pixels, labels = long_tails.stream(bed, seed, prior, BATCH)
    batches = Batch(pixels, jnp.ones(labels.shape, bool))
    true = np.bincount(labels.ravel(), minlength=10) / labels.size
    errors, off, logits = {}, {}, {}
    for method, adapter in methods.items():
      state = adaptation.start_stream(adapter, bed.source, jax.random.key(seed))
      run = jax.jit(lambda s, b, a=adapter: adaptation.run_stream(a, s, b))
      said, state = run(state, batches)
      logits[method] = said.logits
      errors[method] = wrong(said.logits, labels)
      if method.startswith('adapter'):
        off[method] = np.abs(np.asarray(state.adapter.prior) - true).sum() / 2
    frozen = logits['source']
    p = jax.nn.softmax(frozen.reshape(-1, 10))
    estimate = adaptation.maximum_likelihood_prior(p, bed.prior)
    off['likelihood'] = np.abs(np.asarray(estimate) - true).sum() / 2
    for label, by in (('likelihood', estimate), ('Bayes', jnp.asarray(true))):
      by = jnp.maximum(by, 1e-4).astype(jnp.float32)
      corrected = adaptation.correct_prior(frozen, by, bed.prior)
      errors[label] = wrong(corrected, labels)
    found[name] = {k: np.array([v]) for k, v in errors.items()}
    found[f'{name}, off'] = {k: np.array([v]) for k, v in off.items()}
  return found


def wrong(logits, labels):
  """Error in %."""
  return 100 * float(np.mean(np.asarray(logits).argmax(-1) != labels))


def row(prior):
  """Means of all methods."""
  return text(
    lambda d: (
      f'{prior}: '
      + ', '.join(f'{m} {x.mean():.1f}' for m, x in d[prior].items())
      + '; estimates off by '
      + ', '.join(
        f'{x.mean():.2f} ({m})' for m, x in d[f'{prior}, off'].items()
      )
    )
  )


CLAIM = Claim(
  'Label shift adapter',
  '2308.08810',
  'of a network that was trained on a long tail, a head that follows the '
  'estimated prior wins where the tail is inverted and loses nothing where it '
  'is as it was; nearly what the Bayes rule of the true prior wins',
  measure,
  checks=[
    *(row(prior) for prior in PRIORS),
    every(
      'inverted: at least 5 below the source',
      lambda d: d['inverted']['adapter'] <= d['inverted']['source'] - 5,
    ),
    every(
      'and within 5 of the Bayes rule',
      lambda d: d['inverted']['adapter'] <= d['inverted']['Bayes'] + 5,
    ),
    every(
      'uniform: below the source',
      lambda d: d['uniform']['adapter'] < d['uniform']['source'],
    ),
    every(
      'as trained: at most .5 above the source',
      lambda d: d['as trained']['adapter'] <= d['as trained']['source'] + 0.5,
    ),
  ],
  controls=[
    every(
      'TENT alone does not win where the tail is inverted',
      lambda d: d['inverted']['TENT'] > d['inverted']['adapter'],
    ),
    every(
      'maximum likelihood finds the prior to .1 in total variation',
      lambda d: d['inverted, off']['likelihood'] < 0.1,
    ),
  ],
  seeds=range(3),
  because=(
    'where the tail is as it was, a prior estimated from the stream costs '
    '1.0 points and half a point is allowed; where it is not, every seed '
    'holds'
  ),
)
