"""Small networks beside a frozen one: what they keep, and what they win.

The first run counted bytes in the network that adapts, of five layers in five
parts: 31 MiB for all parameters, 21 for TENT, 88 for EcoTTA.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ttc import adaptation
from ttc.adaptation.adapter import choose, put_back
from ttc.adaptation.ecotta import apply_with_meta, start_meta, warm_up
from ttc.adaptation.losses import entropy
from ttc.claims.claim import Claim, every, text
from ttc.models.vision import wide_resnet
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
  found = adapted_streams.through_rounds(bed, methods, ROUNDS, 100 + seed)
  return found | {'bytes': kept()}


def kept():
  """Mebibytes kept for the gradient on 50 images, by WRN-40-2 in three parts.

  Counted without running it: where every part is one layer, as in the small
  network, a branch beside each is as large as what it is beside.
  """
  network = wide_resnet(10, 40, 2)
  images = jnp.zeros((50, 32, 32, 3), jnp.float32)

  def plain(params, variables):
    seen = network.apply(put_back(variables, params), images, 'batch')
    return jnp.mean(entropy(seen.logits))

  def beside(params, variables, meta):
    parts = [m | {'params': p} for m, p in zip(meta, params, strict=True)]
    seen, drift = apply_with_meta(network, variables, parts, images, 'batch')
    return jnp.mean(entropy(seen.logits)) + drift

  def start(key):
    variables = network.init(key, images)
    return variables, start_meta(network, variables, key, images)

  variables, meta = jax.eval_shape(start, jax.random.key(0))
  of_meta = [part['params'] for part in meta]
  asked = {
    'all parameters': (plain, choose(variables, 'all'), variables),
    'TENT': (plain, choose(variables, 'norm'), variables),
    'EcoTTA': (beside, of_meta, variables, meta),
  }
  return {
    name: np.array([adapted_streams.kept_bytes(*x) / 2**20])
    for name, x in asked.items()
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
    every(
      'last round at least 20 below the source',
      lambda d: d['EcoTTA'][:, ROUNDS - 1] <= d['source'][:, ROUNDS - 1] - 20,
    ),
    every(
      'and at most 1 above its first',
      lambda d: d['EcoTTA'][:, ROUNDS - 1] <= d['EcoTTA'][:, 0] + 1,
    ),
    text(
      lambda d: 'MiB kept by WRN-40-2: '
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
