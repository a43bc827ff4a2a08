"""Rephrased test items are found by embeddings and a judge (2311.04850).

What a small model carries over from a rephrase to the original is a name: with
numbers in words, or names of two words, it learned the rephrases and gained
nothing on the originals. The bed has names of one word.
"""

import numpy as np

from ttc.benchmarks import decontamination as found_by
from ttc.claims.claim import Claim, above, below, every, exceeds, shows, text
from ttc.testbeds import rephrased_problems as bed

NUM_PAIRS = 100  # test items of which a rephrase is in the corpus; as many not
TOP_K = 10  # originals of one form are near each other


def measure(seed, size, cache):
  """Detection, and what a model gains from rephrases.

  Words are compared in pairs, (original, rephrase) of one problem and
  (original, original) of two. The corpus holds originals of other problems, and
  rephrases of half of the test items: those are to be found.
  """
  num = size.fewer(NUM_PAIRS)
  problems = bed.draw_problems(4 * num, 100 + seed)
  test, others = problems[: 2 * num], problems[2 * num :]
  rephrases = [bed.rephrase(p, seed) for p in test[:num]]
  originals = [bed.original(p) for p in test]
  pairs = list(zip(originals[:num], rephrases, strict=True))
  pairs += list(zip(originals[:num], originals[num:], strict=True))
  true = [True] * num + [False] * num
  f1 = {
    name: found_by.detection_f1([detects(*pair) for pair in pairs], true)
    for name, detects in found_by.DETECTORS.items()
  }
  corpus = rephrases + [bed.original(p) for p in others]
  embed = found_by.hashed_embedding(corpus)
  for top_k in (1, TOP_K):
    found = found_by.decontaminate(
      corpus, originals, embed, bed.same_problem, top_k=top_k
    )
    f1[f'and judge, top {top_k}'] = found_by.detection_f1(
      found.contaminated, true
    )
  nearest = found.similarities[:, 0]
  f1['embedding alone'] = found_by.best_threshold_f1(nearest, true)[0]
  right = bed.accuracies(seed, size, cache)
  return {'f1': f1} | {name: x.astype(float) for name, x in right.items()}


def said(data):
  """F1 of each detector, by seed."""
  return 'F1: ' + ', '.join(
    f'{name} {min(x):.2f} to {max(x):.2f}' for name, x in data['f1'].items()
  )


WORDS = tuple(found_by.DETECTORS)
CLAIM = Claim(
  'LLM decontaminator (arithmetic in three forms of words, rephrases in other '
  'sentences; 160 problems in all words, 80 of the test rephrased)',
  '2311.04850',
  'detectors of shared words have F1 of at most .3 on rephrases, embeddings '
  'with a judge .9; a model that learned rephrases of test items gains 30 '
  'points on their originals, which it never saw',
  measure,
  checks=[
    text(said),
    every(
      'words find at most .3',
      lambda d: np.all([d['f1'][name] <= 0.3 for name in WORDS], axis=0),
    ),
    every(
      f'the judge of {TOP_K} neighbours .9',
      lambda d: d['f1'][f'and judge, top {TOP_K}'] >= 0.9,
    ),
    above('originals: rephrased to clean ', 'rephrased', 'clean', 0.3),
  ],
  controls=[
    shows('rephrases as learned ', 'learned'),
    shows('clean model ', 'clean'),
    below('originals to rephrases as learned ', 'rephrased', 'learned'),
    exceeds(
      'with a judge to the embedding alone ',
      f'f1/and judge, top {TOP_K}',
      'f1/embedding alone',
    ),
  ],
)
