"""Operators and architectures by hand, and against laws in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import strategies
from ttc.strategies import Critique, Fuse, Generate, Rank, UnitTest, Verify

# Two models of three drafts; the right answer is 0.
DRAFTS = strategies.Drafts(
  answers=jnp.array([1, 0, 1, 2, -1, 0]),
  tokens=jnp.array([3, 5, 4, 30, 20, 10]),
  models=jnp.array([0, 0, 0, 1, 1, 1]),
  places=jnp.array([0, 1, 2, 0, 1, 2]),
  ranking=jnp.array([0.0, 2.0, 1.0, 3.0, 9.0, -1.0]),
  criticism=jnp.array([-1.0, 1.0, -2.0, -3.0, 0.0, 5.0]),
  beliefs=jnp.array([0.9, 0.6, 0.1, 0.4, 0.9, 0.2]),
  passed=jnp.array(
    [[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1], [0, 1, 1]], bool
  ),
)
OPERATORS = strategies.Operators(
  critique=7, rank=11, verify=13, write_test=17, run_test=2, fuse=19,
  sharpness=50.0,  # all but the majority
)  # fmt: skip
run_one = jax.jit(strategies.run)
run_many = jax.jit(jax.vmap(strategies.run, in_axes=(None, 0, None, None)))


def answer(*layers, operators=OPERATORS, key=0):
  plan = strategies.encode(layers, 2, 5)
  selection = run_one(plan, jax.random.key(key), DRAFTS, operators)
  return tuple(int(x) for x in selection[:4])


# Answer, tokens, depth, candidates judged; all by hand.
@pytest.mark.parametrize(
  ('layers', 'expected'),
  [
    ((Generate((3, 0)), Fuse()), (1, 12 + 19, 5 + 19, 0)),
    ((Generate((0, 2)), Fuse()), (2, 50 + 19, 30 + 19, 0)),
    ((Generate((3, 1)), Rank(1)), (2, 42 + 11, 30 + 11, 0)),
    # The draft without an answer is liked best, and is no candidate.
    ((Generate((3, 3)), Rank(1)), (2, 72 + 11, 30 + 11, 0)),
    ((Generate((3, 0)), Rank(2), Rank(1)), (0, 12 + 22, 5 + 22, 0)),
    # 3 - 3 for answer 2, 2 + 1 for the second draft.
    (
      (Generate((3, 1)), Critique(), Rank(1)),
      (0, 42 + 4 * 7 + 11, 30 + 7 + 11, 4),
    ),
    # Votes e^-1 + e^-2 for 1, e^1 for 0.
    (
      (Generate((3, 0)), Critique(), Fuse()),
      (0, 12 + 3 * 7 + 19, 5 + 7 + 19, 3),
    ),
    # Opinions are forgotten by a fuser: then it is the first of equals.
    (
      (Generate((3, 0)), Verify(), Fuse(4), Fuse()),
      (None, 12 + 3 * 13 + 5 * 19, 5 + 13 + 38, 3),
    ),
    # Nothing is believed that much: nothing is dropped.
    ((Generate((3, 0)), Verify(0.95), Fuse()), (1, 12 + 58, 5 + 32, 3)),
    # Of two tests the second draft passes both.
    (
      (Generate((3, 0)), UnitTest(2), Fuse()),
      (0, 12 + 3 * 4 + 34 + 19, 5 + 4 + 34 + 19, 3),
    ),
    # Of all three, two drafts of answer 0 and one of 2 pass two.
    (
      (Generate((3, 3)), UnitTest(3), Fuse()),
      (0, 72 + 5 * 6 + 51 + 19, 30 + 6 + 51 + 19, 5),
    ),
  ],
)
def test_by_hand(layers, expected):
  got = answer(*layers)
  assert got[1:] == expected[1:]
  if expected[0] is not None:
    assert got[0] == expected[0]


def test_no_candidate_no_answer():
  drafts = DRAFTS._replace(answers=jnp.full(6, -1))
  plan = strategies.encode((Generate((1, 1)), Fuse(3), Fuse()), 2, 5)
  selection = run_one(plan, jax.random.key(0), drafts, OPERATORS)
  assert int(selection.answer) == -1
  assert int(selection.tokens) == 33 + 4 * 19


@functools.cache
def answer_rates(layers, sharpness):
  plan = strategies.encode(layers, 2, 5)
  keys = jax.random.split(jax.random.key(1), 4000)
  operators = OPERATORS._replace(sharpness=sharpness)
  answers = run_many(plan, keys, DRAFTS, operators).answer
  return np.array([(answers == a).mean() for a in range(3)])


def test_a_fuser_follows_its_law():
  """Votes 2, 2, 1: squared, 4/9, 4/9, 1/9. Four standard errors, .031."""
  got = answer_rates((Generate((3, 3)), Fuse()), 2.0)
  np.testing.assert_allclose(got, [4 / 9, 4 / 9, 1 / 9], atol=0.031)


def test_two_fusers_in_a_row_follow_their_law():
  """Sharpness 1, three fusers on votes 1:2, then one on theirs.

  It gives answer 0 with the mean of k / 3, k binomial with p = 1/3: with 1/3
  again. With sharpness 2 the first layer has p = 1/5, and the last
  3 p (1 - p)^2 / 5 + 3 p^2 (1 - p) 4 / 5 + p^3 = .1616. Errors .03, .023.
  """
  layers = Generate((3, 0)), Fuse(3), Fuse()
  assert abs(answer_rates(layers, 1.0)[0] - 1 / 3) < 0.03
  assert abs(answer_rates(layers, 2.0)[0] - 0.1616) < 0.024


def test_padding_changes_nothing():
  layers = Generate((3, 3)), Critique(), Fuse(3), Fuse()
  operators = OPERATORS._replace(sharpness=1.0)
  key = jax.random.key(3)
  short = strategies.encode(layers, 2, 4)
  long = strategies.encode(layers, 2, 5)
  a = jax.jit(strategies.run)(short, key, DRAFTS, operators)
  b = run_one(long, key, DRAFTS, operators)
  assert list(map(int, jax.tree.leaves(a))) == list(
    map(int, jax.tree.leaves(b))
  )


@pytest.mark.parametrize(
  ('layers', 'message'),
  [
    ((), 'the first layer must be Generate'),
    ((Fuse(),), 'the first layer must be Generate'),
    ((Generate((1, 1)), Generate((1, 1)), Fuse()), 'only the first layer'),
    ((Generate((0, 0)), Fuse()), r'needs samples, got \(0, 0\)'),
    ((Generate((1, 1)), Critique(), Verify(), Fuse()), 'got Verify'),
    ((Generate((1, 1)), Critique()), 'followed by Rank or Fuse, got None'),
    ((Generate((1, 1)), Fuse(2)), r'Fuse\(1\) or Rank\(1\), got Fuse'),
    ((Generate((1, 1)), Rank(0), Fuse()), r'got Rank\(keep=0\)'),
    ((Generate((1, 1)), Fuse(9), Fuse()), 'width must be at most 8, got 9'),
    ((Generate((1, 1)), Verify(1.5), Fuse()), r'lie in 0..1, got 1\.5'),
    ((Generate((1, 1, 1)), Fuse()), 'there are 2 models, got samples of 3'),
    ((Generate((1, 1)), *[Verify()] * 4, Fuse()), 'max_layers is 5, got 6'),
  ],
)
def test_the_rules_of_composition(layers, message):
  with pytest.raises(ValueError, match=message):
    strategies.encode(layers, 2, 5)


def test_description():
  layers = Generate((4, 0)), UnitTest(3), Critique(), Fuse(2), Rank(1)
  assert (
    strategies.describe(layers)
    == 'drafts 4+0 > test 3 > critique > fuse 2 > rank 1'
  )
