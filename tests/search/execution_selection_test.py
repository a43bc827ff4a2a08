import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import search

SELECTORS = (
  search.execution_based,
  search.execution_free,
  search.hybrid_selection,
)


@jax.jit
def select_all(verdicts, mask):
  return [select(verdicts, mask) for select in SELECTORS]


@functools.partial(jax.jit, static_argnums=0)
def best(select, key, verdicts, correct, k):
  return search.best_at_k(key, select, verdicts, correct, k, 400)


def pad(values, size=16, fill=0):
  return jnp.asarray([*values, *[fill] * (size - len(values))])


def twin(select, verdicts, members):
  """As the paper's code: lists, sorted and cut."""
  r, g, v = (np.asarray(x) for x in verdicts)

  def keep(members, x):
    return [i for i in members if x[i] == max(x[j] for j in members)]

  if select == 1:
    return keep(members, v)
  if select == 2:
    ranked = sorted(members, key=lambda i: (v[i], r[i], g[i]), reverse=True)
    members = ranked[: max(3, len(members) // 2)]
  members = keep(keep(members, r), g)
  return keep(members, v) if select == 2 else members


def test_the_example_of_the_specification():
  """Tests tie at .5; the hybrid and the reader take a wrong one."""
  verdicts = search.Verdicts(
    pad([1, 2, 2, 2]), pad([2, 1, 3, 3]), pad([0.9, 0.8, 0.1, 0.7])
  )
  correct = pad([0, 1, 1, 0])
  got = select_all(verdicts, jnp.arange(16) < 4)
  values = [float(search.mean_correct(kept, correct)) for kept in got]
  assert values == [0.5, 0.0, 0.0]
  assert [np.flatnonzero(kept).tolist() for kept in got] == [[2, 3], [0], [3]]


@pytest.mark.parametrize('seed', range(5))
def test_selectors_are_those_of_lists(seed):
  rng = np.random.default_rng(seed)
  verdicts = search.Verdicts(
    jnp.asarray(rng.integers(0, 3, 16)),
    jnp.asarray(rng.integers(0, 4, 16)),
    jnp.asarray(rng.integers(0, 5, 16) / 4.0, jnp.float32),  # with ties
  )
  for size in (1, 2, 3, 5, 8, 13, 16):
    members = np.sort(rng.permutation(16)[:size])
    mask = np.isin(np.arange(16), members)
    for i, kept in enumerate(select_all(verdicts, jnp.asarray(mask))):
      expected = sorted(twin(i, verdicts, members.tolist()))
      kept = np.flatnonzero(kept).tolist()
      if i == 2:  # equal in all three: the first ones fill the half
        of = lambda rows: {tuple(float(x[j]) for x in verdicts) for j in rows}
        assert of(kept) == of(expected) and len(kept) == len(expected)
      else:
        assert kept == expected


def test_one_candidate_is_taken_as_it_is():
  correct = pad([1, 0, 1, 0])
  zeros = jnp.zeros(16, jnp.int32)
  verdicts = search.Verdicts(zeros, zeros, jnp.zeros(16))
  for i in range(4):
    for kept in select_all(verdicts, jnp.arange(16) == i):
      assert float(search.mean_correct(kept, correct)) == correct[i]


def test_best_at_k_of_an_exact_reader_is_pass_at_k():
  """4 of 16 are right: 1 - C(12, k) / C(16, k); s.e. at most .025."""
  correct = jnp.arange(16) < 4
  zeros = jnp.zeros(16, jnp.int32)
  verdicts = search.Verdicts(zeros, zeros, correct.astype(jnp.float32))
  misses = np.cumprod((12 - np.arange(8)) / (16 - np.arange(8)))
  for k in (1, 2, 5, 8):
    got = best(search.execution_free, jax.random.key(k), verdicts, correct, k)
    assert abs(got.mean() - (1 - misses[k - 1])) < 0.08


def test_the_short_list_takes_the_shorter_of_equal_votes():
  passed = jnp.array([[1, 1, 0], [1, 0, 1], [1, 1, 1], [0, 1, 1], [0, 0, 0]])
  votes = search.test_votes(passed > 0)
  assert votes.tolist() == [2, 2, 3, 2, 0]
  everyone = jnp.ones(5, bool)
  kept = search.top_voted(votes, jnp.array([9, 5, 8, 7, 1]), everyone)
  assert np.flatnonzero(kept).tolist() == [1, 2, 3]
  without = search.top_voted(votes, jnp.array([9, 5, 8, 7, 1]), votes < 3)
  assert np.flatnonzero(without).tolist() == [0, 1, 3]
  assert search.most_votes(votes, everyone).tolist() == [0, 0, 1, 0, 0]
  only = search.test_votes(passed > 0, jnp.array([False, False, True]))
  assert only.tolist() == [0, 1, 1, 1, 0]


def test_only_inputs_on_which_candidates_differ_tell():
  outputs = jnp.array([[1, 2, 3], [1, 2, 4], [5, 2, 3]])
  telling = search.telling_inputs(outputs, jnp.array([True, True, False]))
  assert telling.tolist() == [False, False, True]
  telling = search.telling_inputs(outputs, jnp.ones(3, bool))
  assert telling.tolist() == [True, False, True]
