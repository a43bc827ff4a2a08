"""Tasks that build on one another punish what single tasks hide (2505.07473).

A coder passes each attempt with chance p = .8, so with n attempts a task is
done with q = 1 - (1 - p)^n, and pass@n of T = 20 tasks in a row is
`sum_t q^t / T`: 19.8% with one attempt and 67.0% with two, where tasks on their
own are done in 80% and 96%. Power: of 1800 projects each figure has an error
below 1 point.
"""

import random

import numpy as np

from ttc.benchmarks import web_bench
from ttc.claims.claim import Claim, above, agrees, below

NUM_PROJECTS, NUM_TASKS, PASSES = 600, 20, 0.8


def measure(seed, size, cache):
  """pass@1 and pass@2 of each project, and of its tasks on their own."""
  del cache
  tasks = tuple(web_bench.ProjectTask(f'{t}', '', '') for t in range(NUM_TASKS))
  rows = {'pass@1': [], 'pass@2': [], 'own @1': [], 'own @2': [], 'coin @2': []}
  for i in range(size.fewer(NUM_PROJECTS)):
    run = lambda name, tasks, chance: play(f'{name}/{seed}/{i}', tasks, chance)  # noqa: B023
    passed = run('row', tasks, PASSES)
    alone = np.concatenate([run(t.id, (t,), PASSES) for t in tasks])
    coin = run('coin', tasks, 0.5)
    for n in (1, 2):
      rows[f'pass@{n}'].append(web_bench.pass_at(passed, n))
      rows[f'own @{n}'].append(alone[:, :n].any(axis=1).mean())
    rows['coin @2'].append(web_bench.pass_at(coin, 2))
  return {name: np.array(x) for name, x in rows.items()}


def play(name, tasks, chance):
  """What passed in a project whose attempts pass by chance."""
  rng = random.Random(name)
  return web_bench.run_project(
    web_bench.Project(name, {}, tasks),
    lambda attempt: {'work.py': f'{attempt.task.id}.{attempt.number}'},
    lambda files, task: '' if rng.random() < chance else 'an assertion failed',
  ).passed


def law(num_attempts, chance=PASSES):
  """pass@n of tasks in a row."""
  done = 1 - (1 - chance) ** num_attempts
  return sum(done**t for t in range(1, NUM_TASKS + 1)) / NUM_TASKS


CLAIM = Claim(
  f'Web-Bench (a coder of known skill, 600 projects of {NUM_TASKS} tasks)',
  '2505.07473',
  'pass@n is its closed form within 3.5 standard errors; tasks in a row are '
  'passed far less often than on their own, and an attempt more helps more',
  measure,
  checks=[
    agrees('pass@1 ', 'pass@1', law(1), 3.5),
    agrees('pass@2 ', 'pass@2', law(2), 3.5),
    below('pass@1 to tasks on their own ', 'pass@1', 'own @1', 0.5),
    above(
      'what the second attempt adds, in a row to on their own ',
      lambda d: d['pass@2'] - d['pass@1'],
      lambda d: d['own @2'] - d['own @1'],
      0.2,
    ),
  ],
  controls=[
    agrees('on their own with one attempt ', 'own @1', PASSES, 3.5),
    agrees('with two ', 'own @2', 1 - (1 - PASSES) ** 2, 3.5),
    agrees('a coin in a row with two ', 'coin @2', law(2, 0.5), 3.5),
  ],
)
