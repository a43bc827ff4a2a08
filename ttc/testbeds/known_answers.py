"""Answerers whose skill is known, as a benchmark's scorer sees them.

What they write goes through the benchmark's own reader and grader, so that a
score can be held against the closed form of the skill.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from ttc import tasks
from ttc.benchmarks import judges
from ttc.benchmarks.benchmark import Benchmark, Verdict

Skill = TypeVar('Skill')


def verdicts(
  benchmark: Benchmark,
  items: Sequence[tasks.Item],
  name: str,
  skill: Skill,
  write: Callable[[Skill, random.Random, tasks.Item], str],
  num_samples: int = 1,
) -> list[list[Verdict]]:
  """What a benchmark says of the samples of one answerer.

  Args:
    benchmark: it is not asked to judge.
    items: of the benchmark.
    name: of the answerer; its draws depend on it, the item and the sample.
    skill: what the answerer is made of.
    write: `(skill, rng, item) -> completion`.
    num_samples: of each item.
  """
  rng = lambda item, i: random.Random(f'{name}/{item.id}/{i}')
  return [
    [
      benchmark.grade(item, write(skill, rng(item, i), item), judges.no_judge)
      for i in range(num_samples)
    ]
    for item in items
  ]


def scored(
  benchmark: Benchmark,
  items: Sequence[tasks.Item],
  skills: Mapping[str, Skill],
  write: Callable[[Skill, random.Random, tasks.Item], str],
) -> dict[str, dict[str, np.ndarray]]:
  """Score and parts `[items]` of one sample by each answerer."""
  found = {}
  for name, skill in skills.items():
    rows = [x for (x,) in verdicts(benchmark, items, name, skill, write)]
    parts = {k: np.array([x.parts[k] for x in rows]) for k in rows[0].parts}
    found[name] = {'score': np.array([x.score for x in rows]), **parts}
  return found
