"""A critique's truth and completeness are two things (2401.04518).

A critic says each of four true points with chance r, and each of four false
ones with chance f, so that meta-recall is r, and meta-precision and meta-F1 are
means over two binomial numbers. The careful critic (.5, .1) is the truer, the
talkative (.9, .9) the more complete. Power: of 1800 critiques precision and
recall have errors below 0.7 points; the two critics differ by more than 30.
"""

import itertools
import math

from ttc import benchmarks, tasks
from ttc.benchmarks.meta_critique import harmonic_mean
from ttc.claims.claim import Claim, above, agrees, shows, text
from ttc.testbeds.known_answers import scored

NUM_ITEMS, NUM_POINTS = 600, 4
CRITICS = {'careful': (0.5, 0.1), 'talkative': (0.9, 0.9), 'wrong': (0, 0.9)}


def measure(seed, size, cache):
  """Precision, recall and F1 of each critic, by words."""
  del cache
  points = lambda i, word: [
    f'Step {j} of answer {i} is {word}.' for j in range(NUM_POINTS)
  ]
  items = []
  for i in range(size.fewer(NUM_ITEMS)):
    reference = ' '.join(points(i, 'mistaken'))
    meta = {'response': '', 'reference_answer': '', 'critique': reference}
    items.append(tasks.Item(f'{seed}/{i}', 'question', reference, meta))

  def write(skill, rng, item):
    i = int(item.id.rpartition('/')[2])
    said = [
      point
      for word, chance in zip(('mistaken', 'lovely'), skill, strict=True)
      for point in points(i, word)
      if rng.random() < chance
    ]
    return '\n'.join(said)

  return scored(benchmarks.meta_critique_match(), items, CRITICS, write)


def law(critic):
  """Means of precision, recall and F1 over how many points are said."""
  n, sums = NUM_POINTS, [0.0, 0.0, 0.0]
  for counts in itertools.product(range(n + 1), repeat=2):
    weight = 1.0
    for k, p in zip(counts, CRITICS[critic], strict=True):
      weight *= math.comb(n, k) * p**k * (1 - p) ** (n - k)
    true, false = counts
    precision, recall = true / max(true + false, 1), true / n
    both = harmonic_mean(precision, recall)
    for i, x in enumerate((precision, recall, both)):
      sums[i] += weight * x
  return sums


def of_critic(name):
  """Checks of the three figures against their laws."""
  parts = ('meta-precision', 'meta-recall', 'score')
  return [
    agrees(
      f'{name}, {part.replace("score", "meta-F1")} ', f'{name}/{part}', x, 3.5
    )
    for part, x in zip(parts, law(name), strict=True)
  ]


CLAIM = Claim(
  'MetaCritique by words (three critics of known skill, 600 critiques)',
  '2401.04518',
  'precision, recall and F1 of a critic are the means of their laws within 3.5 '
  'standard errors; the careful critic is truer, the talkative more complete',
  measure,
  checks=[
    *of_critic('careful'),
    *of_critic('talkative'),
    above(
      'careful to talkative: precision ',
      'careful/meta-precision',
      'talkative/meta-precision',
    ),
    above(
      'talkative to careful: recall ',
      'talkative/meta-recall',
      'careful/meta-recall',
    ),
  ],
  controls=[
    text(
      lambda d: (
        f'who says nothing true has F1 {100 * d["wrong"]["score"].mean():.1f}'
      ),
      lambda d: d['wrong']['score'].max() == 0,
    ),
    shows('careful F1, mean of critiques ', 'careful/score'),
    text(
      lambda d: (
        'harmonic mean of its mean precision and recall '
        f'{100 * harmonic_mean(*law("careful")[:2]):.1f}, which is another'
      ),
      lambda d: harmonic_mean(*law('careful')[:2]) > law('careful')[2] + 0.02,
    ),
  ],
)
