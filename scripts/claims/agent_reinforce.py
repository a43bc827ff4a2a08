"""Graphs of agents found by policy gradient (Agent-REINFORCE, 2025)."""

import jax
import jax.numpy as jnp
import numpy as np

from claims import strategy_world as world
from claims.row import Row, difference, interval, signed
from ttc import strategies
from ttc.strategies import Calls

NODES, MODELS, NUM_ANSWERS = 4, 2, 6
PRICES, DELAYS = jnp.array([1.0, 4.0]), jnp.array([1.0, 2.0])
BUDGET, EXCESS = 7.0, 0.1  # work of a graph; utility lost per unit beyond it
LAMBDAS = {'accuracy': 0.0, 'accuracy and latency': 0.06}  # per unit of delay
NUM_DEV, NUM_TEST = 256, 512  # problems of a seed
NUM_STEPS, NUM_GRAPHS, BATCH = 48, 8, 16  # problems of an evaluation
NUM_RUNS = 24  # of a seed


def reproduce(num_seeds: int) -> Row:
  """REINFORCE over 16384 graphs against the exact optimum."""
  graphs = strategies.enumerate_graphs(NODES, MODELS)
  kinds = 'random', 'REINFORCE'
  lost = {
    name + kind: {search: [] for search in kinds}
    for name in LAMBDAS
    for kind in ('', ', shuffled')
  }
  outcome = {name: [] for name in (*LAMBDAS, 'one model')}
  unseen = {name: [] for name in LAMBDAS}
  optima, work = {}, []
  for seed in range(num_seeds):
    right, cost, delay = jax.device_get(evaluate(seed, graphs))
    over = EXCESS * np.maximum(cost - BUDGET, 0.0)
    dev, test = right[:, :NUM_DEV], right[:, NUM_DEV:]
    order = np.random.default_rng(seed).permutation(len(right))
    for name, weight in LAMBDAS.items():
      penalty = over + weight * delay
      best = int(np.argmax(dev.mean(axis=1) - penalty))
      optima[name] = describe(graphs, best)
      for kind, rows in (('', np.arange(len(right))), (', shuffled', order)):
        exact = dev[rows].mean(axis=1) - penalty[rows]
        found = np.asarray(climb(seed, dev[rows], penalty[rows]))
        drawn = draw(seed, dev[rows], penalty[rows])
        for search, indices in zip(kinds, (drawn, found), strict=True):
          lost[name + kind][search].append(exact.max() - exact[indices])
        if not kind:
          outcome[name].append(test[found[:, -1]].mean(axis=0))
          value = test.mean(axis=1) - penalty
          if name == 'accuracy':
            work.append(cost[found[:, -1]])
          unseen[name].append([value[found[:, -1]].mean(), value[best]])
    models = np.asarray(graphs.models)
    alone = np.all(models == models[:, :1], axis=1)
    alone &= cost <= BUDGET
    single = np.argmax(np.where(alone, dev.mean(axis=1), -1.0))
    outcome['one model'].append(test[single])
  lost = jax.tree.map(
    np.concatenate, lost, is_leaf=lambda x: isinstance(x, list)
  )
  outcome = {name: np.concatenate(x) for name, x in outcome.items()}
  world.save_regrets('agent_reinforce', lost)
  end = lambda name, search: lost[name][search][:, -1]
  gaps = {
    name: difference(end(name, 'REINFORCE'), end(name, 'random'))
    for name in lost
  }
  gain = difference(outcome['accuracy'], outcome['one model'])
  cells = []
  for name in LAMBDAS:
    found, best = 100 * np.mean(unseen[name], axis=0)
    cells.append(
      f'{name}: regret REINFORCE {interval(end(name, "REINFORCE"))}, random '
      f'{interval(end(name, "random"))}, {signed(gaps[name])}; utility on '
      f'unseen problems {found:.1f}, of the exact optimum {best:.1f}, which is '
      f'{optima[name]}'
    )
  beyond = lambda name: 1.96 * gaps[name].standard_error
  return Row(
    f'agent_reinforce (4 nodes, a small and a large model, {len(order)} '
    f'graphs, work {BUDGET:g}, {BATCH} problems per evaluation)',
    f'after {NUM_STEPS * NUM_GRAPHS} evaluations REINFORCE is closer to the '
    'exact optimum than random search under both objectives, whose optima '
    'differ; its graph beats the best of one model on unseen problems',
    '; '.join(cells)
    + f'; accuracy on unseen problems {interval(outcome["accuracy"])} for work '
    f'{np.mean(work):.1f} ({100 * np.mean(np.stack(work) > BUDGET):.0f}% of '
    f'the runs beyond the budget), best '
    f'graph of one model {interval(outcome["one model"])}, {signed(gain)}',
    'outcomes shuffled over the graphs: REINFORCE against random '
    + ', '.join(f'{signed(gaps[f"{name}, shuffled"])}' for name in LAMBDAS),
    bool(
      all(gaps[name].mean < -beyond(name) for name in LAMBDAS)
      and all(
        gaps[name].mean > -beyond(name) for name in lost if name not in LAMBDAS
      )
      and len(set(optima.values())) == len(LAMBDAS)
      and gain.mean > 1.96 * gain.standard_error
    ),
  )


