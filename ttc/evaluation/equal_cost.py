r"""Methods compared at equal cost, problem by problem.

A method at a budget is right on some problems and spends tokens; another one
spends others. To compare them, the baseline's curve is read at the tokens that
the method spent: linearly in the logarithm of tokens between two budgets, for
each problem by itself, so that the difference stays paired.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ttc.evaluation.comparisons import PairedDifference, paired_difference
from ttc.evaluation.statistics import (
  confidence_interval,
  mean_and_standard_error,
)
from ttc.evaluation.tables import markdown_table

Cost: TypeAlias = Literal['tokens', 'flops']


class Outcomes(NamedTuple):
  """A method at several budgets, in ascending order; seeds averaged."""

  budgets: list[int]
  accuracy: Float[np.ndarray, 'budgets items']
  tokens: Float[np.ndarray, 'budgets items']  # generated in total
  depth: Float[np.ndarray, 'budgets items']  # generated one after another
  verifier_calls: Float[np.ndarray, 'budgets items']
  flops: Float[np.ndarray, 'budgets items']  # those of the verifier included

  def mean(self, cost: Cost) -> Float[np.ndarray, ' budgets']:
    """A cost, on average over problems."""
    return getattr(self, cost).mean(axis=1)

  @property
  def mean_tokens(self) -> Float[np.ndarray, ' budgets']:
    """Generated tokens, on average over problems."""
    return self.mean('tokens')

  @property
  def mean_flops(self) -> Float[np.ndarray, ' budgets']:
    """FLOPs, on average over problems."""
    return self.mean('flops')

  def accuracy_interval(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean accuracy with its 95% interval over problems, `[budgets]` each."""
    rows = [mean_and_standard_error(jnp.asarray(a)) for a in self.accuracy]
    ends = [confidence_interval(row) for row in rows]
    mean = np.array([float(row.mean) for row in rows])
    return mean, *np.array(ends, np.float64).T


def pool_outcomes(lines: Sequence[Mapping[str, Any]]) -> Outcomes:
  """One method's outcomes from records of several seeds and budgets.

  Args:
    lines: each with `budget`, `items` (names of problems), and for each item
      `right`, `tokens`, `depth`, `verifier_calls`; `flops_per_token` and
      `flops_per_call`. Problems of the same name are averaged over seeds.

  Returns:
    The outcomes.

  Raises:
    ValueError: if budgets were not measured on the same problems.
  """
  budgets = sorted({line['budget'] for line in lines})
  at = {n: [line for line in lines if line['budget'] == n] for n in budgets}
  names = {n: [i for line in at[n] for i in line['items']] for n in budgets}
  items = sorted(set(names[budgets[0]]))
  for n in budgets:
    if sorted(set(names[n])) != items:
      raise ValueError(f'budgets {budgets[0]} and {n} have different problems')
  place = {name: i for i, name in enumerate(items)}

  def mean(n, field):
    index = [place[name] for name in names[n]]
    values = [x for line in at[n] for x in line[field]]
    total = np.bincount(index, np.array(values, np.float64), len(items))
    return total / np.bincount(index, minlength=len(items))

  fields = ('right', 'tokens', 'depth', 'verifier_calls')
  accuracy, tokens, depth, calls = (
    np.stack([mean(n, field) for n in budgets]) for field in fields
  )
  per_token, per_call = lines[0]['flops_per_token'], lines[0]['flops_per_call']
  flops = per_token * tokens + per_call * calls
  return Outcomes(budgets, accuracy, tokens, depth, calls, flops)


def accuracy_at(
  outcomes: Outcomes, spent: float, cost: Cost = 'tokens'
) -> Float[np.ndarray, ' items']:
  """Accuracy on each problem at so much cost; beyond the ends, that there."""
  costs = np.log(outcomes.mean(cost))
  order = np.argsort(costs)
  at = lambda row: np.interp(np.log(spent), costs[order], row[order])
  return np.apply_along_axis(at, 0, outcomes.accuracy)


