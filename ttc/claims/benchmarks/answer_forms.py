r"""Skill is scored, whatever the form of an answer (m1, 2504.00869).

Answerers are right in 60% and write a letter in a box, an option's text in a
box, a sentence, or a letter alone. One boxes a letter and then says that the
answer is another one: what was boxed counts, so .6; a scorer that passes over a
wrong box, as the released one does, gives it `.6 + .4 / 3`, 73.3%, for a second
guess. Power: of 3000 questions an error of 0.9 points, the two differ by 13.
"""

import random

from ttc import benchmarks, tasks
from ttc.claims.claim import Claim, above, agrees, equals
from ttc.testbeds.known_answers import scored

NUM_ITEMS, SKILL = 1000, 0.6
FORMS = {
  'letter in a box': r'\boxed{%s}',
  'text in a box': r'\boxed{%s}',
  'sentence': 'So the answer is %s.',
  'letter alone': 'I choose (%s)',
  'two answers': r'\boxed{%s} Or else the answer is %s.',
}


def measure(seed, size, cache):
  """Scores `[items]` by form, ours and those of the released scorer."""
  del cache
  items = []
  for i in range(size.fewer(NUM_ITEMS)):
    rng = random.Random(f'answer_forms/{seed}/{i}')
    options = {x: f'drug {rng.randrange(10**6):06d}' for x in 'ABCD'}
    meta = {'options': options, 'source': 'own'}
    items.append(tasks.Item(f'{seed}/{i}', 'q', rng.choice('ABCD'), meta))

  def write(form, rng, item):
    others = [x for x in 'ABCD' if x != item.answer]
    letter = item.answer if rng.random() < SKILL else rng.choice(others)
    if form == 'two answers':
      second = rng.choice([x for x in 'ABCD' if x != letter])
      return FORMS[form] % (letter, second)
    said = item.meta['options'][letter] if form.startswith('text') else letter
    return FORMS[form] % said

  forms = {form: form for form in FORMS}
  return {
    name: scored(benchmarks.m1_medical(official), items, forms, write)
    for name, official in (('ours', False), ('released', True))
  }


CLAIM = Claim(
  'm1, medical multiple choice (an answerer of known skill, 1000 questions)',
  '2504.00869',
  'an answer scores its skill in every form within 3.5 standard errors, and a '
  'second guess behind a wrong box is not paid for',
  measure,
  checks=[
    *(agrees(f'{form} ', f'ours/{form}/score', SKILL, 3.5) for form in FORMS),
  ],
  controls=[
    agrees(
      'two answers by the released scorer ',
      'released/two answers/score',
      SKILL + (1 - SKILL) / 3,
      3.5,
    ),
    above(
      'to ours ', 'released/two answers/score', 'ours/two answers/score', 0.08
    ),
    equals(
      'one answer by the released scorer to ours ',
      'released/letter in a box/score',
      'ours/letter in a box/score',
    ),
  ],
)
