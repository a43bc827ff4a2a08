"""The frontier of a family of small models (Kinetics, arXiv 2506.05333)."""

import functools
import itertools

import jax
import numpy as np

from ttc import models, scaling
from ttc.claims.claim import Claim, text
from ttc.kernels import block_topk
from ttc.scaling import frontier
from ttc.testbeds.recall import (
  NUM_FILLERS,
  NUM_HOPS,
  NUM_NODES,
  SIZES,
  config_of,
  recaller,
  respond,
  with_budget,
)

_PROMPT = NUM_NODES + NUM_FILLERS + 2
_TRIALS = (1, 2, 4, 8)
_LENGTHS = (4, 8, NUM_HOPS)
_BLOCK_SIZE = 4
# Rule and budget; a summary of Quest is two keys, of block top-k one.
_ATTENTIONS = (
  ('dense', None),
  *itertools.product(('block top-k', 'Quest'), (32, 64)),
)
_RULES = {'block top-k': block_topk.mean_pool, 'Quest': block_topk.quest}
_SUMMARY_KEYS = {'block top-k': 1, 'Quest': 2}
_INTENSITY = scaling.HARDWARE['b200_fp8'].intensity
_NUM_LIMITS = 49
CONFIGS = list(itertools.product(SIZES, _ATTENTIONS, _TRIALS, _LENGTHS))
OF_RULE = np.array([rule for _, (rule, _), _, _ in CONFIGS])
IS_SMALL = np.array([size == next(iter(SIZES)) for size, *_ in CONFIGS])


def measure(seed, size, cache):
  """eFLOPs, FLOPs of the parameters, and pass@N, each `[tasks, configs]`.

  Task t asks for the node after `1 + t mod 12` hops, and decoding ends there or
  at the limit.
  """
  right = {}
  params = {name: recaller(name, seed, size, cache).params for name in SIZES}
  for name, (rule, budget) in itertools.product(SIZES, _ATTENTIONS):
    attention = None
    if budget is not None:
      attention = with_budget(_RULES[rule], _BLOCK_SIZE, budget)
    task, problems, responses = respond(
      name,
      params[name],
      seed,
      size,
      attention,
      num_samples=max(_TRIALS),
      temperature=1.0,
    )
    reward = jax.vmap(jax.vmap(task.process_rewards, (None, 0, 0)))
    rewards = reward(problems, responses.tokens, responses.lengths)
    right[name, rule, budget] = np.cumprod(rewards, axis=2)
  shapes = {
    name: scaling.model_shape(
      config_of(name), models.num_params(params[name])
    )._replace(bytes_per_element=2)
    for name in SIZES
  }
  columns = [[], [], []]
  for name, (rule, budget), trials, limit in CONFIGS:
    tasks = np.arange(len(right[name, rule, budget]))
    hops = 1 + tasks % NUM_HOPS
    done = (
      right[name, rule, budget][tasks, :, hops - 1] * (hops <= limit)[:, None]
    )
    cost_fn = scaling.dense_cost
    if budget is not None:
      cost_fn = functools.partial(
        scaling.sparse_cost,
        budget=budget + _BLOCK_SIZE,
        block_size=_BLOCK_SIZE / _SUMMARY_KEYS[rule],
      )
    spent = np.minimum(hops, limit)
    cost = cost_fn(shapes[name], _PROMPT, spent, num_trials=trials)
    columns[0].append(scaling.eflops(cost, _INTENSITY))
    columns[1].append(cost.param_flops)
    counts = (
      np.full(len(tasks), max(_TRIALS)),
      np.asarray(done.sum(axis=1), int),
    )
    columns[2].append(frontier.pass_at_trials(*counts, [trials])[:, 0])
  names = 'eflops', 'flops', 'accuracy'
  return {
    name: np.stack(column, axis=1)
    for name, column in zip(names, columns, strict=True)
  }


