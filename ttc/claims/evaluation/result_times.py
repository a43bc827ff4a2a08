r"""AlgoPerf's score by the law of the times (2306.07179).

A submission takes r times as long as the fastest, r uniform on [1, 7], so with
targets that count up to four times it earns the mean of `(4 - r)_+ / 3`, a
quarter, on every workload; the fastest earns 1. Scores hang on who takes part:
beside one that is twice as fast as the fastest, r doubles, the old fastest
earns 2/3 and the other `mean (4 - 2 r)_+ / 3` = 1/18. Power: of 600 contests of
8 workloads an error of 0.5 points for the quarter, 0.2 for the eighteenth.
"""

import jax.numpy as jnp
import numpy as np

from ttc import evaluation
from ttc.claims.claim import Claim, agrees, below, text

NUM_CONTESTS, NUM_WORKLOADS = 200, 8

NAMES: tuple[str, ...] = (
  'fastest',
  'other',
  'fastest of three',
  'other of three',
  'one unsolved',
  'other units',
)


def measure(seed, size, cache):
  """Scores of each submission in each contest."""
  del cache
  rng = np.random.default_rng(seed)
  rows = []
  for _ in range(size.fewer(NUM_CONTESTS)):
    ratio = rng.uniform(1, 7, NUM_WORKLOADS)
    pace = rng.lognormal(0, 1, NUM_WORKLOADS)
    two = np.stack([pace, pace * ratio])
    three = np.concatenate([two, pace[None] / 2])
    missed = two.copy()
    missed[:, 0] = np.inf
    score = lambda times: np.asarray(
      evaluation.algoperf_score(jnp.asarray(times, jnp.float32))
    )
    unit = 60 * two * rng.lognormal(0, 1, NUM_WORKLOADS)
    rows.append(
      [*score(two), *score(three)[:2], score(missed)[0], *score(unit)[1:]]
    )
  return dict(zip(NAMES, np.array(rows).T, strict=True))


CLAIM = Claim(
  'AlgoPerf (submissions whose times have a law, 200 contests of 8 workloads)',
  '2306.07179',
  'the score is the mean of its law within 3.5 standard errors, the fastest '
  'earns 1, and a faster submission beside them takes from both',
  measure,
  checks=[
    agrees('other ', 'other', 1 / 4, 3.5),
    text(
      lambda d: f'fastest {100 * d["fastest"].mean():.1f}',
      lambda d: np.allclose(d['fastest'], 1),
    ),
    agrees('other beside a faster one ', 'other of three', 1 / 18, 3.5),
    below('to before ', 'other of three', 'other', 0.1),
    text(
      lambda d: f'fastest before {100 * d["fastest of three"].mean():.1f}',
      lambda d: np.allclose(d['fastest of three'], 2 / 3, atol=1e-5),
    ),
  ],
  controls=[
    text(
      lambda d: (
        'one of eight workloads that nobody solves costs '
        f'{100 * (1 - d["one unsolved"]).mean():.1f}'
      ),
      lambda d: np.allclose(d['one unsolved'], 7 / 8),
    ),
    text(
      lambda d: 'other units for each workload change nothing',
      lambda d: np.allclose(d['other units'], d['other'], atol=1e-5),
    ),
  ],
)
