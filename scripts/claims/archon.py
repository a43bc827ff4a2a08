"""Architectures of techniques, found by search (Saad-Falcon et al., 2024)."""

import jax
import numpy as np

from claims import strategy_world as world
from claims.row import Row, difference, interval, signed
from ttc import strategies
from ttc.strategies import Fuse, Generate, Rank

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
# One technique and one model: what a user would do without a search.
SINGLES = tuple(
  (Generate(tuple(n * (m == i) for i in range(3))), last)
  for m, most in enumerate(world.MAX_DRAFTS)
  for n in (1, 2, 3, 4, 8, 16, 24)
  if n <= most
  for last in (Fuse(), Rank(1))
)


def reproduce(num_seeds: int) -> Row:
  """Bayesian search of 1440 architectures within a budget of tokens."""
  plans = world.all_plans()
  singles = stack(SINGLES)
  lost = {name: [] for name in SEARCHES}
  lost_shuffled = {name: [] for name in SEARCHES}
  needed = {name: [] for name in SEARCHES}
  outcome = {name: [] for name in ('found', 'single', 'blind', 'blind single')}
  optimism, spent, chosen = [], [], []
  for seed in range(num_seeds):
    right, tokens = evaluate(seed, plans, False)
    values = values_of(right[:, :NUM_DEV], tokens[:, :NUM_DEV])
    seeds = [NUM_SEARCHES * seed + i for i in range(NUM_SEARCHES)]
    points = {}
    for name, search in SEARCHES.items():
      regret, points[name], evaluations = world.regrets(
        search, values, NUM_EVALUATIONS, seeds
      )
      lost[name].append(regret)
      needed[name].append(evaluations)
      mixed = world.shuffled(values, seed)
      lost_shuffled[name].append(
        world.regrets(search, mixed, NUM_EVALUATIONS, seeds)[0]
      )
    found = np.ravel_multi_index(points['Bayesian'].T, world.SIZES)
    alone, alone_tokens = evaluate(seed, singles, False)
    dev = strategies.within_budget(
      alone[:, :NUM_DEV].mean(axis=1),
      alone_tokens[:, :NUM_DEV].mean(axis=1),
      BUDGET,
    )
    best_single = int(np.argmax(dev))
    found_plans = strategies.Plan(plans.kinds[found], plans.amounts[found])
    blind = evaluate(seed, found_plans, True)[0]
    blind_alone = evaluate(seed, singles, True)[0]
    # Mean over the searches: the unit is a problem that no search has seen.
    outcome['found'].append(right[found, NUM_DEV:].mean(axis=0))
    outcome['single'].append(alone[best_single, NUM_DEV:])
    outcome['blind'].append(blind[:, NUM_DEV:].mean(axis=0))
    outcome['blind single'].append(blind_alone[best_single, NUM_DEV:])
    spent.append(
      [
        tokens[found, NUM_DEV:].mean(),
        alone_tokens[best_single, NUM_DEV:].mean(),
      ]
    )
    optimism.append(right[found, :NUM_DEV].mean() - outcome['found'][-1].mean())
    chosen.append(
      f'{strategies.describe(world.architecture_at(points["Bayesian"][0]))} '
      f'against {strategies.describe(SINGLES[best_single])}'
    )
  lost = {name: np.concatenate(x) for name, x in lost.items()}
  lost_shuffled = {name: np.concatenate(x) for name, x in lost_shuffled.items()}
  outcome = {
    name: np.concatenate(x).astype(float) for name, x in outcome.items()
  }
  world.save_regrets(
    'archon',
    {'architectures': lost, 'the same, shuffled': lost_shuffled},
  )
  end = {name: x[:, -1] for name, x in lost.items()}
  gaps = {
    name: difference(end['Bayesian'], x)
    for name, x in end.items()
    if name != 'Bayesian'
  }
  unstructured = difference(
    lost_shuffled['Bayesian'][:, -1], lost_shuffled['random'][:, -1]
  )
  gain = difference(outcome['found'], outcome['single'])
  blind_gain = difference(outcome['blind'], outcome['blind single'])
  most = NUM_EVALUATIONS + 1
  means = ', '.join(
    f'{name} {np.minimum(np.concatenate(x), most).mean():.1f}'
    for name, x in needed.items()
  )
  spent = np.mean(spent, axis=0)
  return Row(
    f'archon (three models and judges of known law, {len(plans.kinds)} '
    f'architectures, {BUDGET} tokens per problem)',
    f'after {NUM_EVALUATIONS} evaluations Bayesian search is closer to the '
    'optimum than random search, and what it finds beats the best single '
    'technique of one model on unseen problems',
    f'regret on the {NUM_DEV} problems of the search: '
    + ', '.join(f'{name} {interval(x)}' for name, x in end.items())
    + '; Bayesian against '
    + ', '.join(f'{name} {signed(gap)}' for name, gap in gaps.items())
    + f'; mean evaluations to 95% of the optimum (at most {most}): {means}; '
    'unseen problems '
    f'{interval(outcome["found"])} for {spent[0]:.0f} tokens, best single '
    f'{interval(outcome["single"])} for {spent[1]:.0f}, {signed(gain)}; '
    f'optimism of the search {100 * np.mean(optimism):+.1f}; one of the found: '
    f'{chosen[0]}',
    f'values shuffled over the space: Bayesian against random '
    f'{signed(unstructured)}; judges that know nothing: the same against the '
    f'same single {signed(blind_gain)}',
    bool(
      gaps['random'].mean < -1.96 * gaps['random'].standard_error
      and gain.mean > 1.96 * gain.standard_error
      and unstructured.mean > -1.96 * unstructured.standard_error
    ),
  )


def stack(architectures):
  """Plans of several architectures as one."""
  plans = [
    strategies.encode(a, len(world.EDGES), world.MAX_LAYERS)
    for a in architectures
  ]
  return jax.tree.map(lambda *leaves: np.stack(leaves), *plans)


def evaluate(seed, plans, blind):
  """Correctness and tokens on the problems of the search, then on others."""
  return jax.device_get(world.outcomes(seed, NUM_DEV + NUM_TEST, plans, blind))


def values_of(right, tokens):
  """What a search maximises, an axis for each axis of the space."""
  values = strategies.within_budget(
    right.mean(axis=1), tokens.mean(axis=1), BUDGET
  )
  values = values.reshape(world.SIZES)
  values[0, 0, 0] = -1.0  # nobody writes a draft
  return values
