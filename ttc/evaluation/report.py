"""Summaries of scaling curves, and the report that people read."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from ttc.evaluation.bootstrap import bootstrap, percentile_interval
from ttc.evaluation.curves import Curve
from ttc.evaluation.tables import markdown_table


class CurveSummary(NamedTuple):
  """A method on a task: means over items at each budget, with 95% intervals."""

  accuracy: Float[np.ndarray, ' budgets']
  low: Float[np.ndarray, ' budgets']
  high: Float[np.ndarray, ' budgets']
  tokens: Float[np.ndarray, ' budgets']  # generated per item, in total
  depth: Float[np.ndarray, ' budgets']  # generated one after another
  flops: Float[np.ndarray, ' budgets']  # of those tokens


class TaskSummary(NamedTuple):
  """All methods on a task, and what the samples were like."""

  curves: dict[str, CurveSummary]
  num_items: int
  num_samples: int
  prompt_tokens: float  # mean
  finish_rates: dict[str, float]  # share of samples by finish reason


def summarize_curve(
  key: PRNGKeyArray,
  curve: Curve,
  flops_per_token: Float[np.ndarray, ' items'],
  num_resamples: int = 10_000,
) -> CurveSummary:
  """Means over items, with percentile bootstrap intervals for the accuracy.

  Args:
    key: of the bootstrap; the same key resamples the same items.
    curve: of every item.
    flops_per_token: of generated tokens, the mean of each item's samples. (Its
      product with a method's tokens is exact for methods that let all samples
      end, and off by the attention's share for those that cancel.)
    num_resamples: of the bootstrap.

  Returns:
    The summary.
  """
  replicates = bootstrap(key, curve.accuracy, num_resamples=num_resamples)
  interval = percentile_interval(replicates)
  mean = lambda x: np.mean(np.asarray(x, np.float64), axis=0)
  return CurveSummary(
    accuracy=mean(curve.accuracy),
    low=np.asarray(interval.low),
    high=np.asarray(interval.high),
    tokens=mean(curve.tokens),
    depth=mean(curve.depth),
    flops=mean(np.asarray(curve.tokens) * flops_per_token[:, None]),
  )


def scalars(summary: CurveSummary, i: int, prefix: str) -> dict[str, float]:
  """The numbers of budget `i`, for a metric writer."""
  at = jax.tree.map(lambda x: float(x[i]), summary)
  return {prefix + name: value for name, value in at._asdict().items()}


def markdown_report(
  title: str, budgets: Sequence[int], results: Mapping[str, TaskSummary]
) -> str:
  """Tables of accuracy and cost against the number of samples.

  Args:
    title: of the report.
    budgets: numbers of samples.
    results: by task.

  Returns:
    Markdown.
  """
  lines = [
    f'# {title}',
    '',
    'Accuracy in percent with 95% bootstrap intervals over items, at `n`',
    'samples. Tokens and FLOPs are generated per item, prompts not counted.',
  ]
  for task, result in results.items():
    rates = ', '.join(
      f'{reason} {100 * rate:.1f}%'
      for reason, rate in sorted(result.finish_rates.items())
    )
    lines += [
      '',
      f'## {task}',
      '',
      f'{result.num_items} items, {result.num_samples} samples each; prompts '
      f'of {result.prompt_tokens:.0f} tokens; samples ended by: {rates}.',
      '',
    ]
    rows = []
    for name, c in result.curves.items():
      cells = (
        f'{100 * a:.1f} [{100 * low:.1f}, {100 * high:.1f}]'
        for a, low, high in zip(c.accuracy, c.low, c.high, strict=True)
      )
      last = (f'{c.tokens[-1]:.0f}', f'{c.flops[-1] / 1e12:.3f}')
      rows.append([name, *cells, *last, f'{c.depth[-1]:.1f}'])
    head = ['method', *(f'n = {n}' for n in budgets), 'tokens', 'TFLOPs']
    lines += markdown_table([*head, 'depth'], rows, num_left=1)
    lines += ['', f'Tokens, TFLOPs and depth are those at n = {budgets[-1]}.']
  return '\n'.join(lines) + '\n'
