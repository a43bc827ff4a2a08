"""Generated questions: true ones kept, false ones dropped, ranks kept."""

import random

import jax
import numpy as np

from ttc.benchmarks.yourbench import (
  LEAST_SCORE,
  bag_of_words,
  build,
  citation_score,
  rank_validity,
)
from ttc.claims.claim import Claim, across_seeds, interval, text
from ttc.testbeds import fact_sheets

NUM_THINGS, EDITS = 60, 0.3
STAGES = (50, 150, 300, 500, 900)


def measure(seed, size, cache):
  """What grounding keeps; what duplicates weigh; how models are ranked."""
  del cache
  known = fact_sheets.facts(seed, size.fewer(NUM_THINGS))
  rng = random.Random(f'yourbench/{seed}')
  pairs = [
    (thing, attribute)
    for thing in range(len(known.names))
    for attribute in range(len(fact_sheets.ATTRIBUTES))
  ]
  write = lambda edits: [
    fact_sheets.question(known, *x, rng, edits) for x in pairs
  ]
  true, false = write(0.0), write(EDITS)
  score = lambda questions: np.array(
    [citation_score(q.citations, q.chunks) for q in questions]
  )
  kept = lambda scores: (scores >= LEAST_SCORE).astype(float)

  # The set has half of the facts, some of them asked twice, and some lies.
  half = [fact_sheets.question(known, *x, rng) for x in pairs[::2]]
  drawn = [*half, *half[::3], *false[::4]]
  built = build(
    [[str(i)] for i in range(len(drawn))],
    lambda group: [drawn[int(group[0])]],
    bag_of_words,
    epsilon=0.02,
  )
  right = fact_sheets.learners(jax.random.key(seed), known, STAGES)
  place = {name: i for i, name in enumerate(known.names)}
  asked = [
    (place[next(n for n in known.names if f' {n}' in q.text)],
     fact_sheets.ATTRIBUTES.index(q.kind))
    for q in built
  ]  # fmt: skip
  scores = np.array([[model[x] for x in asked] for model in right], np.float32)
  hidden = right[:, pairs_mask(right.shape[1:])].mean(axis=1)
  found = rank_validity(jax.random.key(seed), scores, hidden)
  order_key = jax.random.fold_in(jax.random.key(seed), 1)
  shuffled = np.asarray(jax.random.permutation(order_key, hidden))
  return {
    'true kept': kept(score(true)),
    'false dropped': 1 - kept(score(false)),
    'spared': np.array([len({q.text + q.answer for q in built}) / len(built)]),
    'accuracies': hidden[None],
    'rho': np.float64(found.spearman),
    'low': np.float64(found.low),
    'tau': np.float64(found.kendall),
    'shuffled': np.float64(
      rank_validity(jax.random.key(seed), scores, shuffled).spearman
    ),
    'size': np.float64(len(built)),
  }


def pairs_mask(shape):
  """The facts that are not asked: the hidden set."""
  mask = np.ones(shape, bool).ravel()
  mask[::2] = False
  return mask.reshape(shape)


CLAIM = Claim(
  'yourbench (300 facts of invented things, 30% of words of lies edited)',
  '2504.01833',
  'grounding keeps what is cited rightly and drops what is not; the generated '
  'set ranks checkpoints as facts do that it does not ask for',
  measure,
  checks=[
    text(
      lambda d: f'true questions kept {interval(d["true kept"])}',
      lambda d: d['true kept'].mean() >= 0.99,
    ),
    text(
      lambda d: f'false ones dropped {interval(d["false dropped"])}',
      lambda d: d['false dropped'].mean() >= 0.95,
    ),
    text(
      lambda d: (
        "Spearman's correlation over 5 checkpoints "
        f'{across_seeds(d["rho"], d["num_seeds"])}, lower ends '
        f'{across_seeds(d["low"], d["num_seeds"])}, on sets of '
        f'{across_seeds(d["size"], d["num_seeds"], 0)} questions'
      ),
      lambda d: np.all(d['rho'] >= 0.9),
    ),
  ],
  controls=[
    text(
      lambda d: (
        'with the checkpoints in any order '
        f'{across_seeds(d["shuffled"], d["num_seeds"])}'
      ),
      lambda d: np.all(d['shuffled'] < 0.9),
    ),
    text(
      lambda d: f'different questions among those kept {interval(d["spared"])}',
      lambda d: d['spared'].min() == 1,
    ),
  ],
)
