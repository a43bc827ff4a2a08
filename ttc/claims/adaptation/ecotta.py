"""Small networks beside a frozen one: what they keep, and what they win."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ttc import adaptation
from ttc.adaptation import protocols
from ttc.adaptation.adapter import choose, masked_mean, put_back
from ttc.adaptation.ecotta import apply_with_meta, warm_up
from ttc.adaptation.losses import entropy
from ttc.claims.claim import Claim, text
from ttc.testbeds import adapted_streams

SHIFTS = tuple(
  (name, 5) for name in ('gaussian_noise', 'gaussian_blur', 'fog', 'contrast')
)
ROUNDS = 3


def measure(seed, size, cache):
  """Error of rounds and on clean images, %; bytes kept of one batch."""
  bed = adapted_streams.prepare(seed, size, SHIFTS, cache, num_images=500)
  meta = jax.jit(
    lambda source: warm_up(
      bed.network, source, jax.random.key(seed), num_steps=size.steps(600)
    )
  )(bed.source)
  methods = {
    'source': adaptation.source(bed.network),
    'BN': adaptation.batch_norm(bed.network),
    'TENT': adaptation.tent(bed.network, optax.adam(5e-3)),
    'EcoTTA': adaptation.ecotta(bed.network, meta),
    'EcoTTA, no hold': adaptation.ecotta(bed.network, meta, strength=0.0),
  }
  schedule = protocols.continual(
    jax.random.key(300 + seed),
    lambda key: protocols.shuffled(key, len(bed.labels)),
    len(SHIFTS), bed.batch_size, ROUNDS,
  )  # fmt: skip
  found = {}
  for name, adapter in methods.items():
    met = adapted_streams.meet(bed, adapter, schedule, seed)
    rounds = 100 * met.wrong.reshape(ROUNDS, -1).mean(1)
    clean = 100 * adapted_streams.forgotten(bed, adapter, met.state)
    found[name] = np.append(rounds, clean)[None]
  return found | {'bytes': kept(bed, meta)}


def kept(bed, meta):
  """Kilobytes kept for the gradient of the entropy of one batch."""
  images = bed.clean.images[0]
  variables = bed.source.variables

  def plain(params):
    seen = bed.network.apply(put_back(variables, params), images, 'batch')
    return jnp.mean(entropy(seen.logits))

  def beside(params):
    parts = [m | {'params': p} for m, p in zip(meta, params, strict=True)]
    seen, drift = apply_with_meta(
      bed.network, variables, parts, images, 'batch'
    )
    return (
      masked_mean(entropy(seen.logits), jnp.ones(len(images), bool)) + drift
    )

  kilobytes = {
    'all parameters': (plain, choose(variables, 'all')),
    'TENT': (plain, choose(variables, 'norm')),
    'EcoTTA': (beside, [part['params'] for part in meta]),
  }
  return {
    name: np.array([adapted_streams.kept_bytes(*x) / 1024])
    for name, x in kilobytes.items()
  }


def told(name):
  """First and last round, and clean images afterwards."""
  return text(
    lambda d: (
      f'{name}: {d[name][:, 0].mean():.1f} -> '
      f'{d[name][:, ROUNDS - 1].mean():.1f}, clean {d[name][:, -1].mean():.1f}'
    )
  )


NAMES = ('source', 'BN', 'TENT', 'EcoTTA', 'EcoTTA, no hold')
CLAIM = Claim(
  'EcoTTA',
  '2303.01904',
  'meta networks beside a frozen one adapt over rounds of corruptions without '
  'collapse and forget little, and keep less for the backward pass than TENT '
  'and than full fine-tuning',
  measure,
  checks=[
    *(told(name) for name in NAMES),
    text(
      lambda d: 'last round at least 20 below the source, every seed',
      lambda d: bool(
        np.all(d['EcoTTA'][:, ROUNDS - 1] <= d['source'][:, ROUNDS - 1] - 20)
      ),
    ),
    text(
      lambda d: 'and at most 1 above its first, every seed',
      lambda d: bool(
        np.all(d['EcoTTA'][:, ROUNDS - 1] <= d['EcoTTA'][:, 0] + 1)
      ),
    ),
    text(
      lambda d: 'KiB kept: '
      + ', '.join(f'{n} {x.mean():.0f}' for n, x in d['bytes'].items()),
      lambda d: bool(
        d['bytes']['EcoTTA'].mean()
        < d['bytes']['TENT'].mean()
        < d['bytes']['all parameters'].mean()
      ),
    ),
  ],
  controls=[
    text(
      lambda d: (
        'TENT forgets more: clean images '
        f'{(d["TENT"][:, -1] - d["EcoTTA"][:, -1]).mean():+.1f}'
      ),
      lambda d: bool(np.all(d['TENT'][:, -1] > d['EcoTTA'][:, -1])),
    ),
  ],
  seeds=range(3),
)  # fmt: skip
