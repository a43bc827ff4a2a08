"""More samples never hurt an estimator whose assumptions hold.

A world of two answers whose paths and their probabilities are known, small
enough to enumerate every sequence of draws: accuracy at N is exact.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import search
from ttc.types import Samples

# Answer, tokens and probability of each path. The right answer, 0, has one
# likely path; the wrong one four rare ones, of a greater sum of geometric mean
PATHS = [(0, 2, 0.6), *[(1, 4, 0.1)] * 4]
MOST = 5
FITTED = {'rpc': 3}  # draws of what fits a law to each of all sequences


def accuracy_by_n(select, exact=False, most=MOST):
  """`[most]` exact accuracies after 1, 2, ... draws."""
  answers, lengths, probs = map(np.array, zip(*PATHS, strict=True))
  log_probs = np.log(probs) + 1e-6 * np.arange(len(PATHS))  # paths differ
  draws = np.array(list(itertools.product(range(len(PATHS)), repeat=most)))
  weight = np.prod(probs[draws], axis=1)
  samples = Samples(
    answers=jnp.asarray(answers)[draws],
    scores=jnp.asarray(answers == 0, jnp.float32)[draws] * exact,
    log_probs=jnp.asarray(log_probs, jnp.float32)[draws],
    lengths=jnp.asarray(lengths)[draws],
    finished=jnp.ones(draws.shape, bool),
  )
  return weight @ np.asarray(right_by_n(select, most)(samples))


@functools.cache
def right_by_n(select, most):
  """One program for all tests of a method."""

  def right(samples):
    at = lambda n: select(samples, n).answer == 0
    return jax.vmap(at)(1 + jnp.arange(most))

  return jax.jit(jax.vmap(right))


CONSISTENT = ('perplexity_consistency', 'rpc', 'lowest_perplexity')


@pytest.mark.parametrize('name', CONSISTENT)
def test_path_probabilities_gain_with_every_sample(name):
  method = next(m for m in search.METHODS if m.name == name)
  most = FITTED.get(name, MOST)
  accuracy = accuracy_by_n(method.select, most=most)
  # Right as soon as the likely path has been drawn once.
  np.testing.assert_allclose(
    accuracy, 1 - 0.4 ** (1 + np.arange(most)), atol=1e-6
  )


def test_a_vote_gains_with_every_second_sample():
  (vote,) = (m for m in search.METHODS if m.name == 'self_consistency')
  accuracy = accuracy_by_n(vote.select)
  p = 0.6
  # Two of three, three of five; ties go to the first drawn.
  want = [p, p, p**2 * (3 - 2 * p), None, p**3 * (10 - 15 * p + 6 * p**2)]
  for got, expected in zip(accuracy, want, strict=True):
    if expected is not None:
      np.testing.assert_allclose(got, expected, atol=1e-6)


def test_geometric_means_over_different_paths_lose_with_samples():
  """As the released code weighs: rare paths outweigh the likely one."""
  (method,) = (
    m for m in search.METHODS if m.name == 'perplexity_consistency_geometric'
  )
  accuracy = accuracy_by_n(method.select)
  assert accuracy[0] == pytest.approx(0.6)
  # exp(log .6 / 2) = .775 against k exp(log .1 / 4) = .562 k: lost from k = 2.
  want = accuracy_of_at_most_one_rare(1 + np.arange(MOST))
  np.testing.assert_allclose(accuracy, want, atol=1e-6)
  assert np.all(np.diff(accuracy[1:]) < 0)


def accuracy_of_at_most_one_rare(n):
  """The likely path was drawn, and at most one of the rare ones."""
  return 0.6**n + 4 * (0.7**n - 0.6**n - 0.1**n)


# Fall by design: the first by what they weigh, the last as a control.
FALL = (
  'rpc_geometric',
  'perplexity_consistency_geometric',
  'last_finish_search',
)
# A right sample counts e times a wrong one: alone it beats two, but not four.
DIP = ('weighted_self_consistency',)
# Fits a law and falls only with five draws.
SLOW = ('rpc_geometric',)
SELECTING = [
  pytest.param(m, id=m.name, marks=[pytest.mark.slow] * (m.name in SLOW))
  for m in search.METHODS
  if m.select is not None
]


@pytest.mark.parametrize('method', SELECTING)
def test_with_an_exact_verifier_more_samples_do_not_hurt(method):
  most = FITTED.get(method.name, MOST)
  accuracy = accuracy_by_n(method.select, exact=True, most=most)
  assert accuracy[0] == pytest.approx(0.6, abs=1e-6)
  odd = accuracy[::2]  # two samples may tie, and a tie goes to the first
  if method.name in FALL:
    assert odd[-1] < odd[0]
  elif method.name in DIP:
    two_of_five = 1 - 0.4**5 - 5 * 0.6 * 0.4**4
    np.testing.assert_allclose(odd, [0.6, 1 - 0.4**3, two_of_five], atol=1e-6)
  else:
    assert np.all(np.diff(odd) > -1e-6), odd
