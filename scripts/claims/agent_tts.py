"""Models and samples for the stages of a task (AgentTTS, 2025)."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims import strategy_world as world
from claims.row import Row, difference, interval, signed
from ttc import search, strategies, verifiers
from ttc.tasks import answer_world

SAMPLES = np.array([1, 2, 4, 8, 16, 32])
PRICES = np.array([1, 3, 9])  # of a sample of each model
EDGES = {
  # Retrieval is easy for all; a verifier that can be fooled picks one.
  'retrieve': (0.8, 1.0, 1.2),
  # Reasoning is not; samples vote.
  'reason': (-0.5, 0.5, 2.0),
}
LOST = 0.3  # of the reasoning accuracy is left without what is retrieved
BUDGET = 48
NUM_DEV, NUM_TEST = 256, 256  # problems of a run
NUM_EVALUATIONS = 40
# Each has its own problems: guided search hardly depends on its seed.
NUM_RUNS = 8  # of a seed
NUM_ANSWERS = 6
COSTS = np.stack([np.outer(PRICES, SAMPLES)] * 2).astype(float)
TOTAL = strategies.allocation_costs(COSTS)
SEARCHES = {
  'random': strategies.random_order,
  'grid': strategies.grid,
  'Bayesian': strategies.bayesian(num_initial=8),
  'guided': strategies.guided(COSTS, BUDGET),
}


def reproduce(num_seeds: int) -> Row:
  """Guided search of 324 allocations against searches that know no stages."""
  lost = {name: [] for name in SEARCHES}
  needed = {name: [] for name in SEARCHES}
  mixed = {'Bayesian': [], 'guided': []}
  found, one_model, optima, cost = [], [], [], []
  for seed in range(NUM_RUNS * num_seeds):
    right = jax.device_get(pipeline(seed))  # [M, K, M, K, B]
    dev = strategies.within_budget(
      right[..., :NUM_DEV].mean(axis=-1), TOTAL, BUDGET
    )
    test = right[..., NUM_DEV:]
    points = {}
    for name, propose in SEARCHES.items():
      regret, points[name], evaluations = world.regrets(
        propose, dev, NUM_EVALUATIONS, [seed], too_dear
      )
      lost[name].append(regret)
      needed[name].append(np.minimum(evaluations, NUM_EVALUATIONS + 1))
      if name in mixed:  # a value of any allocation of the same kind
        shuffled = np.array(dev)
        within = dev >= 0
        shuffled[within] = world.shuffled(dev[within], seed)
        mixed[name].append(
          world.regrets(propose, shuffled, NUM_EVALUATIONS, [seed], too_dear)[2]
        )
    (chosen,) = points['guided']
    found.append(test[tuple(chosen)])
    cost.append(TOTAL[tuple(chosen)])
    same = np.array(dev)
    models = np.indices(dev.shape)[[0, 2]]
    same[models[0] != models[1]] = -1.0
    one_model.append(test[np.unravel_index(np.argmax(same), same.shape)])
    best = np.unravel_index(np.argmax(dev), dev.shape)
    optima.append(tuple(int(i) for i in best))
  lost = {name: np.concatenate(x) for name, x in lost.items()}
  needed = {name: np.concatenate(x) for name, x in needed.items()}
  world.save_regrets('agent_tts', {'allocations': lost})
  as_share = lambda gap: (
    f'{gap.mean:+.1f} [{gap.mean - 1.96 * gap.standard_error:+.1f}, '
    f'{gap.mean + 1.96 * gap.standard_error:+.1f}]'
  )
  gaps = {
    name: difference(needed['guided'], x)
    for name, x in needed.items()
    if name != 'guided'
  }
  limited = lambda runs: np.minimum(np.concatenate(runs), NUM_EVALUATIONS + 1)
  control = difference(limited(mixed['guided']), limited(mixed['Bayesian']))
  found, one_model = np.concatenate(found), np.concatenate(one_model)
  gain = difference(found, one_model)
  counts = collections.Counter(
    ', '.join(
      f'{stage} model {best[2 * s] + 1} x {SAMPLES[best[2 * s + 1]]}'
      for s, stage in enumerate(EDGES)
    )
    for best in optima
  )
  words = '; '.join(f'{text} ({n})' for text, n in counts.most_common(3))
  return Row(
    f'agent_tts (two stages, three models, {TOTAL.size} allocations, budget '
    f'{BUDGET})',
    'the stages have different best models, and guided search reaches 95% of '
    'the optimum in fewer evaluations than random, grid and Bayesian search',
    f'most frequent optima of {len(optima)} runs: {words}; mean evaluations to '
    f'95% of the optimum (at most {NUM_EVALUATIONS + 1}): '
    + ', '.join(f'{name} {x.mean():.1f}' for name, x in needed.items())
    + '; guided against '
    + ', '.join(f'{name} {as_share(gap)}' for name, gap in gaps.items())
    + f'; unseen problems {interval(found)} for {np.mean(cost):.0f}, best '
    f'allocation of one model {interval(one_model)}, {signed(gain)}',
    'values shuffled over the allocations within the budget: guided against '
    f'Bayesian {as_share(control)} evaluations',
    bool(
      all(best[0] != best[2] for best in optima)
      and all(gap.mean < -1.96 * gap.standard_error for gap in gaps.values())
      and control.mean > -1.96 * control.standard_error
    ),
  )


def too_dear(point):
  """Costs are known beforehand: no search spends an evaluation on these."""
  return TOTAL[point] > BUDGET


@jax.jit
def pipeline(seed):
  """Chance to be right, `[M, K, M, K, B]`, of every allocation."""
  keys = jax.random.split(
    jax.random.fold_in(jax.random.key(4000), seed), NUM_DEV + NUM_TEST
  )
  first = jax.vmap(functools.partial(stage, 'retrieve'))(keys)
  second = jax.vmap(functools.partial(stage, 'reason'))(keys)
  share = jnp.where(first, 1.0, LOST)[:, :, :, None, None]
  return jnp.moveaxis(share * second[:, None, None], 0, -1)


def stage(name, key):
  """Whether each model with each number of samples is right, `[M, K]`."""
  keys = jax.random.split(jax.random.fold_in(key, list(EDGES).index(name)), 3)
  select = {'retrieve': search.select_best, 'reason': search.majority_vote}
  answers = jax.vmap(select[name], in_axes=(None, 0))
  rows = []
  for model, edge in enumerate(EDGES[name]):
    # One key for the problem: models differ by their edge alone.
    problem = answer_world.random_world(keys[0], NUM_ANSWERS, 4, edge=edge)
    draw_key = jax.random.fold_in(keys[1], model)
    paths = answer_world.draw_paths(draw_key, problem, int(SAMPLES[-1]))
    samples = answer_world.observe_paths(problem, paths)
    if name == 'retrieve':
      right = (samples.answers == 0).astype(jnp.float32)
      judge_key = jax.random.fold_in(keys[2], model)
      samples = samples._replace(
        scores=verifiers.add_noise(judge_key, 3.0 * right, 1.0)
      )
    rows.append(answers(samples, jnp.asarray(SAMPLES)).answer == 0)
  return jnp.stack(rows)
