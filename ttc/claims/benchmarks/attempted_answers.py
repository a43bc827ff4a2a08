"""Who refuses is right more often of what he answers (SealQA, 2506.01062).

Two answerers know 30% of the questions. The bold one answers all, the humble
one refuses half of what it does not know: the share of all that are correct is
.3 for both, and of those attempted .3 and .3 / .65. A benchmark that counts the
attempted ones could be won by refusing. Power: of 3000 questions an error of
0.9 points, the two differ by 16.
"""

import numpy as np

from ttc import benchmarks, tasks
from ttc.benchmarks.sealqa import attempted_accuracy
from ttc.claims.claim import Claim, above, across_seeds, agrees, text
from ttc.testbeds.known_answers import verdicts

NUM_ITEMS, KNOWN = 1000, 0.3
REFUSES = {'bold': 0.0, 'humble': 0.5, 'denies': 0.0}


def measure(seed, size, cache):
  """Parts `[items]` of each answerer, and figures of the whole."""
  del cache
  items = [
    tasks.Item(f'{seed}/{i}', f'question {i}', f'answer {i}', {})
    for i in range(size.fewer(NUM_ITEMS))
  ]

  def write(name, rng, item):
    if rng.random() < KNOWN:
      return f'It is {item.answer}.'
    if rng.random() < REFUSES[name]:
      return 'I do not know.'
    return 'It is Paris.' if name != 'denies' else f'Not {item.answer[::-1]}.'

  found = {}
  for name in REFUSES:
    rows = verdicts(benchmarks.sealqa_match(), items, name, name, write)
    parts = {
      k: np.array([x.parts[k] for (x,) in rows]) for k in rows[0][0].parts
    }
    figures = attempted_accuracy(items, rows)
    found[name] = {**parts, 'of attempted': figures['correct of attempted']}
  return found


CLAIM = Claim(
  'SealQA by words (answerers of known skill, 1000 questions)',
  '2506.01062',
  'correct answers of all questions do not pay for refusals and those of '
  'attempted ones do, by the closed form within 3.5 standard errors',
  measure,
  checks=[
    agrees('bold: correct ', 'bold/correct', KNOWN, 3.5),
    agrees('humble: correct ', 'humble/correct', KNOWN, 3.5),
    agrees('attempted ', 'humble/attempted', KNOWN + (1 - KNOWN) / 2, 3.5),
    text(
      lambda d: (
        'correct of attempted, humble '
        f'{across_seeds(d["humble"]["of attempted"], d["num_seeds"])}, bold '
        f'{across_seeds(d["bold"]["of attempted"], d["num_seeds"])}'
      ),
      lambda d: np.all(
        d['humble']['of attempted'] > d['bold']['of attempted'] + 0.1
      ),
    ),
  ],
  controls=[
    agrees('who says what it is not: correct ', 'denies/correct', KNOWN, 3.5),
    above('bold attempts more ', 'bold/attempted', 'humble/attempted', 0.3),
  ],
)
