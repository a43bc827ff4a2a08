"""The bar exam's second and third choices tell what the first cannot.

Bommarito and Katz (2212.14402) find that a model's second choice is right more
often than by chance, so it knows more than its first. An answerer of graded
knowledge draws a ranking by Plackett and Luce, the right option with weight 4,
so it is within k choices with chance `1 - prod_j (3 - j) / (7 - j)`, j < k: 57,
86 and 97%. One that knows or guesses is as often right first, and behind a
wrong first choice it has one of three. Power: of 6000 rankings correct@2 has an
error of half a point, and the two differ by 14.
"""

import random

from ttc import benchmarks, tasks
from ttc.benchmarks.bar_exam import LETTERS
from ttc.claims.claim import Claim, above, agrees, below, shows
from ttc.testbeds.known_answers import scored

NUM_ITEMS, WEIGHT = 2000, 4.0
FIRST = WEIGHT / (WEIGHT + 3)
KNOWN = (FIRST - 0.25) / 0.75  # as often right first


def ranking(rng: random.Random, gold: str, weight: float) -> list[str]:
  """Letters drawn one after another by their weights."""
  left, drawn = [*LETTERS], []
  while left:
    weights = [weight if x == gold else 1.0 for x in left]
    drawn.append(rng.choices(left, weights)[0])
    left.remove(drawn[-1])
  return drawn


ANSWERERS = {
  'graded': lambda rng, gold: ranking(rng, gold, WEIGHT),
  'knows or guesses': lambda rng, gold: ranking(
    rng, gold, 1e9 if rng.random() < KNOWN else 1.0
  ),
  'chance': lambda rng, gold: ranking(rng, gold, 1.0),
  'one letter': lambda rng, gold: [rng.choice(LETTERS)] * 3,
}


def measure(seed, size, cache):
  """correct@1 to @3 of each answerer, as the benchmark reads its reply."""
  del cache
  answer = lambda name: random.Random(name).choice(LETTERS)
  names = [f'{seed}/{i}' for i in range(size.fewer(NUM_ITEMS))]
  items = [tasks.Item(name, 'question', answer(name), {}) for name in names]

  def write(choose, rng, item):
    chosen = choose(rng, item.answer)[:3]
    places = zip(('First', 'Second', 'Third'), chosen, strict=True)
    return '\n'.join(f'{place} Choice: ({x})' for place, x in places)

  return scored(benchmarks.bar_exam(), items, ANSWERERS, write)


def law(k: int) -> float:
  """correct@k of the graded one."""
  missed = 1.0
  for j in range(k):
    missed *= (3 - j) / (WEIGHT + 3 - j)
  return 1 - missed


CLAIM = Claim(
  'ranked choices of the bar exam (four answerers of known skill, 2000 items)',
  '2212.14402',
  'correct@k is the closed form of an answerer within 3.5 standard errors, and '
  'correct@2 tells graded knowledge from knowing or guessing, which correct@1 '
  'cannot',
  measure,
  checks=[
    agrees('graded: correct@1 ', 'graded/score', law(1), 3.5),
    agrees('@2 ', 'graded/correct@2', law(2), 3.5),
    agrees('@3 ', 'graded/correct@3', law(3), 3.5),
    agrees('knows or guesses: @1 ', 'knows or guesses/score', FIRST, 3.5),
    above(
      'graded to it at @2 ',
      'graded/correct@2',
      'knows or guesses/correct@2',
      0.1,
    ),
  ],
  controls=[
    agrees('by chance @2 ', 'chance/correct@2', 0.5, 3.5),
    agrees('@3 ', 'chance/correct@3', 0.75, 3.5),
    shows('one letter thrice @3 ', 'one letter/correct@3'),
    below('to chance ', 'one letter/correct@3', 'chance/correct@3', 0.4),
  ],
)
