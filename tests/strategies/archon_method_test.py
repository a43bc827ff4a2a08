"""An architecture over the samples of one policy."""

import jax
import jax.numpy as jnp
import pytest

from ttc import strategies
from ttc.search.generative_verification import split_budget
from ttc.types import Samples

select = jax.jit(strategies.by_architecture(strategies.VERIFIED_VOTE))


def samples(answers, scores):
  count = len(answers)
  return Samples(
    answers=jnp.array(answers),
    scores=jnp.array(scores, jnp.float32),
    log_probs=jnp.zeros(count),
    lengths=jnp.full(count, 3),
    finished=jnp.ones(count, bool),
  )


@pytest.mark.parametrize(
  'scores, n, answer',
  [
    ([0.1, 0.1, 0.1, 0.9, 0.9], 5, 2),  # who is believed, not who is many
    ([0.9, 0.9, 0.9, 0.1, 0.1], 5, 1),
    ([0.1, 0.1, 0.1, 0.2, 0.2], 5, 1),  # all rejected: all stay
    ([0.1, 0.1, 0.1, 0.9, 0.9], 3, 1),  # the others were not drawn
  ],
)
def test_the_majority_of_those_believed_wins(scores, n, answer):
  chosen = select(samples([1, 1, 1, 2, 2], scores), jnp.int32(n))
  assert chosen.answer == answer
  assert chosen.tokens == 3 * n
  assert chosen.verifier_calls == n


@pytest.mark.parametrize(
  'layers',
  [
    (strategies.Verify(), strategies.Fuse(1)),
    (strategies.Critique(), strategies.Fuse(1)),
    (strategies.Rank(2), strategies.Fuse(1)),
    (strategies.Critique(), strategies.Rank(1)),
  ],
)
def test_a_score_that_is_nan_never_wins_and_is_counted(layers):
  choose = strategies.by_architecture((strategies.Generate((5,)), *layers))
  nan = float('nan')
  drawn = samples([1, 2, 1, 2, 2], [nan, 0.6, nan, 0.7, 0.4])
  chosen = jax.jit(choose)(drawn, jnp.int32(5))
  assert chosen.answer == 2
  assert chosen.nan_scores == 2


def test_an_architecture_is_checked_before_it_runs():
  with pytest.raises(ValueError, match='first layer must be Generate'):
    strategies.by_architecture((strategies.Fuse(1),))


@pytest.mark.parametrize(
  'n, split', [(1, (1, 0)), (2, (2, 0)), (4, (2, 1)), (16, (5, 2))]
)
def test_solutions_grow_faster_than_verifications(n, split):
  solutions, verifications = split_budget(n)
  assert (solutions, verifications) == split
  assert solutions * (1 + verifications) <= n