def price_of(accuracy, limits, target):
  """The least cost at which the mean accuracy reaches the target."""
  reached = accuracy.mean(axis=0) >= target
  return limits[np.argmax(reached)] if reached.any() else np.inf


def resampled_ratios(dense, sparse, limits, target, num_resamples=500):
  """Dense price over sparse price, over bootstrap resamples of the tasks."""
  rng = np.random.default_rng(0)
  num_tasks = len(dense.accuracy)
  rows = rng.integers(0, num_tasks, (num_resamples, num_tasks))
  prices = [
    np.array([price_of(curve.accuracy[r], limits, target) for r in rows])
    for curve in (dense, sparse)
  ]
  return prices[0] / prices[1]


def share_chosen(curve, small, target):
  """How often the smallest model is chosen, at limits below the target."""
  mean = curve.accuracy.mean(axis=0)
  choice = curve.choice[:, (mean > 0) & (mean < target)]
  return float(small[choice[choice >= 0]].mean())


def derive(data):
  """What 90% of the best dense accuracy costs, and who is chosen up to it."""
  costs, accuracy = data['eflops'], data['accuracy']
  limits = np.geomspace(costs.min(), costs.max(), _NUM_LIMITS)
  best = lambda prices, rule: frontier.frontier(
    prices[:, rule == OF_RULE],
    accuracy[:, rule == OF_RULE],
    np.geomspace(prices.min(), prices.max(), _NUM_LIMITS),
  )
  curves = {rule: best(costs, rule) for rule in ('dense', *_RULES)}
  dense = curves['dense']
  target = 0.9 * dense.accuracy.mean(axis=0).max()
  small = lambda curve, rule: share_chosen(
    curve, IS_SMALL[rule == OF_RULE], target
  )
  ratios = {
    rule: resampled_ratios(dense, curves[rule], limits, target)
    for rule in _RULES
  }
  return {
    'price': price_of(dense.accuracy, limits, target),
    'chosen': {rule: small(curve, rule) for rule, curve in curves.items()},
    'most': {rule: curves[rule].accuracy[:, -1].mean() for rule in _RULES},
    'cheaper': {
      rule: np.quantile(x, [0.025, 0.5, 0.975]) for rule, x in ratios.items()
    },
    'alone': small(best(data['flops'], 'dense'), 'dense'),
  }


def figure(data):
  """Prices, and how often the smallest model is chosen."""
  chosen = data['chosen']
  cells = [
    f'dense {data["price"]:.2g} eFLOPs, smallest model for '
    f'{100 * chosen["dense"]:.0f}% of the tasks up to there'
  ]
  for rule, (low, middle, high) in data['cheaper'].items():
    price = f'{middle:.2f} [{low:.2f}, {high:.2f}] times less'
    if middle == 0:
      price = 'not reached'
    cells.append(
      f'{rule} {price}, at most {100 * data["most"][rule]:.0f}, smallest model '
      f'{100 * chosen[rule]:.0f}%'
    )
  return '; '.join(cells)


CLAIM = Claim(
  'kinetics_frontier (3 sizes on associative_recall; N, length, KV budget)',
  '2506.05333',
  'block top-k buys 90% of the best dense accuracy for fewer eFLOPs, and the '
  'smallest model is chosen more often than under dense attention',
  measure,
  checks=[
    text(
      figure,
      lambda d: (
        d['cheaper']['block top-k'][0] > 1
        and d['chosen']['block top-k'] > d['chosen']['dense']
      ),
    )
  ],
  controls=[
    text(
      lambda d: (
        'by the FLOPs of the parameters alone the smallest model is chosen for '
        f'{100 * d["alone"]:.0f}%'
      )
    )
  ],
  derive=derive,
  because=(
    'the models learned with dense attention, and block top-k on them '
    'reaches 67% of the best at most; Quest, which bounds all keys, '
    'reaches 97% for 1.54 times fewer; a model that learned on with block '
    'top-k finds no more (sparse_recall), so nine such were not trained'
  ),
)
