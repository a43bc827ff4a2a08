"""The compute-optimal policy on tables small enough to do by hand."""

import numpy as np
import pytest

from ttc import scaling

# Two strategies, one budget, eight problems: the first strategy is right on
# easy problems, the second on hard ones.
EASINESS = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1])
TABLE = np.stack(
  [[[1, 1, 1, 1, 0.2, 0, 0, 0]], [[0.5, 0.5, 0.5, 0, 0.4, 0.8, 0.6, 0.9]]]
)
FOLDS = np.array([0, 1, 0, 1, 0, 1, 0, 1])


def test_quantile_bins_are_equal_and_ordered():
  bins = scaling.quantile_bins(np.array([0.1, 0.9, 0.5, 0.7, 0.3]), 5)
  np.testing.assert_array_equal(bins, [4, 0, 2, 1, 3])
  bins = scaling.quantile_bins(np.zeros(13), 5)  # ties by place
  assert np.all(np.diff(bins) >= 0)
  assert set(np.bincount(bins)) == {2, 3}


def test_absolute_bins_at_their_edges():
  bins = scaling.absolute_bins(np.array([1, 0.5, 0.49, 0.1, 0.09, 0]))
  np.testing.assert_array_equal(bins, [0, 0, 1, 1, 2, 2])


def test_policy_by_hand():
  bins = scaling.quantile_bins(EASINESS, 2)
  choice = scaling.choose_strategies(TABLE, bins, 2)
  np.testing.assert_array_equal(choice, [[0], [1]])
  got = scaling.apply_choice(TABLE, bins, choice)
  np.testing.assert_allclose(got, [[1, 1, 1, 1, 0.4, 0.8, 0.6, 0.9]])
  # In one bin they are right 4.2 of 8 times; then the first is chosen.
  np.testing.assert_allclose(TABLE.sum(axis=2), 4.2)
  one = scaling.choose_strategies(TABLE, 0 * bins, 1)
  np.testing.assert_array_equal(one, [[0]])


def test_two_folds_by_hand():
  """A problem never has a say in what is chosen for it."""
  bins = scaling.quantile_bins(EASINESS, 2)
  table = TABLE.copy()
  table[1, 0, 1] = 9.0  # in fold 1: turns the choice for easy fold-0 problems
  policy = scaling.two_fold_policy(table, bins, 2, FOLDS)
  np.testing.assert_array_equal(policy.choice[:, :, 0], [[0, 1], [1, 1]])
  np.testing.assert_allclose(
    policy.accuracy, [[0.5, 1, 0.5, 1, 0.4, 0.8, 0.6, 0.9]]
  )


def test_budgets_are_chosen_apart():
  table = np.concatenate([TABLE, TABLE[::-1]], axis=1)
  bins = scaling.quantile_bins(EASINESS, 2)
  choice = scaling.choose_strategies(table, bins, 2)
  np.testing.assert_array_equal(choice, [[0, 1], [1, 0]])


def test_the_reward_model_is_an_argument():
  """A choice made for another verifier is paid for with this one."""
  bins = scaling.quantile_bins(EASINESS, 2)
  own = scaling.two_fold_policy(TABLE, bins, 2, FOLDS)
  other = scaling.two_fold_policy(TABLE, bins, 2, FOLDS, chosen_on=TABLE[::-1])
  np.testing.assert_array_equal(own.choice, 1 - other.choice)
  np.testing.assert_allclose(own.accuracy + other.accuracy, TABLE.sum(axis=0))


def test_an_empty_bin_takes_what_is_best_for_all():
  bins = np.zeros(8, int)
  choice = scaling.choose_strategies(TABLE, bins, 3)
  np.testing.assert_array_equal(choice, choice[:1].repeat(3, axis=0))


def test_choosing_on_what_is_reported_is_optimistic():
  """Five strategies that are all right half of the time.

  In-sample the best of five means of 20 coins is chosen in each bin: the
  expected greatest of 5 normals is 1.163 s.d. of .5 / sqrt(20), 0.130; of
  held-out problems, nothing. 40 tables: standard errors below .01.
  """
  rng = np.random.default_rng(0)
  seen, unseen = [], []
  bins = np.repeat(np.arange(5), 20)
  for seed in range(40):
    table = rng.integers(0, 2, (5, 1, 100)).astype(float)
    choice = scaling.choose_strategies(table, bins, 5)
    seen.append(scaling.apply_choice(table, bins, choice).mean())
    folds = scaling.halves(seed, bins)
    unseen.append(
      scaling.two_fold_policy(table, bins, 5, folds).accuracy.mean()
    )
  assert abs(np.mean(seen) - 0.5 - 0.130) < 0.03
  assert abs(np.mean(unseen) - 0.5) < 0.03


def test_halves_split_every_bin():
  bins = np.repeat(np.arange(3), 10)
  folds = scaling.halves(1, bins)
  for q in range(3):
    assert folds[bins == q].sum() == 5
  assert not np.array_equal(folds, scaling.halves(2, bins))


@pytest.mark.parametrize('size_ratio', [1.0, 3.5, 14.0])
@pytest.mark.parametrize('ratio', [0.16, 0.79, 22.0])
def test_flops_are_equal(size_ratio, ratio):
  """6 P D_pre + 2 P D_inf of the two models, with D_pre = 1."""
  factor = scaling.flops_exchange(size_ratio, ratio)
  large = 6 * size_ratio + 2 * size_ratio * ratio
  small = 6 + 2 * ratio * factor
  np.testing.assert_allclose(small, large)


def test_equal_flops_samples():
  assert scaling.equal_flops_samples(14.0, 22.0) == 15  # 14 + 39 / 22
  assert scaling.equal_flops_samples(1.0, 0.16) == 1
  assert scaling.equal_flops_samples(2.0, 1.0, 4) == 20
  got = scaling.equal_flops_samples(14.0, np.array([0.16, 0.79, 22.0]))
  np.testing.assert_array_equal(got, [257, 63, 15])


def test_wrong_input_is_refused():
  bins = np.zeros(8, int)
  with pytest.raises(ValueError, match=r'num_bins must lie in 1..8, got 9'):
    scaling.quantile_bins(EASINESS, 9)
  with pytest.raises(ValueError, match='NaN for problem 1'):
    scaling.quantile_bins(np.array([0.5, np.nan]), 2)
  with pytest.raises(ValueError, match=r'got 1\.5'):
    scaling.absolute_bins(np.array([0.5, 1.5]))
  with pytest.raises(ValueError, match=r'bins must lie in 0..1, got 2'):
    scaling.choose_strategies(TABLE, bins + 2, 2)
  missing = TABLE.copy()
  missing[1, 0, 3] = np.nan
  with pytest.raises(ValueError, match='strategy 1 at budget 0 on problem 3'):
    scaling.choose_strategies(missing, bins, 1)
  with pytest.raises(ValueError, match='folds must be 0 and 1'):
    scaling.two_fold_policy(TABLE, bins, 1, bins)
  with pytest.raises(ValueError, match='size_ratio must be at least 1'):
    scaling.flops_exchange(0.5, 1.0)
  with pytest.raises(ValueError, match='inference_ratio must be positive'):
    scaling.flops_exchange(2.0, 0.0)
