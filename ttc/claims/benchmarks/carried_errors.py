"""Errors of one phase are the next one's input (Quicker, 2505.10282).

Of 40 candidates ten are to be included, seven of them for the treatment and
three against, as are the other 30. A search finds each of the ten with chance
.8 and each other with .3, screening keeps what it should with .9 and what it
should not with .2, and the advice is what most of the kept studies say. Given
true results every phase is as good as its skill and the advice right; end to
end it is right with the chance that Bin(7, .72) is more than Bin(3, .72) +
Bin(30, .06), 63.4%. Power: of 1200 questions an error of 1.1 points.
"""

import random

import numpy as np
from scipy import stats

from ttc.benchmarks.quicker.phases import Phases, run_phases
from ttc.claims.claim import Claim, agrees, below, text

NUM_QUESTIONS = 400
NUM_FOR, NUM_AGAINST, NUM_OTHERS = 7, 3, 30
FINDS, STRAYS = 0.8, 0.3
SENSITIVITY, SPECIFICITY = 0.9, 0.8
GOLD = {'direction': 'for', 'strength': 'strong'}


def measure(seed, size, cache):
  """Figures `[questions]` by phase, end to end, and of one who keeps all."""
  del cache
  rows = {'phases': [], 'end to end': [], 'keeps all': []}
  for i in range(size.fewer(NUM_QUESTIONS)):
    for name, row in rows.items():
      phases = skilled(random.Random(f'{name}/{seed}/{i}'), name == 'keeps all')
      row.append(run_phases(RECORD, phases, name == 'end to end'))
  return {
    name: {k: np.array([x[k] for x in row]) for k in row[0]}
    for name, row in rows.items()
  }


def candidates():
  """Studies; their titles say what they find."""
  found = ['for'] * NUM_FOR + ['against'] * (NUM_AGAINST + NUM_OTHERS)
  return [
    {'id': f'{i}', 'title': x, 'abstract': '', 'label': i < 10}
    for i, x in enumerate(found)
  ]


RECORD = {
  'pico': {'P': 'adults', 'I': 'drug', 'C': 'placebo', 'O': ['pain']},
  'included_ids': [f'{i}' for i in range(10)],
  'candidates': candidates(),
  'assessments': [],
  'recommendation': GOLD,
}


def skilled(rng, keeps_all):
  """A system whose errors are drawn."""

  def screen(pico, study):
    return keeps_all or rng.random() < (
      SENSITIVITY if study['label'] else 1 - SPECIFICITY
    )

  def recommend(record, studies):
    votes = sum(1 if x['title'] == 'for' else -1 for x in studies)
    return GOLD | {'direction': 'for' if votes > 0 else 'against'}

  return Phases(
    decompose=lambda record: record['pico'],
    search=lambda pico, studies: [
      x['id']
      for x in studies
      if rng.random() < (FINDS if x['label'] else STRAYS)
    ],
    screen=screen,
    assess=lambda record: '',
    recommend=recommend,
  )


def law():
  """Chance of right advice, end to end."""
  kept, stray = FINDS * SENSITIVITY, STRAYS * (1 - SPECIFICITY)
  against = np.convolve(
    stats.binom.pmf(range(NUM_AGAINST + 1), NUM_AGAINST, kept),
    stats.binom.pmf(range(NUM_OTHERS + 1), NUM_OTHERS, stray),
  )
  more = stats.binom.sf(np.arange(against.size), NUM_FOR, kept)
  return float(against @ more)


CLAIM = Claim(
  'Quicker (a system whose phases have known skill, 400 questions)',
  '2505.10282',
  'each phase is scored at its skill, and end to end, where errors are carried '
  'on, the advice is wrong as often as the closed form says, within 3.5 '
  'standard errors',
  measure,
  checks=[
    agrees('search ', 'phases/search sensitivity', FINDS, 3.5),
    agrees('screening ', 'phases/screening sensitivity', SENSITIVITY, 3.5),
    agrees('specificity ', 'phases/screening specificity', SPECIFICITY, 3.5),
    agrees('right advice end to end ', 'end to end/direction', law(), 3.5),
    below('to by phases ', 'end to end/direction', 'phases/direction', 0.1),
  ],
  controls=[
    text(
      lambda d: 'given true results all advice is right',
      lambda d: np.all(d['phases']['direction'] == 1),
    ),
    text(
      lambda d: 'who keeps all has sensitivity 1, specificity 0, kappa 0',
      lambda d: (
        np.all(d['keeps all']['screening sensitivity'] == 1)
        and np.all(d['keeps all']['screening specificity'] == 0)
        and np.allclose(d['keeps all']['screening kappa'], 0)
      ),
    ),
  ],
)
