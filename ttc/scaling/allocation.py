r"""Which strategy for which problem: the compute-optimal policy.

Snell et al., "Scaling LLM test-time compute optimally", 2408.03314. Problems
are put into bins of difficulty; for every bin and budget the policy takes the
strategy that is right most often,

.. math:: \theta^*(q, N) = \arg\max_\theta
    E_{y \sim \text{Target}(\theta, N, q)} [y = y^*(q)],

chosen on one half of the problems and evaluated on the other, both ways. Chosen
and reported on the same problems it is optimistic, and gains on strategies that
do not differ at all.

The reward model is an argument of the policy (Liu et al., 2502.06703): what is
best under one is not best under another. Choose on a table that was measured
with the reward model in use; `chosen_on` evaluates a choice made for another.

Difficulty is pass@1 (oracle) or the mean score of a verifier (predicted). What
it costs to find out is not counted here, nor in the paper.

NumPy functions of the host. Axes: `S` strategies, `K` budgets, `B` problems,
`Q` bins; bin 0 is the easiest.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

EASY, MEDIUM, HARD = 0, 1, 2  # of `absolute_bins`


class TwoFold(NamedTuple):
  """What a policy achieves on problems that it was not chosen on."""

  accuracy: Float[np.ndarray, 'K B']
  choice: Int[np.ndarray, 'fold Q K']  # the strategy, chosen on fold 0 and 1


def quantile_bins(
  easiness: Num[np.ndarray, ' B'], num_bins: int = 5
) -> Int[np.ndarray, ' B']:
  """Bins that hold equally many problems.

  Args:
    easiness: pass@1 of each problem for oracle bins, the mean score that a
      verifier gives its samples for predicted ones.
    num_bins: `Q`, 5 in 2408.03314.

  Returns:
    The bin of each problem, 0 for the easiest; equally easy ones in their
    order, so bins differ in size by one at most.

  Raises:
    ValueError: unless `1 <= Q <= B`, or where the easiness is not a number.
  """
  num_problems = easiness.size
  if not 1 <= num_bins <= num_problems:
    raise ValueError(f'num_bins must lie in 1..{num_problems}, got {num_bins}')
  if np.any(np.isnan(easiness)):
    raise ValueError(f'easiness is NaN for problem {_first_nan(easiness)}')
  rank = np.argsort(np.argsort(-easiness, kind='stable'), kind='stable')
  return rank * num_bins // num_problems


def absolute_bins(pass_at_1: Num[np.ndarray, ' B']) -> Int[np.ndarray, ' B']:
  """Bins by the accuracy of one sample itself (2502.06703).

  So that a bin means the same for every model and benchmark.

  Args:
    pass_at_1: of each problem, in 0..1.

  Returns:
    EASY from .5 on, MEDIUM from .1 on, HARD below.

  Raises:
    ValueError: for values outside 0..1.
  """
  outside = ~((pass_at_1 >= 0) & (pass_at_1 <= 1))
  if np.any(outside):
    raise ValueError(
      f'pass_at_1 must lie in 0..1, got {pass_at_1[np.argmax(outside)]}'
    )
  return np.where(
    pass_at_1 >= 0.5, EASY, np.where(pass_at_1 >= 0.1, MEDIUM, HARD)
  )


def choose_strategies(
  accuracies: Float[np.ndarray, 'S K B'],
  bins: Int[np.ndarray, ' B'],
  num_bins: int,
) -> Int[np.ndarray, 'Q K']:
  """The strategy with the best mean accuracy in each bin, at each budget.

  Args:
    accuracies: of every strategy, budget and problem.
    bins: of the problems.
    num_bins: `Q`.

  Returns:
    Strategies; the first of equally good ones. A bin without problems gets what
    is best over all of them.

  Raises:
    ValueError: for a bin outside `0..Q-1`, or an accuracy that is not a number.
  """
  _check(accuracies, bins, num_bins)
  rows = []
  for q in range(num_bins):
    inside = bins == q
    inside = inside if inside.any() else np.ones_like(inside)
    rows.append(np.argmax(accuracies[:, :, inside].mean(axis=2), axis=0))
  return np.stack(rows)


def apply_choice(
  accuracies: Float[np.ndarray, 'S K B'],
  bins: Int[np.ndarray, ' B'],
  choice: Int[np.ndarray, 'Q K'],
) -> Float[np.ndarray, 'K B']:
  """Accuracy of each problem under the strategies chosen for its bin.

  Args:
    accuracies: of every strategy, budget and problem.
    bins: of the problems.
    choice: from `choose_strategies`, on other problems.

  Returns:
    Accuracies.

  Raises:
    ValueError: for a bin outside `0..Q-1`, or an accuracy that is not a number.
  """
  _check(accuracies, bins, len(choice))
  of_problem = choice[bins].T  # [K, B]
  return np.take_along_axis(accuracies, of_problem[None], axis=0)[0]


def two_fold_policy(
  accuracies: Float[np.ndarray, 'S K B'],
  bins: Int[np.ndarray, ' B'],
  num_bins: int,
  folds: Int[np.ndarray, ' B'],
  chosen_on: Float[np.ndarray, 'S K B'] | None = None,
) -> TwoFold:
  """Chooses on one half of the problems for the other, both ways.

  Args:
    accuracies: of every strategy, budget and problem.
    bins: of the problems; best defined on all of them, as they use no answer
      that a strategy gave.
    num_bins: `Q`.
    folds: 0 or 1 for each problem; see `halves`.
    chosen_on: the table to choose on, such as one measured with another reward
      model; `accuracies` if None.

  Returns:
    The accuracy of every problem under what was chosen on the other half.

  Raises:
    ValueError: for a fold that is not 0 or 1, or that is empty; as
      `choose_strategies`.
  """
  if set(np.unique(folds)) != {0, 1}:
    raise ValueError(f'folds must be 0 and 1, got {np.unique(folds)}')
  chosen_on = accuracies if chosen_on is None else chosen_on
  _check(accuracies, bins, num_bins)
  got, choices = np.zeros(accuracies.shape[1:]), []
  for fold in (0, 1):
    known, unseen = folds == fold, folds != fold
    choice = choose_strategies(chosen_on[:, :, known], bins[known], num_bins)
    got[:, unseen] = apply_choice(
      accuracies[:, :, unseen], bins[unseen], choice
    )
    choices.append(choice)
  return TwoFold(got, np.stack(choices))


def halves(seed: int, bins: Int[np.ndarray, ' B']) -> Int[np.ndarray, ' B']:
  """A random half of the problems of every bin is fold 0, the rest fold 1."""
  order = np.random.default_rng(seed).permutation(bins.size)
  folds = np.zeros(bins.size, int)
  for q in np.unique(bins):
    folds[order[bins[order] == q][::2]] = 1
  return folds


def flops_exchange(
  size_ratio: Num[np.ndarray, '*B'] | float,
  inference_ratio: Num[np.ndarray, '*B'] | float,
) -> Float[np.ndarray, '*B']:
  r"""Inference tokens that the FLOPs of a larger model buy a small one.

  Pretraining costs `6 P D_pre` FLOPs and inference `2 P D_inf`, so a model `M`
  times larger costs as much as a small one which decodes

  .. math:: M + 3 \frac{D_{\text{pre}}}{D_{\text{inf}}} (M - 1)

  times as many tokens as the large one.

  Args:
    size_ratio: `M`, at least 1; about 14 in 2408.03314.
    inference_ratio: `R = D_inf / D_pre`, all tokens that the large model will
      ever decode by those it was trained on; 0.16, 0.79 and 22 in 2408.03314.

  Returns:
    The factor.

  Raises:
    ValueError: if `M < 1` or `R <= 0`.
  """
  size_ratio, inference_ratio = map(np.asarray, (size_ratio, inference_ratio))
  if np.any(size_ratio < 1):
    raise ValueError(f'size_ratio must be at least 1, got {size_ratio}')
  if np.any(inference_ratio <= 0):
    raise ValueError(f'inference_ratio must be positive, got {inference_ratio}')
  return np.asarray(size_ratio + 3.0 * (size_ratio - 1) / inference_ratio)


def equal_flops_samples(
  size_ratio: Num[np.ndarray, '*B'] | float,
  inference_ratio: Num[np.ndarray, '*B'] | float,
  num_samples: int = 1,
) -> Int[np.ndarray, '*B']:
  """Samples of a small model for the FLOPs of some of a larger one.

  Args:
    size_ratio: `M`.
    inference_ratio: `R`.
    num_samples: that the large model draws, of the same length.

  Returns:
    Whole samples, rounded down; at least `num_samples`.
  """
  exact = num_samples * flops_exchange(size_ratio, inference_ratio)
  return np.asarray(np.floor(exact + 1e-9), int)


def _check(accuracies, bins, num_bins):
  if np.any(np.isnan(accuracies)):
    strategy, budget, problem = np.argwhere(np.isnan(accuracies))[0]
    raise ValueError(
      f'the accuracy of strategy {strategy} at budget {budget} on problem '
      f'{problem} is NaN'
    )
  if accuracies.shape[2] != bins.size:
    raise ValueError(
      f'{accuracies.shape[2]} problems have accuracies, {bins.size} have bins'
    )
  wrong = (bins < 0) | (bins >= num_bins)
  if np.any(wrong):
    raise ValueError(
      f'bins must lie in 0..{num_bins - 1}, got {bins[np.argmax(wrong)]}'
    )


def _first_nan(x):
  return int(np.argmax(np.isnan(x)))