@jax.jit
def evaluate(seed, graphs):
  """Correctness `[G, B]`, work and delay `[G]` of graphs."""
  keys = jax.random.split(
    jax.random.fold_in(jax.random.key(2000), seed), NUM_DEV + NUM_TEST
  )
  calls = jax.vmap(draw_calls)(keys)
  run = jax.vmap(strategies.run_graph, in_axes=(None, 0, None, None, None))

  def of_graph(graph):
    out = run(graph, calls, jnp.int32(0), PRICES, DELAYS)
    return out.answer == 0, out.work[0], out.latency[0]

  return jax.lax.map(of_graph, graphs, batch_size=64)


def draw_calls(key):
  """What a small and a large model would do on a problem of some difficulty.

  They share its difficulty and its popular wrong answers. The large model is
  the better writer by half a nat, and the better judge of what it reads.
  """
  keys = jax.random.split(key, 6)
  ease = 1.2 * jax.random.normal(keys[0])
  logits = jax.random.normal(keys[1], (NUM_ANSWERS,))
  edges = jnp.array([0.9, 1.4]) + ease
  laws = jnp.broadcast_to(logits, (MODELS, NUM_ANSWERS)).at[:, 0].set(edges)
  chance = lambda key, rates: jax.random.bernoulli(
    key, jnp.broadcast_to(jnp.array(rates), (NODES, MODELS))
  )
  return Calls(
    drafts=jax.random.categorical(keys[2], laws, shape=(NODES, MODELS)),
    accepts_right=chance(keys[3], [0.75, 0.95]),
    accepts_wrong=chance(keys[4], [0.6, 0.2]),
    follows=chance(keys[5], [0.85, 0.95]),
  )


@jax.jit
def climb(seed, right, penalty):
  """The most likely graph after each evaluation, `[runs, E]`."""
  place = lambda graph: strategies.graph_index(graph, MODELS)

  def utility(key, graph):
    index = place(graph)
    problems = jax.random.randint(key, (BATCH,), 0, NUM_DEV)
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
    problems = rng.integers(NUM_DEV, size=(len(indices), BATCH))
    seen = right[indices[:, None], problems].mean(axis=1) - penalty[indices]
    history = strategies.History(indices[:, None], seen)
    returned.append(strategies.incumbents(history, len(indices))[:, 0])
  return np.stack(returned)


def describe(graphs, index):
  """Each node's model, small or large, its role and its predecessors."""
  parts = []
  for i in range(NODES):
    reads = np.flatnonzero(graphs.edges[index, :i, i])
    name = 'SL'[int(graphs.models[index, i])]
    if reads.size:
      role = ('refines', 'fuses')[int(graphs.roles[index, i])]
      name += f' {role} {"+".join(str(j + 1) for j in reads)}'
    parts.append(f'{i + 1}: {name}')
  return ', '.join(parts)