def against(
  outcomes: Outcomes, baseline: Outcomes, index: int, cost: Cost = 'tokens'
) -> PairedDifference:
  """A method at its budget `index` less the baseline at equal cost."""
  spent = float(outcomes.mean(cost)[index])
  return paired_difference(
    jnp.asarray(outcomes.accuracy[index], jnp.float32),
    jnp.asarray(accuracy_at(baseline, spent, cost), jnp.float32),
  )


def equal_cost_table(
  by_method: Mapping[str, Outcomes], baseline: str
) -> list[str]:
  """Each method at its largest budget beside the baseline at equal cost.

  Args:
    by_method: outcomes on the same problems.
    baseline: the method that others are compared with, one of them.

  Returns:
    Lines of Markdown.
  """
  rows = []
  for name, outcomes in by_method.items():
    cells = [
      f'{outcomes.budgets[-1]}',
      f'{100 * outcomes.accuracy[-1].mean():.1f}',
    ]
    for cost in get_args(Cost):
      gap = against(outcomes, by_method[baseline], -1, cost).difference
      low, high = confidence_interval(gap)
      cells += [f'{100 * gap.mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]']
    cells += [
      f'{outcomes.verifier_calls[-1].mean():.1f}',
      f'{outcomes.mean("tokens")[-1]:.0f}',
      f'{outcomes.mean("flops")[-1] / 1e9:.4g}',
    ]
    rows.append([name, *cells])
  head = ['method', 'n', 'accuracy', 'at equal tokens', 'at equal FLOPs']
  head += ['verifier calls', 'tokens', 'GFLOPs']
  return markdown_table(head, rows, num_left=1)


def comparison_report(
  results: Mapping[str, Mapping[str, Outcomes]], baseline: str
) -> str:
  """Tables of all methods, in Markdown.

  Args:
    results: by world, by title of the method.
    baseline: title of the method that others are compared with.

  Returns:
    Markdown: for each world accuracy at every budget, and at the largest one
    the cost and the difference to the baseline at equal tokens.
  """
  lines = [
    '# Methods at equal cost',
    '',
    'Accuracy in percent with 95% intervals over problems, by budget in',
    'responses; in brackets the tokens generated per problem. The last columns',
    "are those of a method's largest budget; the difference, in points, is to",
    f'{baseline} at equal tokens, paired by problem.',
  ]
  for world, by_method in results.items():
    budgets = sorted({n for o in by_method.values() for n in o.budgets})
    head = [
      'method',
      *(f'{n}' for n in budgets),
      'depth',
      'verifier calls',
      'MFLOPs',
      f'to {baseline}',
    ]
    num_items = next(iter(by_method.values())).accuracy.shape[1]
    lines += ['', f'## {world}', '', f'{num_items} problems.', '']
    rows = []
    for name, outcomes in by_method.items():
      mean, low, high = 100 * np.array(outcomes.accuracy_interval())
      at = {
        n: f'{m:.1f} [{a:.1f}, {b:.1f}] ({t:.0f})'
        for n, m, a, b, t in zip(
          outcomes.budgets, mean, low, high, outcomes.mean_tokens, strict=True
        )
      }
      cells = [at.get(n, '') for n in budgets]
      gap = against(outcomes, by_method[baseline], -1).difference
      ends = confidence_interval(gap)
      cells += [
        f'{outcomes.depth[-1].mean():.1f}',
        f'{outcomes.verifier_calls[-1].mean():.1f}',
        f'{outcomes.mean_flops[-1] / 1e6:.1f}',
        f'{100 * gap.mean:+.1f} [{100 * ends[0]:+.1f}, {100 * ends[1]:+.1f}]',
      ]
      rows.append([name, *cells])
    lines += markdown_table(head, rows, num_left=1)
  return '\n'.join(lines) + '\n'
