"""A text that ends early is good where it is, and fails (2409.02076).

Of 52 weeks one must have an event once, in ten of them in a row, and every
fourth. A writer stops behind a week and puts each event in with a chance f, so
the completion rate is where it stops, STIC-1 is f, and STIC-2 is f times the
share of checks, kind by kind, that were reached. Power: of 600 texts with 24
checks STIC has an error of half a point; the two figures differ by 45.
"""

import random

import numpy as np

from ttc import benchmarks, tasks
from ttc.benchmarks.golden_thread import KINDS
from ttc.claims.claim import Claim, above, agrees, interval, text
from ttc.testbeds.known_answers import scored

NUM_ITEMS, NUM_WEEKS = 200, 52
# Where a writer stops, and how likely an event is put in.
WRITERS = {'half': (26, 0.9), 'whole': (52, 0.6), 'misplaced': (52, 1.0)}


def measure(seed, size, cache):
  """Figures of each writer, and what they must be, `[items]`."""
  del cache
  items = [draw_item(f'{seed}/{i}') for i in range(size.fewer(NUM_ITEMS))]

  def write(skill, rng, item):
    last, chance = skill
    at = [{**item.meta[kind]} for kind in KINDS]
    if skill == WRITERS['misplaced']:
      at = [{(k % NUM_WEEKS) + 1: x for k, x in kind.items()} for kind in at]
    blocks = []
    for week in range(1, last + 1):
      events = [x[week] for x in at if week in x and rng.random() < chance]
      blocks.append(f'Week {week}. {". ".join(events)}.')
    return '#*#'.join(blocks)

  found = scored(benchmarks.golden_thread_match(), items, WRITERS, write)
  reached = [
    np.mean([np.mean([k <= 26 for k in item.meta[x]]) for x in KINDS])
    for item in items
  ]
  return {**found, 'reached': np.array(reached)}


def draw_item(name):
  """Checks at places of their own."""
  rng = random.Random(name)
  week = lambda: rng.randint(1, NUM_WEEKS)
  first = rng.randint(1, NUM_WEEKS - 9)
  meta = {
    'type': 'Week',
    'number': NUM_WEEKS,
    'checks_once': {week(): 'a birthday'},
    'checks_range': dict.fromkeys(range(first, first + 10), 'a dance class'),
    'checks_periodic': dict.fromkeys(range(4, NUM_WEEKS + 1, 4), 'a long run'),
  }
  return tasks.Item(name, 'prompt', '', meta)


CLAIM = Claim(
  'Spinning the Golden Thread by words (three writers, 200 texts of 52 weeks)',
  '2409.02076',
  'STIC-1 is how well a writer obeys, and STIC-2 that times how far he comes, '
  'within 3.5 standard errors; only STIC-2 ranks who ends half-way lower',
  measure,
  checks=[
    agrees('ends half-way: STIC-1 ', 'half/STIC-1', 0.9, 3.5),
    agrees(
      'STIC-2 ', 'half/STIC-2', lambda d: 0.9 * np.mean(d['reached']), 3.5
    ),
    agrees('whole, obeys in 60%: STIC-2 ', 'whole/STIC-2', 0.6, 3.5),
    above('half to whole: STIC-1 ', 'half/STIC-1', 'whole/STIC-1', 0.2),
    above('whole to half: STIC-2 ', 'whole/STIC-2', 'half/STIC-2', 0.05),
  ],
  controls=[
    text(
      lambda d: (
        f'completion rates {np.mean(d["half"]["CR (%)"]):.0f} and '
        f'{np.mean(d["whole"]["CR (%)"]):.0f}'
      ),
      lambda d: (
        np.all(d['half']['CR (%)'] == 50)
        and np.all(d['whole']['CR (%)'] == 100)
      ),
    ),
    text(
      lambda d: (
        'all events a week late, where nine of ten in a row still fit: STIC-2 '
        f'{interval(d["misplaced"]["STIC-2"])}'
      ),
      lambda d: np.allclose(d['misplaced']['STIC-2'], 0.3),
    ),
  ],
)
