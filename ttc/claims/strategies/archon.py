"""Architectures of techniques, found by search (Saad-Falcon et al., 2024)."""

import jax
import numpy as np

from ttc import strategies
from ttc.claims.claim import (
  Claim,
  compares,
  difference,
  interval,
  signed,
  text,
)
from ttc.testbeds import architectures as bed

BUDGET = 600  # mean tokens per problem
NUM_DEV, NUM_TEST = 160, 320  # problems of a seed
NUM_EVALUATIONS = 32
NUM_SEARCHES = 8  # of a seed
SEARCHES = {
  'random': strategies.random_order,
  'grid': strategies.grid,
  'greedy': strategies.greedy,
  'Bayesian': strategies.bayesian(num_initial=8),
}


def measure(seed, size, cache):
  """All searches within a budget of tokens, and the best single technique."""
  del cache
  num_dev = size.problems(NUM_DEV)
  num = num_dev + size.problems(NUM_TEST)
  plans, singles = bed.all_plans(), bed.plans_of(bed.SINGLES)
  evaluate = lambda plans, blind: jax.device_get(
    bed.outcomes(seed, num, plans, blind)
  )
  right, tokens = evaluate(plans, False)
  values = bed.values_of(right[:, :num_dev], tokens[:, :num_dev], BUDGET)
  seeds = [NUM_SEARCHES * seed + i for i in range(NUM_SEARCHES)]
  run = lambda name, values: bed.regrets(
    SEARCHES[name], values, NUM_EVALUATIONS, seeds
  )
  results = {name: run(name, values) for name in SEARCHES}
  mixed = bed.shuffled(values, seed)
  points = results['Bayesian'][1]
  found = np.ravel_multi_index(points.T, bed.SIZES)
  alone, alone_tokens = evaluate(singles, False)
  dev = strategies.within_budget(
    alone[:, :num_dev].mean(axis=1),
    alone_tokens[:, :num_dev].mean(axis=1),
    float(BUDGET),
  )
  best = int(np.argmax(dev))
  found_plans = strategies.Plan(plans.kinds[found], plans.amounts[found])
  blind = evaluate(found_plans, True)[0]
  blind_alone = evaluate(singles, True)[0]
  # Mean over the searches: the unit is a problem that no search has seen.
  unseen = right[found, num_dev:].mean(axis=0)
  return {
    'regret': {name: result[0] for name, result in results.items()},
    'needed': {name: result[2] for name, result in results.items()},
    'mixed': {name: run(name, mixed)[0] for name in SEARCHES},
    'found': unseen,
    'single': alone[best, num_dev:].astype(float),
    'blind': blind[:, num_dev:].mean(axis=0),
    'blind single': blind_alone[best, num_dev:].astype(float),
    'spent': tokens[found, num_dev:].mean(),
    'spent single': alone_tokens[best, num_dev:].mean(),
    'optimism': right[found, :num_dev].mean() - unseen.mean(),
    'chosen': np.array(
      f'{strategies.describe(bed.architecture_at(points[0]))} against '
      f'{strategies.describe(bed.SINGLES[best])}'
    ),
  }


def end(data, name):
  """Regret after the last evaluation."""
  return data['regret'][name][:, -1]


def regrets(data):
  """Of all searches, and their evaluations."""
  most = NUM_EVALUATIONS + 1
  gaps = {
    name: difference(end(data, 'Bayesian'), end(data, name))
    for name in SEARCHES
    if name != 'Bayesian'
  }
  means = ', '.join(
    f'{name} {np.minimum(data["needed"][name], most).mean():.1f}'
    for name in SEARCHES
  )
  return (
    f'regret on the {NUM_DEV} problems of the search: '
    + ', '.join(f'{name} {interval(end(data, name))}' for name in SEARCHES)
    + '; Bayesian against '
    + ', '.join(f'{name} {signed(gap)}' for name, gap in gaps.items())
    + f'; mean evaluations to 95% of the optimum (at most {most}): {means}'
  )


def is_closer(data):
  """Bayesian search than random search."""
  gap = difference(end(data, 'Bayesian'), end(data, 'random'))
  return gap.mean < -1.96 * gap.standard_error


def unseen(data):
  """What was found, and the best single technique."""
  gain = difference(data['found'], data['single'])
  return (
    f'unseen problems {interval(data["found"])} for '
    f'{np.mean(data["spent"]):.0f} tokens, best single '
    f'{interval(data["single"])} for {np.mean(data["spent single"]):.0f}, '
    f'{signed(gain)}; optimism of the search '
    f'{100 * np.mean(data["optimism"]):+.1f}; one of the found: '
    f'{data["chosen"][0]}'
  )


def gains(data):
  """Beyond 1.96 standard errors."""
  gain = difference(data['found'], data['single'])
  return gain.mean > 1.96 * gain.standard_error


CLAIM = Claim(
  f'archon (three models and judges of known law, 1440 architectures, {BUDGET} '
  'tokens per problem)',
  '2409.15254',
  f'after {NUM_EVALUATIONS} evaluations Bayesian search is closer to the '
  'optimum than random search, and what it finds beats the best single '
  'technique of one model on unseen problems',
  measure,
  checks=[text(regrets, is_closer), text(unseen, gains)],
  controls=[
    compares(
      'values shuffled over the space: Bayesian against random ',
      lambda d: d['mixed']['Bayesian'][:, -1],
      lambda d: d['mixed']['random'][:, -1],
      lambda gap: gap.mean > -1.96 * gap.standard_error,
    ),
    compares(
      'judges that know nothing: the same against the same single ',
      'blind',
      'blind single',
    ),
  ],
  draw=lambda data, path: bed.save_regrets(
    path,
    {'architectures': data['regret'], 'the same, shuffled': data['mixed']},
  ),
)
