"""A table is seldom right where its cells nearly always are (2508.07999).

A searcher finds each of eight rows with chance p = .9, and each of two cells of
a row with q = .95. So a wanted row is right with p q^2 = .81, a row that was
said with q^2 = .90, a wanted cell with p (1 + 2 q) / 3, and a whole table with
.81^8 = .19; the best of four samples is whole with 1 - (1 - .19)^4 = .57. Who
invents a row for each that he misses has recall for precision. Power: of 1800
tables success has an error of 1 point, the other figures of 0.3.
"""

import random

import numpy as np

from ttc import benchmarks, tasks
from ttc.benchmarks import judges
from ttc.claims.claim import Claim, above, agrees, equals
from ttc.testbeds.known_answers import scored, verdicts

NUM_ITEMS, NUM_ROWS, NUM_SAMPLES = 600, 8, 4
FOUND, CELL = 0.9, 0.95
COLUMNS = ('name', 'year', 'place')
RIGHT = FOUND * CELL**2  # a wanted row
WHOLE = RIGHT**NUM_ROWS


def measure(seed, size, cache):
  """Scores `[items]`, of samples, and of the same tables in another order."""
  del cache
  made = benchmarks.widesearch()
  meta = {
    'rows': [
      {'name': f'n{i}', 'year': f'y{i}', 'place': f'p{i}'}
      for i in range(NUM_ROWS)
    ],
    'required': list(COLUMNS),
    'keys': ['name'],
    # Names are told apart without a judge.
    'pipeline': {'name': {'metric': ['in_match']}},
    'language': 'en',
  }
  items = [
    tasks.Item(f'{seed}/{i}', 'query', '', meta)
    for i in range(size.fewer(NUM_ITEMS))
  ]
  samples = verdicts(made, items, 'samples', 'finds', write, NUM_SAMPLES)
  return {
    **scored(made, items, {'finds': 'finds', 'invents': 'invents'}, write),
    'best of 4': np.array([max(x.score for x in row) for row in samples]),
    'reordered': np.array(
      [
        made.grade(
          item,
          reordered(write('finds', random.Random(f'finds/{item.id}/0'), item)),
          judges.no_judge,
        ).parts['item F1']
        for item in items
      ]
    ),
  }


def write(skill, rng, item):
  """The table of a searcher."""
  rows = []
  for gold in item.meta['rows']:
    found = rng.random() < FOUND
    cells = [x if rng.random() < CELL else '?' for x in [*gold.values()][1:]]
    if found or skill == 'invents':
      rows.append([gold['name'] if found else f'{gold["name"]}x', *cells])
  return '\n'.join('| ' + ' | '.join(row) + ' |' for row in [COLUMNS, *rows])


def reordered(table):
  """The same table with rows and columns from the last to the first."""
  head, *rows = table.splitlines()
  turn = lambda line: '|'.join(line.split('|')[::-1])
  return '\n'.join(map(turn, [head, *rows[::-1]]))


CLAIM = Claim(
  'WideSearch (searchers of known skill, 600 tables of 8 rows)',
  '2508.07999',
  'every figure is the closed form of the skill within 3.5 standard errors, '
  'and where nine of ten cells are right one table in five is',
  measure,
  checks=[
    agrees('success ', 'finds/success', WHOLE, 3.5),
    agrees('best of four ', 'best of 4', 1 - (1 - WHOLE) ** NUM_SAMPLES, 3.5),
    agrees('row recall ', 'finds/row recall', RIGHT, 3.5),
    agrees('row precision ', 'finds/row precision', CELL**2, 3.5),
    agrees(
      'item recall ', 'finds/item recall', FOUND * (1 + 2 * CELL) / 3, 3.5
    ),
    above('item F1 to success ', 'finds/item F1', 'finds/success', 0.6),
  ],
  controls=[
    equals(
      'who invents rows: precision to recall ',
      'invents/row precision',
      'invents/row recall',
    ),
    above(
      'finder to him: row precision ',
      'finds/row precision',
      'invents/row precision',
    ),
    equals(
      'rows and columns in another order: item F1 ',
      'reordered',
      'finds/item F1',
    ),
  ],
)
