r"""Selection of programs by tests: CodeMonkeys' votes, R2E-Gym's hybrid.

Programs can be run, so candidates are compared on tests that a model has
written. Such tests may be wrong (toxic), and many do not tell candidates apart.

- CodeMonkeys (2501.14723): a candidate's votes are the tests it passes; the
  three with most votes stay, and a selector writes tests on which these differ.
- R2E-Gym (2504.07164): verifiers that run the code (regression tests `r`, then
  generated tests `g`) leave ties, a model that only reads it (`v`) is swayed by
  style. The hybrid lets `v` drop the worse half, then maximises `r`, `g` and
  `v` in turn:

.. math:: \text{top}_{\max(3, \lfloor N/2 \rfloor)}(v, r, g) \to \max r
    \to \max g \to \max v

A selector returns all candidates that it cannot tell apart; its value is their
mean correctness. Costs `N T` generated tokens for `N` candidates, the tests'
own, `N M` runs for `M` tests and, with `v`, `N` calls of the verifier.

Axes: `N` candidates of one problem, `M` tests. All functions are masked, so the
number of candidates is traced.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ttc.search.base import Method


class Verdicts(NamedTuple):
  """What verifiers say of each candidate, higher is better.

  Numbers of tests are integers, because selection is by exact equality.
  """

  regression: Int[Array, ' N']  # tests of old behaviour passed, `r`
  generated: Int[Array, ' N']  # tests written for the problem passed, `g`
  scores: Float[Array, ' N']  # of a model that reads the program, `v`


# `(verdicts, mask) -> survivors`, which are a part of the mask.
SurvivorsFn: TypeAlias = Callable[
  [Verdicts, Bool[Array, ' N']], Bool[Array, ' N']
]


def execution_based(
  verdicts: Verdicts, mask: Bool[Array, ' N']
) -> Bool[Array, ' N']:
  """Those of the mask with most regression, then most generated tests."""
  return _best(verdicts.generated, _best(verdicts.regression, mask))


def execution_free(
  verdicts: Verdicts, mask: Bool[Array, ' N']
) -> Bool[Array, ' N']:
  """Those of the mask that the reading verifier scores highest."""
  return _best(verdicts.scores, mask)


def hybrid_selection(
  verdicts: Verdicts, mask: Bool[Array, ' N']
) -> Bool[Array, ' N']:
  """Drops the half that reads worse, then goes by tests, then by reading.

  The half is the first `max(3, N // 2)` by `(v, r, g)`, so tests decide between
  equal scores; candidates equal in all three are taken in their order.
  A candidate whose score is NaN is never taken.
  """
  kept = jnp.maximum(3, jnp.sum(mask) // 2)
  order = (verdicts.scores, verdicts.regression, verdicts.generated)
  half = _first(order, mask, kept) & ~jnp.isnan(verdicts.scores)
  return _best(verdicts.scores, execution_based(verdicts, half))


def test_votes(
  passed: Bool[Array, 'N M'], tests: Bool[Array, ' M'] | None = None
) -> Int[Array, ' N']:
  """The number of tests that each candidate passes, of all or of a mask."""
  counted = passed if tests is None else passed & tests
  return jnp.sum(counted, axis=1)


def top_voted(
  votes: Int[Array, ' N'],
  sizes: Int[Array, ' N'],
  mask: Bool[Array, ' N'],
  num_kept: int = 3,
) -> Bool[Array, ' N']:
  """CodeMonkeys' short list.

  Args:
    votes: of each candidate.
    sizes: length of each program or edit; the shorter wins a tie.
    mask: the candidates.
    num_kept: the paper keeps 3.

  Returns:
    The candidates with most votes, at most `num_kept`.
  """
  return _first((votes, -sizes), mask, num_kept)


def telling_inputs(
  outputs: Int[Array, 'N M'], mask: Bool[Array, ' N']
) -> Bool[Array, ' M']:
  """The inputs on which candidates of the mask give different outputs.

  Args:
    outputs: id of the output of each candidate for each input.
    mask: the candidates to be told apart.

  Returns:
    Where a test can decide between them; all others only cost runs.
  """
  low = jnp.min(jnp.where(mask[:, None], outputs, jnp.inf), axis=0)
  high = jnp.max(jnp.where(mask[:, None], outputs, -jnp.inf), axis=0)
  return low < high


def most_votes(
  votes: Int[Array, ' N'], mask: Bool[Array, ' N']
) -> Bool[Array, ' N']:
  """Those of the mask with most votes: the baseline of CodeMonkeys."""
  return _best(votes, mask)


def mean_correct(
  survivors: Bool[Array, ' N'], correct: Num[Array, ' N'] | Bool[Array, ' N']
) -> Float[Array, '']:
  """The chance that a survivor, taken at random, is right; 0 without any."""
  right = jnp.sum(jnp.where(survivors, correct, 0))
  return right / jnp.maximum(jnp.sum(survivors), 1)


def best_at_k(
  key: PRNGKeyArray,
  select: SurvivorsFn,
  verdicts: Verdicts,
  correct: Bool[Array, ' N'],
  k: Int[Array, ''] | int,
  num_draws: int,
) -> Float[Array, ' R']:
  """Best@K of one problem: selection among random subsets of the candidates.

  Args:
    key: random key, consumed. The subsets of a smaller `k` are contained in
      those of a larger one.
    select: a selector, such as `hybrid_selection`.
    verdicts: of all `N` candidates.
    correct: whether each is right.
    k: size of the subsets, at most `N`; traced.
    num_draws: `R`, subsets without replacement; static. R2E-Gym draws 1000.

  Returns:
    Mean correctness of the survivors of each subset.
  """

  def draw(key):
    mask = jax.random.permutation(key, correct.shape[0]) < k
    return mean_correct(select(verdicts, mask), correct)

  return jax.vmap(draw)(jax.random.split(key, num_draws))


def _best(x: Num[Array, ' N'], mask: Bool[Array, ' N']) -> Bool[Array, ' N']:
  return mask & (x == jnp.max(jnp.where(mask & ~jnp.isnan(x), x, -jnp.inf)))


def _first(
  keys: tuple[Num[Array, ' N'], ...],
  mask: Bool[Array, ' N'],
  num_kept: Int[Array, ''] | int,
) -> Bool[Array, ' N']:
  """The first of the mask by the keys, most significant first, descending."""
  order = jnp.lexsort([-key for key in reversed(keys)] + [~mask])
  return mask & (jnp.argsort(order) < num_kept)


METHOD = Method(
  name='hybrid_selection',
  title='hybrid selection',
  file='search/execution_selection.py',
  paper='2504.07164',
  cost='N T',
  what='parallel',
  how=('verification',),
)
VOTES = Method(
  name='test_votes',
  title='votes of tests',
  file='search/execution_selection.py',
  paper='2501.14723',
  cost='N T',
  what='parallel',
  how=('verification',),
)
