"""The frontier of a family of small models (Kinetics, arXiv 2506.05333)."""

import functools
import itertools

import jax
import numpy as np

from claims.recall_world import (
  NUM_FILLERS,
  NUM_HOPS,
  NUM_NODES,
  SIZES,
  config_of,
  respond,
  trained,
  with_budget,
)
from claims.row import Row
from ttc import models, scaling
from ttc.kernels import block_topk
from ttc.scaling import frontier

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


def reproduce(num_seeds: int) -> Row:
  """Dense attention wants other models for its money than sparse attention."""
  configs = list(itertools.product(SIZES, _ATTENTIONS, _TRIALS, _LENGTHS))
  costs, flops, accuracies = (
    np.concatenate(x)
    for x in zip(*(measure(s, configs) for s in range(num_seeds)), strict=True)
  )
  of_rule = np.array([rule for _, (rule, _), _, _ in configs])
  small = np.array([size == next(iter(SIZES)) for size, *_ in configs])
  limits = np.geomspace(costs.min(), costs.max(), _NUM_LIMITS)
  best = lambda prices, keep: frontier.frontier(
    prices[:, keep],
    accuracies[:, keep],
    np.geomspace(prices.min(), prices.max(), _NUM_LIMITS),
  )
  curves = {rule: best(costs, of_rule == rule) for rule in set(of_rule)}
  target = 0.9 * curves['dense'].accuracy.mean(axis=0).max()
  chosen = {
    rule: share_chosen(curve, small[of_rule == rule], target)
    for rule, curve in curves.items()
  }
  cells = [
    f'dense {price_of(curves["dense"].accuracy, limits, target):.2g} eFLOPs, '
    f'smallest model for {100 * chosen["dense"]:.0f}% of the tasks up to there'
  ]
  cheaper = {}
  for rule in _RULES:
    most = curves[rule].accuracy[:, -1].mean()
    ratios = resampled_ratios(curves['dense'], curves[rule], limits, target)
    cheaper[rule] = np.quantile(ratios, [0.025, 0.5, 0.975])
    low, middle, high = cheaper[rule]
    price = f'{middle:.2f} [{low:.2f}, {high:.2f}] times less'
    if middle == 0:
      price = 'not reached'
    cells.append(
      f'{rule} {price}, at most {100 * most:.0f}, smallest model '
      f'{100 * chosen[rule]:.0f}%'
    )
  by_flops = best(flops, of_rule == 'dense')
  alone = share_chosen(by_flops, small[of_rule == 'dense'], target)
  return Row(
    'kinetics_frontier (3 sizes on associative_recall; N, length, KV budget)',
    'block top-k buys 90% of the best dense accuracy for fewer eFLOPs, and the '
    'smallest model is chosen more often than under dense attention',
    '; '.join(cells),
    f'by the FLOPs of the parameters alone the smallest model is chosen for '
    f'{100 * alone:.0f}%',
    bool(
      cheaper['block top-k'][0] > 1 and chosen['block top-k'] > chosen['dense']
    ),
  )


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


def measure(seed, configs):
  """eFLOPs, FLOPs of the parameters, and pass@N, each `[tasks, configs]`.

  Task t asks for the node after `1 + t mod 12` hops, and decoding ends there or
  at the limit.
  """
  right = {}
  for size, (rule, budget) in itertools.product(SIZES, _ATTENTIONS):
    attention = None
    if budget is not None:
      attention = with_budget(_RULES[rule], _BLOCK_SIZE, budget)
    task, problems, responses = respond(
      size, seed, attention, num_samples=max(_TRIALS), temperature=1.0
    )
    reward = jax.vmap(jax.vmap(task.process_rewards, (None, 0, 0)))
    rewards = reward(problems, responses.tokens, responses.lengths)
    right[size, rule, budget] = np.cumprod(rewards, axis=2)
  shapes = {
    size: scaling.model_shape(
      config_of(size), models.num_params(trained(size, seed))
    )._replace(bytes_per_element=2)
    for size in SIZES
  }
  columns = [[], [], []]
  for size, (rule, budget), trials, limit in configs:
    tasks = np.arange(len(right[size, rule, budget]))
    hops = 1 + tasks % NUM_HOPS
    done = (
      right[size, rule, budget][tasks, :, hops - 1] * (hops <= limit)[:, None]
    )
    cost_fn = scaling.dense_cost
    if budget is not None:
      cost_fn = functools.partial(
        scaling.sparse_cost,
        budget=budget + _BLOCK_SIZE,
        block_size=_BLOCK_SIZE / _SUMMARY_KEYS[rule],
      )
    spent = np.minimum(hops, limit)
    cost = cost_fn(shapes[size], _PROMPT, spent, num_trials=trials)
    columns[0].append(scaling.eflops(cost, _INTENSITY))
    columns[1].append(cost.param_flops)
    counts = np.full(len(tasks), max(_TRIALS)), done.sum(axis=1).astype(int)
    columns[2].append(frontier.pass_at_trials(*counts, [trials])[:, 0])
  return [np.stack(column, axis=1) for column in columns]
