"""AgentTTS: which model and how many samples for each stage of a task.

"AgentTTS: large language model agent for test-time compute-optimal scaling
strategy in complex tasks", 2508.00890. A task is a chain of stages; each has
its own model and number of samples, and the sum of what they cost must not
exceed a budget. The paper's agent searches by three observations:

1. every stage has a model that suits it;
2. accuracy rises with the samples of a stage and then saturates or falls;
3. what is spent on one stage moves the optimum of the others.

Here they are rules, not prompts, and no language model proposes anything.
`guided` first tries every model on every stage at the same cost (1), and takes
the one that returns most; then it moves from the best allocation to its
neighbours: more or fewer samples (2), and a change of one stage that another
pays for (3). It is a search as those of `ttc.strategies.parameter_search`:
costs `E` evaluations, the first about `S M`. Axes: `S` stages, `M` models, `K`
numbers of samples.
"""

import functools
import itertools

import numpy as np
from jaxtyping import Float

from ttc.strategies.parameter_search import Point, Proposals, ProposeFn


def allocation_costs(
  stage_costs: Float[np.ndarray, 'S M K'],
) -> Float[np.ndarray, '...']:
  """Cost of every allocation.

  Args:
    stage_costs: of each stage with each model and number of samples.

  Returns:
    An array with the axes `M K M K ...` of the stages in their order, which is
    the space that the searches move in.
  """
  num_stages = len(stage_costs)
  total = np.zeros((1,) * (2 * num_stages))
  for stage, costs in enumerate(stage_costs):
    shape = np.ones(2 * num_stages, int)
    shape[2 * stage : 2 * stage + 2] = costs.shape
    total = total + costs.reshape(shape)
  return total


def guided(stage_costs: Float[np.ndarray, 'S M K'], budget: float) -> ProposeFn:
  """The search by the three observations; proposes nothing beyond the budget.

  Args:
    stage_costs: of each stage with each model and number of samples, which must
      rise with the samples.
    budget: most that an allocation may cost.

  Returns:
    A search over points `(model, samples, model, samples, ...)` of indices.

  Raises:
    ValueError: if costs do not rise with the samples, or no allocation is
      within the budget.
  """
  if np.any(np.diff(stage_costs, axis=2) <= 0):
    raise ValueError('costs must rise with the samples')
  cheapest = stage_costs.min(axis=(1, 2)).sum()
  if cheapest > budget:
    raise ValueError(f'the cheapest allocation costs {cheapest}, over {budget}')
  cost = functools.partial(_cost, stage_costs)

  def propose(sizes: tuple[int, ...], rng: np.random.Generator) -> Proposals:
    del sizes
    values: dict[Point, float] = {}
    base = tuple(
      int(i)
      for costs in stage_costs
      for i in np.unravel_index(np.argmin(costs), costs.shape)
    )
    values[base] = yield base
    # Each model of a stage with all that the others leave, then the best of
    # each together, with samples dropped where they cost most.
    best = list(base)
    for stage in range(len(stage_costs)):
      tried = {}
      for model in rng.permutation(stage_costs.shape[1]):
        point = _affordable(stage_costs, budget, base, stage, int(model))
        if point is not None:
          values[point] = tried[point] = yield point
      chosen = max(tried, key=tried.__getitem__)
      best[2 * stage : 2 * stage + 2] = chosen[2 * stage : 2 * stage + 2]
    start = _within(stage_costs, budget, tuple(best))
    if start is None:
      start = max(values, key=values.__getitem__)
    values[start] = yield start
    finished: set[Point] = set()
    while len(finished) < len(values):
      # The best whose neighbours have not all been seen.
      centre = max(
        (p for p in values if p not in finished), key=values.__getitem__
      )
      near = dict.fromkeys(_neighbours(stage_costs, centre))
      for point in near:
        if point in values or cost(point) > budget + 1e-9:
          continue
        values[point] = yield point
        if values[point] > values[centre]:
          break
      else:
        finished.add(centre)

  return propose


def _cost(stage_costs, point: Point) -> float:
  pairs = np.reshape(point, (len(stage_costs), 2))
  return sum(stage_costs[s, m, k] for s, (m, k) in enumerate(pairs))


def _affordable(
  stage_costs, budget: float, point: Point, stage: int, model: int
) -> Point | None:
  """With this model and the samples that are paid for at that stage."""
  rest = _cost(stage_costs, _replaced(point, stage, point[2 * stage], 0))
  rest -= stage_costs[stage, point[2 * stage], 0]
  within = np.flatnonzero(stage_costs[stage, model] <= budget - rest + 1e-9)
  if not within.size:
    return None
  return _replaced(point, stage, model, int(within[-1]))


def _within(stage_costs, budget: float, point: Point) -> Point | None:
  """Samples dropped where they cost most; None if one each is too dear."""
  best = [int(i) for i in point]
  while _cost(stage_costs, tuple(best)) > budget + 1e-9:
    spent = [
      stage_costs[s, best[2 * s], best[2 * s + 1]] if best[2 * s + 1] else 0.0
      for s in range(len(stage_costs))
    ]
    if not any(spent):
      return None
    best[2 * int(np.argmax(spent)) + 1] -= 1
  return tuple(best)


def _neighbours(stage_costs, point: Point) -> list[Point]:
  """One stage more or less, and one more with another less."""
  num_stages, num_models, num_samples = stage_costs.shape
  steps = {stage: [] for stage in range(num_stages)}
  for stage in range(num_stages):
    model, samples = point[2 * stage : 2 * stage + 2]
    for other in (samples + 1, samples - 1):
      if 0 <= other < num_samples:
        steps[stage].append((model, other))
    for other in range(num_models):
      if other != model:  # the samples that cost about the same
        gap = stage_costs[stage, other] - stage_costs[stage, model, samples]
        steps[stage].append((other, int(np.argmin(np.abs(gap)))))
  single = [
    _replaced(point, stage, *step) for stage in steps for step in steps[stage]
  ]
  double = [
    _replaced(_replaced(point, a, *step), b, *other)
    for a, b in itertools.combinations(range(num_stages), 2)
    for step, other in itertools.product(steps[a], steps[b])
  ]
  return [*single, *double]


def _replaced(point: Point, stage: int, model: int, samples: int) -> Point:
  at = 2 * stage
  return (*point[:at], model, samples, *point[at + 2 :])
