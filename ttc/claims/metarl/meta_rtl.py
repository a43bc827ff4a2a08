"""Sources that help a target get the weight (2409.19075)."""

import numpy as np

from ttc import agents
from ttc.claims.claim import Claim, text
from ttc.testbeds.weighed_sources import transfer

UPDATES, ENOUGH, EVEN = 200, 0.9, 0.1
SIGNS = {'opposed': (1.0, -1.0), 'alike': (1.0, 1.0)}


def measure(seed, size, cache):
  """Weights of the first source, and losses at the end, of 32 targets."""
  del cache
  keys = agents.seed_keys(seed, size.problems(32))
  data = {}
  for name, signs in SIGNS.items():
    found = transfer(keys, signs, size.steps(UPDATES))
    data[name] = {**found, 'weights': found['weights'][:, :, 0]}
  return data


def weights(name):
  """At the end: mean over targets, and range."""

  def say(data):
    last = data[name]['weights'][:, -1]
    return (
      f'{name} sources: weight of the first {last.mean():.3f} '
      f'({last.min():.3f} to {last.max():.3f})'
    )

  return say


def losses(data):
  """Of the target, by Meta-RTL and by Reptile."""
  means = (data['opposed'][name].mean() for name in ('meta_rtl', 'reptile'))
  return (
    'excess loss of the target {:.1e} by Meta-RTL, {:.1e} by Reptile'.format(
      *means
    )
  )


def distance(data):
  """From equal weights, mean over targets."""
  return np.abs(data['alike']['weights'][:, -1] - 0.5).mean()


CLAIM = Claim(
  'Meta-RTL on linear regression',
  '2409.19075',
  'of a source that helps and one with the opposite sign the helpful one has a '
  'weight above 0.9 within 200 updates, for every target; of two alike neither '
  'is preferred: 0.1 or less from 1/2 on average',
  measure,
  checks=[
    text(
      weights('opposed'),
      lambda d: np.all(d['opposed']['weights'][:, -1] > ENOUGH),
    ),
    text(
      losses,
      lambda d: np.all(d['opposed']['meta_rtl'] < d['opposed']['reptile']),
    ),
  ],
  controls=[
    text(
      lambda d: f'{weights("alike")(d)}, {distance(d):.3f} from 1/2 on average',
      lambda d: distance(d) <= EVEN,
    )
  ],
)
