"""Probes of DyVal are true at every complexity (2309.17167)."""

import random

import numpy as np

from ttc.benchmarks import dyval_graphs
from ttc.claims.claim import Claim, every, text

DEPTHS = (2, 3, 4, 5, 6)
CHILDREN, EXTRA_LINKS, DISTRACTORS = (1, 2, 3), (0, 3), (0, 5)
NUM_PROBLEMS = 10  # of each kind and setting
ORDERS = {'topological': list, 'reversed': lambda x: x[::-1], 'random': None}


def measure(seed, size, cache):
  """By kind: problems, how many are read back true, spoiled ones caught.

  A spoiled problem has the answer of the next one of its kind that has another.
  """
  del cache
  num, found = size.fewer(NUM_PROBLEMS), {}
  for kind in dyval_graphs.KINDS:
    problems = [
      (problem, text)
      for depth in DEPTHS
      for children in CHILDREN
      for links in EXTRA_LINKS
      for others in DISTRACTORS
      for index in range(num)
      for problem, text in _drawn(
        kind, seed, index, depth, children, links, others
      )
    ]
    read = [
      dyval_graphs.read_back(kind, text, problem.question)
      for problem, text in problems
    ]
    answers = [problem.answer for problem, _ in problems]
    true = [x == y for x, y in zip(read, answers, strict=True)]
    spoiled = [
      x != next(z for z in answers[i:] + answers if z != y)
      for i, (x, y) in enumerate(zip(read, answers, strict=True))
    ]
    found[kind] = {
      'problems': len(problems),
      'true': float(np.mean(true)),
      'caught': float(np.mean(spoiled)),
      'commonest': max(map(answers.count, set(answers))) / len(answers),
      'sentences': np.mean([len(p.sentences) for p, _ in problems]),
    }
  return found


def _drawn(kind, seed, index, depth, children, links, others):
  """A problem in each order of its sentences."""
  if kind in ('arithmetic', 'linear') and children == 3 and depth > 4:
    return  # numbers of a hundred digits and more
  rng = random.Random(f'{seed}/{index}/{depth}/{children}/{links}/{others}')
  problem = dyval_graphs.draw_problem(
    kind, rng, depth, children=children, extra_links=links, distractors=others
  )
  for name, arrange in ORDERS.items():
    sentences = list(problem.sentences)
    if name == 'random':
      rng.shuffle(sentences)
    yield problem, ' '.join(arrange(sentences) if arrange else sentences)


def told(data):
  """How many of each kind were read back."""
  kinds = dyval_graphs.KINDS
  total = sum(int(np.sum(data[kind]['problems'])) for kind in kinds)
  return f'{total} problems; sentences ' + ', '.join(
    f'{kind} {np.mean(data[kind]["sentences"]):.0f}' for kind in kinds
  )


of_all = lambda data, name: np.array(
  [data[kind][name] for kind in dyval_graphs.KINDS]
)
CLAIM = Claim(
  'DyVal (six kinds, depth 2 to 6, 1 to 3 children, links and distractors, '
  'three orders of sentences)',
  '2309.17167',
  'every answer is what its sentences alone come to, read by another program '
  'and evaluated by another rule, and answers are not to be guessed',
  measure,
  checks=[
    text(told),
    every('all answers true', lambda d: of_all(d, 'true') == 1),
    text(
      lambda d: (
        'commonest answer of true or false '
        f'{100 * of_all(d, "commonest")[[1, 2, 4]].max():.0f}%'
      ),
      lambda d: of_all(d, 'commonest')[[1, 2, 4]].max() < 0.65,
    ),
  ],
  controls=[
    every(
      "another problem's answer is caught", lambda d: of_all(d, 'caught') == 1
    ),
  ],
)
