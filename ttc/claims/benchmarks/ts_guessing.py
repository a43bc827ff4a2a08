"""Hidden options are named by who has read them (2311.09783)."""

import numpy as np
from scipy import stats

from ttc.claims.claim import Claim, above, exceeds, interval, shows, text
from ttc.testbeds import memorised_choices as bed


def measure(seed, size, cache):
  """Whether hidden options are named, and how likely they are."""
  found = bed.guess(seed, size, cache)
  measured = {}
  for name, guesses in found.items():
    for i, copies in enumerate(bed.COPIES):
      measured[f'{name} {copies}'] = guesses.named[i].astype(float)
    measured[f'{name} swapped'] = guesses.swapped.mean(axis=0)
    measured[f'{name} clean rate'] = guesses.named.mean(axis=0)
  # Of each seed: 16 copies against none, by log-probability.
  seen, unseen = found['read'].log_probs[[-1, 0]]
  u = stats.mannwhitneyu(seen, unseen).statistic
  return measured | {'auroc': float(u / (len(seen) * len(unseen)))}


def rising(data):
  """Shares named after so many copies."""
  return 'named after ' + '; '.join(
    f'{n}: {interval(data[f"read {n}"])}' for n in bed.COPIES
  )


CLAIM = Claim(
  'TS-Guessing (240 items of 6 words, options of 1600 pairs; 4000 other texts; '
  '2 layers of 64)',
  '2311.09783',
  'hidden options are named the oftener the more copies were read, above half '
  'after 16, by a clean model at most 2%; their log-probability tells items '
  'read 16 times from unread ones with an AUROC of .9',
  measure,
  checks=[
    text(
      rising,
      lambda d: all(
        np.mean(d[f'read {a}']) <= np.mean(d[f'read {b}'])
        for a, b in zip(bed.COPIES, bed.COPIES[1:], strict=False)
      ),
    ),
    above('16 copies to none ', 'read 16', 'read 0', 0.5),
    exceeds('AUROC of 16 copies ', 'auroc', 0.9),
  ],
  controls=[
    text(
      lambda d: f'clean model {interval(d["clean clean rate"])}',
      lambda d: np.mean(d['clean clean rate']) <= 0.02,
    ),
    shows("another item's option named ", 'read swapped'),
    above('16 copies to another item ', 'read 16', 'read swapped', 0.5),
  ],
)
