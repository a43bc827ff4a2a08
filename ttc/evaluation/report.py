"""Summaries of scaling curves, and the report that people read."""

import types
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from ttc.evaluation.bootstrap import bootstrap, percentile_interval
from ttc.evaluation.curves import Curve
from ttc.evaluation.equal_cost import Outcomes, equal_cost_table
from ttc.evaluation.tables import markdown_table


class CurveSummary(NamedTuple):
  """A method on a task: means over items at each budget, with 95% intervals."""

  accuracy: Float[np.ndarray, ' budgets']
  low: Float[np.ndarray, ' budgets']
  high: Float[np.ndarray, ' budgets']
  tokens: Float[np.ndarray, ' budgets']  # generated per item, in total
  depth: Float[np.ndarray, ' budgets']  # generated one after another
  flops: Float[np.ndarray, ' budgets']  # of those tokens and of the verifier
  verifier_calls: Float[np.ndarray, ' budgets']


class TaskSummary(NamedTuple):
  """All methods on a task, and what the samples were like."""

  curves: dict[str, CurveSummary]
  num_items: int
  num_samples: int  # shared by methods that choose; 0 if none was drawn
  prompt_tokens: float  # mean
  finish_rates: dict[str, float]  # share of samples by finish reason
  outcomes: Mapping[str, Outcomes] = types.MappingProxyType({})  # of each item


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
  tokens = np.asarray(curve.tokens, np.float64)
  nothing = np.zeros_like(tokens.T)
  outcomes = Outcomes(
    budgets=list(range(tokens.shape[1])),
    accuracy=np.asarray(curve.accuracy, np.float64).T,
    tokens=tokens.T,
    depth=np.asarray(curve.depth, np.float64).T,
    verifier_calls=nothing,
    flops=(tokens * flops_per_token[:, None]).T,
  )
  return summarize_outcomes(key, outcomes, num_resamples)


def summarize_outcomes(
  key: PRNGKeyArray, outcomes: Outcomes, num_resamples: int = 10_000
) -> CurveSummary:
  """Means over items, with percentile bootstrap intervals for the accuracy.

  Args:
    key: of the bootstrap; the same key resamples the same items.
    outcomes: of every item.
    num_resamples: of the bootstrap.

  Returns:
    The summary.
  """
  accuracy = jnp.asarray(outcomes.accuracy.T, jnp.float32)
  replicates = bootstrap(key, accuracy, num_resamples=num_resamples)
  interval = percentile_interval(replicates)
  mean = lambda x: x.mean(axis=1)
  return CurveSummary(
    accuracy=mean(outcomes.accuracy),
    low=np.asarray(interval.low),
    high=np.asarray(interval.high),
    tokens=mean(outcomes.tokens),
    depth=mean(outcomes.depth),
    flops=mean(outcomes.flops),
    verifier_calls=mean(outcomes.verifier_calls),
  )


def scalars(summary: CurveSummary, i: int, prefix: str) -> dict[str, float]:
  """The numbers of budget `i`, for a metric writer."""
  at = jax.tree.map(lambda x: float(x[i]), summary)
  return {prefix + name: value for name, value in at._asdict().items()}


def markdown_report(
  title: str,
  budgets: Sequence[int],
  results: Mapping[str, TaskSummary],
  baseline: str | None = None,
) -> str:
  """Tables of accuracy and cost against the number of samples.

  Args:
    title: of the report.
    budgets: numbers of samples.
    results: by task.
    baseline: the method that others are compared with at equal cost, where
      outcomes of each item are known; None for no comparison.

  Returns:
    Markdown.
  """
  lines = [
    f'# {title}',
    '',
    'Accuracy in percent with 95% bootstrap intervals over items, at `n`',
    'samples, or at a budget of `n` responses. Tokens and FLOPs are generated',
    "per item, a verifier's FLOPs included, prompts not counted.",
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
      f'of {result.prompt_tokens:.0f} tokens; samples ended by: '
      f'{rates or "none drawn"}.',
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
    if baseline is not None and baseline in result.outcomes:
      lines += [
        '',
        f'Against {baseline} at equal cost, in points with 95% intervals,',
        'paired by item:',
        '',
        *equal_cost_table(result.outcomes, baseline),
      ]
  return '\n'.join(lines) + '\n'
