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
_BUDGETS = (16, 32, 64)
_TRIALS = (1, 2, 4, 8)
_LENGTHS = (4, 8, NUM_HOPS)
_BLOCK_SIZE = 4
_INTENSITY = scaling.HARDWARE['b200_fp8'].intensity


def reproduce(num_seeds: int) -> Row:
  """Dense attention wants other models for its money than sparse attention."""
  configs = list(itertools.product(SIZES, (None, *_BUDGETS), _TRIALS, _LENGTHS))
  costs, flops, accuracies = (
    np.concatenate(x)
    for x in zip(*(measure(s, configs) for s in range(num_seeds)), strict=True)
  )
  dense = np.array([budget is None for _, budget, _, _ in configs])
  small = np.array([size == next(iter(SIZES)) for size, *_ in configs])
  limits = np.geomspace(costs.min(), costs.max(), 49)
  curves = {
    'dense': frontier.frontier(costs[:, dense], accuracies[:, dense], limits),
    'sparse': frontier.frontier(
      costs[:, ~dense], accuracies[:, ~dense], limits
    ),
  }
  target = 0.9 * curves['dense'].accuracy.mean(axis=0).max()
  price = {k: price_of(c.accuracy, limits, target) for k, c in curves.items()}
  ratios = resampled_ratios(curves, limits, target)
  low, high = np.quantile(ratios, [0.025, 0.975])
  chosen = {
    'dense': share_chosen(curves['dense'], small[dense], target),
    'sparse': share_chosen(curves['sparse'], small[~dense], target),
  }
  limits = np.geomspace(flops.min(), flops.max(), 49)
  by_flops = frontier.frontier(flops[:, dense], accuracies[:, dense], limits)
  alone = share_chosen(by_flops, small[dense], target)
  best = {k: 100 * c.accuracy[:, -1].mean() for k, c in curves.items()}
  return Row(
    'kinetics_frontier (3 sizes on associative_recall, N, length, KV budget)',
    'sparse attention buys the same accuracy for fewer eFLOPs, and the '
    'smallest model is chosen more often than under dense attention',
    f'90% of the best dense accuracy costs {price["dense"]:.2g} eFLOPs dense, '
    f'{price["sparse"]:.2g} sparse, {price["dense"] / price["sparse"]:.2f} '
    f'[{low:.2f}, {high:.2f}] times less; best accuracy {best["dense"]:.0f} '
    f'dense, {best["sparse"]:.0f} sparse; up to that price the smallest model '
    f'is chosen for {100 * chosen["sparse"]:.0f}% of the tasks, dense '
    f'{100 * chosen["dense"]:.0f}%',
    f'by the FLOPs of the parameters alone {100 * alone:.0f}%',
    bool(low > 1 and chosen['sparse'] > chosen['dense']),
  )


def price_of(accuracy, limits, target):
  """The least cost at which the mean accuracy reaches the target."""
  reached = accuracy.mean(axis=0) >= target
  return limits[np.argmax(reached)] if reached.any() else np.inf


def resampled_ratios(curves, limits, target, num_resamples=500):
  """Dense price over sparse price, over bootstrap resamples of the tasks."""
  rng = np.random.default_rng(0)
  num_tasks = len(curves['dense'].accuracy)
  rows = rng.integers(0, num_tasks, (num_resamples, num_tasks))
  price = {
    k: np.array([price_of(c.accuracy[r], limits, target) for r in rows])
    for k, c in curves.items()
  }
  return price['dense'] / price['sparse']


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
  for size, budget in itertools.product(SIZES, (None, *_BUDGETS)):
    attention = None
    if budget is not None:
      attention = with_budget(block_topk.mean_pool, _BLOCK_SIZE, budget)
    task, problems, responses = respond(
      size, seed, attention, num_samples=max(_TRIALS), temperature=1.0
    )
    reward = jax.vmap(jax.vmap(task.process_rewards, (None, 0, 0)))
    rewards = reward(problems, responses.tokens, responses.lengths)
    right[size, budget] = np.cumprod(rewards, axis=2)
  shapes = {
    size: scaling.model_shape(
      config_of(size), models.num_params(trained(size, seed))
    )._replace(bytes_per_element=2)
    for size in SIZES
  }
  columns = [[], [], []]
  for size, budget, trials, limit in configs:
    tasks = np.arange(len(right[size, budget]))
    hops = 1 + tasks % NUM_HOPS
    done = right[size, budget][tasks, :, hops - 1] * (hops <= limit)[:, None]
    cost_fn = scaling.dense_cost
    if budget is not None:
      cost_fn = functools.partial(
        scaling.sparse_cost,
        budget=budget + _BLOCK_SIZE,
        block_size=_BLOCK_SIZE,
      )
    spent = np.minimum(hops, limit)
    cost = cost_fn(shapes[size], _PROMPT, spent, num_trials=trials)
    columns[0].append(scaling.eflops(cost, _INTENSITY))
    columns[1].append(cost.param_flops)
    counts = np.full(len(tasks), max(_TRIALS)), done.sum(axis=1).astype(int)
    columns[2].append(frontier.pass_at_trials(*counts, [trials])[:, 0])
  return [np.stack(column, axis=1) for column in columns]
