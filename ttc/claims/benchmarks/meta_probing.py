"""Permuted choices find who knows letters and not answers (2402.14865).

Two answerers are right on 70% of the items as they are: both know 60% and guess
the rest; the solver knows what is right, the memoriser which letter it has. On
a permutation that is never the same the right one of four stays where it was
with chance 5/23, so the memoriser falls to `.6 * 5/23 + .4 / 4`, 23%. An added
choice only lowers the guesses, for both to 68%, and context does nothing: the
ability that is missing is that of principle 3. Power: of 1800 items each figure
has an error of 1.1 points, the drop is 47.
"""

import random

from ttc import benchmarks, tasks
from ttc.benchmarks.meta_probing import probe_by_rules
from ttc.benchmarks.multiple_choice import LETTERS
from ttc.claims.claim import Claim, above, agrees, equals
from ttc.testbeds.known_answers import scored

NUM_ITEMS, KNOWN = 600, 0.6
STAYS = 5 / 23  # the right choice, if four are permuted
PROBES = ('original', 'permuted', 'context', 'foil')


def draw_items(num, seed):
  """Questions with four choices that nobody can tell apart."""
  rng = random.Random(f'meta_probing/{seed}')
  items = []
  for i in range(num):
    choices = [f'{seed}.{i}.{name}' for name in rng.sample(range(100), 4)]
    meta = {'choices': choices, 'category': '', 'source': ''}
    answer = rng.choice(LETTERS[:4])
    items.append(tasks.Item(f'{seed}/{i}', f'question {i}', answer, meta))
  return items


def measure(seed, size, cache):
  """Scores `[items]` by answerer and probe."""
  del cache
  originals = draw_items(max(2, size.fewer(NUM_ITEMS)), seed)
  letters = {item.id: item.answer for item in originals}
  probed = probe_by_rules(originals, seed)

  def write(by_letter, rng, item):
    of = item.meta['of']
    known = random.Random(f'{by_letter}/{of}').random() < KNOWN
    known_letter = letters[of] if by_letter else item.answer
    guess = rng.choice(LETTERS[: len(item.meta['choices'])])
    return f'Answer: {known_letter if known else guess}'

  skills = {'solver': False, 'memoriser': True}
  made = benchmarks.meta_probing()
  return {
    probe: scored(
      made, [x for x in probed if x.meta['principle'] == probe], skills, write
    )
    for probe in PROBES
  }


def law(stays: float, num_choices: int) -> float:
  """Right with what is known, if it stays so, or by a guess."""
  return KNOWN * stays + (1 - KNOWN) / num_choices


CLAIM = Claim(
  'DyVal 2, principles 3 to 5 (two answerers of known skill, 600 items)',
  '2402.14865',
  'who knows letters is as good as who solves, and falls where choices are '
  'permuted, by the closed form, and not by context or one more choice',
  measure,
  checks=[
    agrees(
      'memoriser: original ', 'original/memoriser/score', law(1.0, 4), 3.5
    ),
    agrees('permuted ', 'permuted/memoriser/score', law(STAYS, 4), 3.5),
    agrees('one more choice ', 'foil/memoriser/score', law(1.0, 5), 3.5),
    above(
      'drop by permutation ',
      'original/memoriser/score',
      'permuted/memoriser/score',
      0.4,
    ),
  ],
  controls=[
    agrees('solver: permuted ', 'permuted/solver/score', law(1.0, 4), 3.5),
    equals('to original ', 'permuted/solver/score', 'original/solver/score'),
    agrees('one more choice ', 'foil/solver/score', law(1.0, 5), 3.5),
    equals(
      'memoriser with context, to original ',
      'context/memoriser/score',
      'original/memoriser/score',
    ),
  ],
)
