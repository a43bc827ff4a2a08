"""What methods reached on a set of problems, and the picture of it.

Shared by `evaluate`, whose problems are items of text tasks, and `compare`,
whose problems are those of testbeds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from ttc import evaluation, io, search
from ttc.drivers.evaluate_options import VERIFIERS, Choice, EvaluateOptions
from ttc.evaluation import (
  Curve,
  Outcomes,
  SampleRecord,
  ScoreRecord,
  SearchRecord,
)
from ttc.evaluation.equal_cost import Cost
from ttc.io import files
from ttc.types import AnyArray, Samples


def compiled(
  method: search.Method,
  setting_fn: Callable[[Any, Any], search.Setting],
  num_samples: int,
  *,
  with_leaves: bool = False,
) -> Callable:
  """A method at a budget: `(params, problems, keys, prompt) -> Selection`.

  Args:
    method: to run.
    setting_fn: `(params, problems) -> Setting`; pure.
    num_samples: the budget, in whole responses.
    with_leaves: also return what was written on the way.

  Returns:
    The compiled function.
  """

  @jax.jit
  def run(params, problems, keys, prompt):
    return search.solve(
      method,
      setting_fn(params, problems),
      keys,
      prompt,
      num_samples,
      with_leaves=with_leaves,
    )

  return run


def curve_of(
  seed: int,
  method: search.Method,
  samples: Samples,
  gold: Int[np.ndarray, ' items'] | Bool[np.ndarray, 'items A'],
  budgets: Sequence[int],
  num_permutations: int,
) -> Curve:
  """A method that chooses, over random orders of a pool of samples."""
  curve = jax.jit(evaluation.scaling_curve, static_argnums=(1, 5))
  return curve(
    jax.random.key(seed),
    method.select,
    jax.tree.map(jnp.asarray, samples),
    jnp.asarray(gold),
    jnp.asarray(budgets),
    num_permutations,
  )


def selected_outcomes(
  chosen: EvaluateOptions,
  samples: Sequence[SampleRecord],
  grades: Sequence[ScoreRecord],
  choice: Choice,
) -> Outcomes:
  """What a method that chooses among samples reached, item by item."""
  is_model = choice.verifier not in VERIFIERS
  table = evaluation.tabulate(
    samples, grades, choice.verifier if is_model else None
  )
  told = table.samples
  if choice.verifier == 'log_prob' and choice.method.adds_scores:
    told = told._replace(scores=np.exp(told.scores))
  if choice.verifier == 'exact':
    told = told._replace(scores=table.correct.astype(np.float32))
  curve = curve_of(
    chosen.seed,
    choice.method,
    told,
    table.gold,
    chosen.budgets,
    chosen.num_permutations,
  )
  accuracy, tokens, depth = (np.asarray(x, np.float64).T for x in curve)
  asked = np.array(chosen.budgets, np.float64)[:, None] * choice.asks
  calls = np.broadcast_to(asked, accuracy.shape)
  per_token = table.flops.sum(1) / table.samples.lengths.sum(1)
  per_call: np.ndarray | float = 0.0
  if is_model:
    flops = {r.item_id: (r.meta or {})['flops_per_call'] for r in samples}
    per_call = np.array([flops[i][choice.verifier] for i in table.item_ids])
  return Outcomes(
    list(chosen.budgets),
    accuracy,
    tokens,
    depth,
    calls,
    flops=tokens * per_token + calls * per_call,
  )


def searched_outcomes(
  chosen: EvaluateOptions, searches: Sequence[SearchRecord], choice: Choice
) -> Outcomes:
  """What a method that steered decoding reached, item by item."""
  found = {r.key: r for r in searches if r.method == choice.name}
  items = sorted({r.item_id for r in found.values()})
  table = [
    [found[item, choice.name, n] for item in items] for n in chosen.budgets
  ]
  read = lambda get: np.array([[get(r) for r in row] for row in table], float)
  return Outcomes(
    list(chosen.budgets),
    accuracy=read(lambda r: r.score >= 1),
    tokens=read(lambda r: r.tokens),
    depth=read(lambda r: r.depth),
    verifier_calls=read(lambda r: r.verifier_calls),
    flops=read(lambda r: r.flops_est + r.verifier_flops_est),
  )


def save_picture(
  path: files.Path,
  outcomes: Mapping[str, Mapping[str, Outcomes]],
  intervals: Callable[[Outcomes], tuple[AnyArray, AnyArray, AnyArray]],
  problem: str,
) -> None:
  """Accuracy against generated tokens and against FLOPs.

  Args:
    path: of the PNG file.
    outcomes: by method, by task or bed.
    intervals: accuracy at each budget, with its ends.
    problem: what costs are counted for, in one word.
  """
  panels = {}
  axes: dict[Cost, str] = {
    'tokens': f'generated tokens per {problem}',
    'flops': f'FLOPs per {problem}, verifier included',
  }
  for cost, label in axes.items():
    panels[label] = {
      name: {
        title: io.PlotCurve(found.mean(cost), *intervals(found))
        for title, found in by_method.items()
      }
      for name, by_method in outcomes.items()
    }
  io.save_scaling_figure(path, panels)
