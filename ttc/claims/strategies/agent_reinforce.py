"""Graphs of agents found by policy gradient (Agent-REINFORCE, 2025)."""

import jax
import jax.numpy as jnp
import numpy as np

from ttc import strategies
from ttc.claims.claim import Claim, compares, difference, interval, signed, text
from ttc.testbeds.agent_graphs import MODELS, NODES, describe, evaluate
from ttc.testbeds.architectures import save_regrets

BUDGET, EXCESS = 7.0, 0.1  # work of a graph; utility lost per unit beyond it
LAMBDAS = {'accuracy': 0.0, 'accuracy and latency': 0.06}  # per unit of delay
NUM_DEV, NUM_TEST = 256, 512  # problems of a seed
NUM_STEPS, NUM_GRAPHS, BATCH = 48, 8, 16  # problems of an evaluation
NUM_RUNS = 24  # of a seed
KINDS = '', ', shuffled'  # of outcomes


def measure(seed, size, cache):
  """REINFORCE and random search over all graphs, and the exact optimum."""
  del cache
  num_dev, num_test = size.problems(NUM_DEV), size.problems(NUM_TEST)
  graphs = strategies.enumerate_graphs(NODES, MODELS)
  right, cost, delay = jax.device_get(
    evaluate(seed, graphs, num_dev + num_test)
  )
  over = EXCESS * np.maximum(cost - BUDGET, 0.0)
  dev, test = right[:, :num_dev], right[:, num_dev:]
  order = np.random.default_rng(seed).permutation(len(right))
  data = {'regret': {}, 'right': {}, 'unseen': {}, 'optima': {}}
  for name, weight in LAMBDAS.items():
    penalty = over + weight * delay
    best = int(np.argmax(dev.mean(axis=1) - penalty))
    for kind, rows in zip(KINDS, (np.arange(len(right)), order), strict=True):
      exact = dev[rows].mean(axis=1) - penalty[rows]
      found = np.asarray(climb(seed, dev[rows], penalty[rows]))
      drawn = draw(seed, dev[rows], penalty[rows])
      data['regret'][name + kind] = {
        'random': exact.max() - exact[drawn],
        'REINFORCE': exact.max() - exact[found],
      }
      if not kind:
        value = test.mean(axis=1) - penalty
        last = found[:, -1]
        data['right'][name] = test[last].mean(axis=0)
        data['unseen'][name] = np.array([[value[last].mean(), value[best]]])
        data['optima'][name] = np.array([describe(graphs, best)])
        if name == 'accuracy':
          data['work'] = cost[last]
  of_nodes = np.asarray(graphs.models)
  alone = np.all(of_nodes == of_nodes[:, :1], axis=1) & (cost <= BUDGET)
  single = np.argmax(np.where(alone, dev.mean(axis=1), -1.0))
  data['right']['one model'] = test[single]
  return data


@jax.jit
def climb(seed, right, penalty):
  """The most likely graph after each evaluation, `[runs, E]`."""
  place = lambda graph: strategies.graph_index(graph, MODELS)

  def utility(key, graph):
    index = place(graph)
    problems = jax.random.randint(key, (BATCH,), 0, right.shape[1])
    return jnp.mean(right[index, problems]) - penalty[index]

  def train(key):
    law = strategies.uniform_law(NODES, MODELS)
    trained = strategies.reinforce(key, law, utility, NUM_STEPS, NUM_GRAPHS)
    modes = jax.vmap(lambda law: place(strategies.mode(law)))(trained.laws)
    # Until the first update, that of the uniform law.
    before = jnp.concatenate([place(strategies.mode(law))[None], modes[:-1]])
    by_step = jnp.repeat(before, NUM_GRAPHS).reshape(NUM_STEPS, NUM_GRAPHS)
    return by_step.at[:, -1].set(modes).ravel()

  key = jax.random.fold_in(jax.random.key(2001), seed)
  return jax.vmap(train)(jax.random.split(key, NUM_RUNS))


def draw(seed, right, penalty):
  """What random search would return after each evaluation, `[runs, E]`."""
  returned = []
  for run in range(NUM_RUNS):
    rng = np.random.default_rng([seed, run])
    indices = rng.choice(len(right), NUM_STEPS * NUM_GRAPHS, replace=False)
    problems = rng.integers(right.shape[1], size=(len(indices), BATCH))
    seen = right[indices[:, None], problems].mean(axis=1) - penalty[indices]
    history = strategies.History(indices[:, None], seen)
    returned.append(strategies.incumbents(history, len(indices))[:, 0])
  return np.stack(returned)


def end(data, name, search):
  """Regret after the last evaluation."""
  return data['regret'][name][search][:, -1]


def closer(name):
  """A check: REINFORCE ends nearer to the optimum than random search."""
  return compares(
    f'{name}: REINFORCE to random ',
    lambda d: end(d, name, 'REINFORCE'),
    lambda d: end(d, name, 'random'),
    lambda gap: gap.mean < -1.96 * gap.standard_error,
  )


def no_closer(name):
  """A check: without structure REINFORCE does not."""
  return compares(
    f'outcomes shuffled over the graphs, {name}: REINFORCE to random ',
    lambda d: end(d, f'{name}, shuffled', 'REINFORCE'),
    lambda d: end(d, f'{name}, shuffled', 'random'),
    lambda gap: gap.mean > -1.96 * gap.standard_error,
  )


def regrets(data):
  """Of both searches, and what the optimum is."""
  cells = []
  for name in LAMBDAS:
    found, best = 100 * np.mean(data['unseen'][name], axis=0)
    cells.append(
      f'{name}: regret REINFORCE {interval(end(data, name, "REINFORCE"))}, '
      f'random {interval(end(data, name, "random"))}; utility on unseen '
      f'problems {found:.1f}, of the exact optimum {best:.1f}, which is '
      f'{data["optima"][name][-1]}'
    )
  return '; '.join(cells)


def unseen(data):
  """The found graphs and the best of one model."""
  right, work = data['right'], data['work']
  gain = difference(right['accuracy'], right['one model'])
  return (
    f'accuracy on unseen problems {interval(right["accuracy"])} for work '
    f'{np.mean(work):.1f} ({100 * np.mean(work > BUDGET):.0f}% of the runs '
    'beyond the budget), best graph of one model '
    f'{interval(right["one model"])}, {signed(gain)}'
  )


def gains(data):
  """Beyond 1.96 standard errors."""
  gain = difference(data['right']['accuracy'], data['right']['one model'])
  return gain.mean > 1.96 * gain.standard_error


def draw_picture(data, path):
  """Regret against evaluations."""
  save_regrets(path, data['regret'])


CLAIM = Claim(
  'agent_reinforce (4 nodes, a small and a large model, 16384 graphs, work '
  f'{BUDGET:g}, {BATCH} problems per evaluation)',
  '2511.00086',
  f'after {NUM_STEPS * NUM_GRAPHS} evaluations REINFORCE is closer to the '
  'exact optimum than random search under both objectives, whose optima '
  'differ; its graph beats the best of one model on unseen problems',
  measure,
  checks=[
    text(
      regrets,
      lambda d: len({x[-1] for x in d['optima'].values()}) == len(LAMBDAS),
    ),
    *map(closer, LAMBDAS),
    text(unseen, gains),
  ],
  controls=[*map(no_closer, LAMBDAS)],
  draw=draw_picture,
)
