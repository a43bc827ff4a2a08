"""Plain metrics of the phases of evidence synthesis.

Where there is nothing to be shared, a figure is NaN, and means leave it out.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float


class Counts(NamedTuple):
  """Right and wrong ones of a yes-or-no question, and their figures."""

  true_positive: int
  false_positive: int
  false_negative: int
  true_negative: int

  @property
  def sensitivity(self) -> float:
    """Share of those to be included that are."""
    return _ratio(self.true_positive, self.true_positive + self.false_negative)

  @property
  def specificity(self) -> float:
    """Share of those to be left out that are."""
    return _ratio(self.true_negative, self.true_negative + self.false_positive)

  @property
  def precision(self) -> float:
    """Share of the included that should be."""
    return _ratio(self.true_positive, self.true_positive + self.false_positive)

  @property
  def f1(self) -> float:
    """Harmonic mean of precision and sensitivity."""
    wrong = self.false_positive + self.false_negative
    return _ratio(2 * self.true_positive, 2 * self.true_positive + wrong)

  @property
  def number_needed_to_read(self) -> float:
    """Included ones for each that should be; infinite where none should."""
    included = self.true_positive + self.false_positive
    if not included:
      return math.nan
    return included / self.true_positive if self.true_positive else math.inf


def retrieval(found: Collection[Any], included: Collection[Any]) -> Counts:
  """Of a search: what it found against what is included in the end."""
  found, included = set(found), set(included)
  hits = len(found & included)
  return Counts(hits, len(found) - hits, len(included) - hits, 0)


def screening(said: Sequence[bool], truth: Sequence[bool]) -> Counts:
  """Of decisions about candidates."""
  pairs = list(zip(map(bool, said), map(bool, truth), strict=True))
  return Counts(
    *(pairs.count(x) for x in (
      (True, True), (True, False), (False, True), (False, False)
    ))
  )  # fmt: skip


def set_overlap(
  said: Sequence[str],
  truth: Sequence[str],
  matches: Callable[[str, str], bool],
) -> Counts:
  """Of two lists of texts, matched one to one, most of all ways.

  Args:
    said: what was found.
    truth: what there is.
    matches: whether two say the same: rules, or a judge.
  """
  from scipy import optimize

  like = np.array([[matches(a, b) for b in truth] for a in said], float)
  hits = 0
  if like.size:
    rows, columns = optimize.linear_sum_assignment(-like)
    hits = int(like[rows, columns].sum())
  return Counts(hits, len(said) - hits, len(truth) - hits, 0)


def cohen_kappa(said: Sequence[Any], truth: Sequence[Any]) -> float:
  r"""Agreement beyond chance, :math:`(p_o - p_e) / (1 - p_e)`.

  1 where both always say the same one thing, though chance would have it too.
  """
  if len(said) != len(truth) or not said:
    raise ValueError(
      f'{len(said)} labels against {len(truth)}; expected as many, at least one'
    )
  n = len(said)
  agree = sum(a == b for a, b in zip(said, truth, strict=True)) / n
  chance = sum(
    list(said).count(x) * list(truth).count(x) for x in {*said, *truth}
  ) / (n * n)
  return 1.0 if chance == 1 else (agree - chance) / (1 - chance)


def bradley_terry(
  wins: Float[np.ndarray, 'M M'], num_steps: int = 2000, prior: float = 0.1
) -> Float[np.ndarray, ' M']:
  r"""Log-strengths from pairwise preferences, with mean 0.

  :math:`P(i \text{ over } j) = \sigma(s_i - s_j)`, by Zermelo's updates
  (Newman, 2023, arXiv 2207.00076).

  Args:
    wins: how often the row was preferred to the column.
    num_steps: of the updates.
    prior: wins and losses of each against one of mean strength, which keep
      those finite who always won.
  """
  wins = np.asarray(wins, np.float64)
  if wins.ndim != 2 or wins.shape[0] != wins.shape[1] or (wins < 0).any():
    raise ValueError(
      f'wins has the shape {wins.shape}; expected a square of counts'
    )
  strength = np.ones(len(wins))
  for _ in range(num_steps):
    total = strength[:, None] + strength[None, :]
    up = (wins * strength[None, :] / total).sum(1) + prior / (strength + 1)
    down = (wins.T / total).sum(1) + prior / (strength + 1)
    strength = up / down
  log = np.log(strength)
  return log - log.mean()


def _ratio(part: int, whole: int) -> float:
  return part / whole if whole else math.nan
