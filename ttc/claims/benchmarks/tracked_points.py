r"""Average Jaccard of trackers whose errors are known (2305.13786).

A tracker is off by a Gaussian of s pixels in each direction, and hides a point
that is there with chance h. It is within d with p = 1 - exp(-d^2 / 2 s^2), so
of visible points a share p (1 - h) are hits, (1 - p)(1 - h) false and the rest
missed, and

.. math:: J_d = \frac{p (1 - h)}{1 + (1 - p)(1 - h)}.

A mean over thresholds of 1 to 16 pixels is finer than any one of them: a
tracker of 1 and one of 2 pixels are 19 points apart by it, and by the share
within 16 pixels not at all. Power: of 300 videos of 50 points in 20 frames an
error of 0.1 points.
"""

import functools

import numpy as np

from ttc.benchmarks.perception_test import POINT_THRESHOLDS, average_jaccard
from ttc.claims.claim import Claim, above, agrees, below, equals

NUM_VIDEOS, NUM_POINTS, NUM_FRAMES = 100, 50, 20
TRACKERS = {'fine': (1.0, 0.0), 'coarse': (2.0, 0.0), 'shy': (1.0, 0.3)}


def measure(seed, size, cache):
  """Average Jaccard `[videos]` of each tracker, and of two that do nothing."""
  del cache
  videos = [track(np.random.default_rng([seed, i]))
            for i in range(size.fewer(NUM_VIDEOS))]  # fmt: skip
  return {name: np.array([x[name] for x in videos]) for name in videos[0]}


def track(rng):
  """One video by each tracker."""
  shape = (NUM_POINTS, NUM_FRAMES)
  points = rng.normal(0, 20, (*shape, 2)).cumsum(axis=1)
  nowhere = np.zeros(shape, bool)
  score = functools.partial(average_jaccard, points, nowhere)
  found = {}
  for name, (spread, shy) in TRACKERS.items():
    off = rng.normal(0, spread, points.shape)
    found[name] = score(points + off, rng.random(shape) < shy)
    found[f'{name} within 16'] = np.mean(np.linalg.norm(off, axis=-1) < 16)
  stays = np.broadcast_to(points[:, :1], points.shape)
  return found | {
    'stays': score(stays, nowhere),
    'hides all': score(points, ~nowhere),
  }


def law(name):
  """Mean over thresholds."""
  spread, shy = TRACKERS[name]
  far = np.exp(-(np.array(POINT_THRESHOLDS) ** 2) / (2 * spread**2))
  return float(np.mean((1 - far) * (1 - shy) / (1 + far * (1 - shy))))


CLAIM = Claim(
  'Perception Test, point tracking (trackers of known error, 100 videos)',
  '2305.13786',
  'the average Jaccard of a tracker is the closed form of its error within 3.5 '
  'standard errors, and tells trackers that one wide threshold does not',
  measure,
  checks=[
    *(agrees(f'{name} ', name, law(name), 3.5) for name in TRACKERS),
    above('fine to coarse ', 'fine', 'coarse', 0.1),
    above('fine to one that hides 30% ', 'fine', 'shy', 0.1),
  ],
  controls=[
    equals(
      'share within 16 pixels, fine to coarse ',
      'fine within 16',
      'coarse within 16',
    ),
    below('who stays, to coarse ', 'stays', 'coarse', 0.4),
    below('who hides all, to who stays ', 'hides all', 'stays'),
  ],
)
