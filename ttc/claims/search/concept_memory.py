"""A memory of concepts that grows while tasks are solved (Ho et al., 2025)."""

from ttc.claims.claim import (
  Claim,
  by_seed,
  compares,
  difference,
  interval,
  signed,
  text,
)
from ttc.testbeds.program_streams import (
  ARMS,
  BUDGET,
  NUM_MACROS,
  NUM_TASKS,
  run_streams,
)

NUM_SEEDS = 5  # of streams, which are run side by side


def measure(seed, size, cache):
  """Whether each task is solved, by arm `[seeds, tasks]`; all seeds at once."""
  del seed, cache
  return run_streams(range(NUM_SEEDS), size.fewer(NUM_TASKS))


def derive(data):
  """All tasks, and the gap in the first and the second half of a stream."""
  half = data['none'].shape[1] // 2
  gain = lambda part: difference(
    data['concepts'][:, part].ravel(), data['none'][:, part].ravel()
  )
  return {
    'all': {arm: data[arm].ravel() for arm in ARMS},
    'early': gain(slice(0, half)),
    'late': gain(slice(half, None)),
    'by seed': by_seed(data['concepts'] - data['none'], NUM_SEEDS),
  }


def grows(data):
  """By seed, and in each half."""
  gains = ', '.join(f'{100 * x:+.1f}' for x in data['by seed'])
  return (
    f'by seed {gains}, first half {signed(data["early"])}, second '
    f'{signed(data["late"])}'
  )


def clearly_above(gap):
  """By 1.96 standard errors."""
  return gap.mean > 1.96 * gap.standard_error


CLAIM = Claim(
  f'concept_memory (list programs of {NUM_MACROS} hidden macros, {NUM_TASKS} '
  f'different tasks, {BUDGET} programs run for each, {NUM_SEEDS} seeds)',
  '2509.04439',
  'a growing memory of concepts solves more than none and than a memory of '
  'instances, and the gap grows',
  measure,
  checks=[
    text(
      lambda d: '; '.join(f'{arm} {interval(d["all"][arm])}' for arm in ARMS)
    ),
    compares('concepts to none ', 'all/concepts', 'all/none', clearly_above),
    text(grows, lambda d: d['late'].mean > d['early'].mean),
    compares('to instances ', 'all/concepts', 'all/instances', clearly_above),
    compares('instances to none ', 'all/instances', 'all/none'),
  ],
  controls=[
    compares(
      'concepts with their tokens permuted, to none: ',
      'all/shuffled concepts',
      'all/none',
      lambda harm: harm.mean < 2 * harm.standard_error,
    )
  ],
  derive=derive,
  seeds=(0,),
)
