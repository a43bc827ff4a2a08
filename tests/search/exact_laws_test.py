"""Live methods against the laws that enumeration gives them.

Votes on a table and on an AnswerWorld: all `N` samples there can be, in order.
Searches over steps on a tree: all steps that a round can draw.
"""

import collections
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling, search
from ttc.tasks import answer_world
from ttc.types import Prompt

VOTES = {
  m.name: m
  for m in search.METHODS
  if m.name
  in (
    'best_of_n',
    'self_consistency',
    'weighted_self_consistency',
    'weighted_best_of_n',
  )
}
TRIALS = 4000
SLOW = pytest.mark.slow


def prompts(count, token=0):
  return Prompt(
    jnp.full((count, 1), token, jnp.int32), jnp.ones((count,), jnp.int32)
  )


def rule(name, answers, scores):
  """The answer by the definition, in plain Python."""
  weight = {
    'self_consistency': lambda score: 1.0,
    'weighted_best_of_n': lambda score: score,
    # The normalisation of a softmax changes no winner.
    'weighted_self_consistency': np.exp,
  }
  totals = {}  # in the order of drawing: the first wins a tie
  for answer, score in zip(answers, scores, strict=True):
    if answer < 0:
      continue
    if name == 'best_of_n':
      totals[answer] = max(totals.get(answer, -np.inf), score)
    else:
      totals[answer] = totals.get(answer, 0.0) + weight[name](score)
  if not totals:
    return -1
  best = max(totals.values())
  return next(a for a, total in totals.items() if total > best - 1e-6)


def exact_law(name, outcomes, n):
  """Of the chosen answer; `outcomes[answer, score]` is a probability."""
  law = collections.Counter()
  for drawn in itertools.product(outcomes.items(), repeat=n):
    answers, scores = zip(*(outcome for outcome, _ in drawn), strict=True)
    law[rule(name, answers, scores)] += np.prod([p for _, p in drawn])
  assert sum(law.values()) == pytest.approx(1, abs=1e-5)
  return law


def assert_law(answers, law, num_errors=4):
  """Frequencies within so many standard errors: some forty are compared."""
  answers = np.asarray(answers)
  assert set(answers.tolist()) <= set(law)
  for answer, chance in law.items():
    error = np.sqrt(max(chance * (1 - chance), 1 / answers.size) / answers.size)
    assert abs(np.mean(answers == answer) - chance) < num_errors * error, answer


class TestVotesOnATable:
  """Answers are first tokens, of responses that end; longer scores higher."""

  V, T, END = 4, 3, 3
  TABLE = models.table_model(V).init(jax.random.key(0))

  @staticmethod
  def score(tokens, lengths):
    return 0.25 * lengths + (tokens == 1).sum(-1)

  @functools.cached_property
  def outcomes(self):
    world = models.enumerate_sequences(self.TABLE, 0, self.END, self.T)
    first = world.tokens[:, 0]
    ends = (world.tokens == self.END).any(axis=1) & (first != self.END)
    answers = np.where(ends, first, -1)
    outcomes = collections.Counter()
    for answer, score, log_p in zip(
      answers.tolist(),
      self.score(world.tokens, world.lengths).tolist(),
      np.asarray(world.log_probs, np.float64),
      strict=True,
    ):
      outcomes[answer, score] += np.exp(log_p)
    return outcomes

  @pytest.mark.parametrize(
    'name',
    [
      pytest.param(name, marks=() if name == 'weighted_best_of_n' else SLOW)
      for name in VOTES
    ],
  )
  def test_the_answer_has_the_exact_law(self, name):
    def answer_fn(prompt, samples):
      first = samples.tokens[..., 0]
      return jnp.where(first == self.END, -1, first)

    @jax.jit
    def solve(keys):
      setting = search.Setting(
        model=models.table_model(self.V),
        params=self.TABLE,
        answer_fn=answer_fn,
        score_fn=lambda prompt, samples: self.score(
          samples.tokens, samples.lengths
        ),
        eos_ids=(self.END,),
        capacity=self.T,
        max_steps=self.T,
      )
      return search.solve(VOTES[name], setting, keys, prompts(len(keys)), 3)

    got = solve(jax.random.split(jax.random.key(1), TRIALS))
    law = exact_law(name, self.outcomes, 3)
    assert len(law) == 4
    assert_law(got.answer, law)
    calls = 0 if name == 'self_consistency' else 3
    np.testing.assert_array_equal(got.verifier_calls, calls)


@pytest.mark.parametrize('name', VOTES)
def test_votes_on_an_answer_world_have_the_exact_law(name):
  world = answer_world.random_world(
    jax.random.key(2), 3, 2, answer_spread=0.5, score_signal=0.5
  )
  world = world._replace(
    answers=jnp.where(world.answers == 2, -1, world.answers),
    scores=world.scores - world.scores.min(),  # votes may not be negative
  )

  @jax.jit
  @jax.vmap
  def choose(key):
    paths = answer_world.draw_paths(key, world, 4)
    samples = answer_world.observe_paths(world, paths)
    return VOTES[name].select(samples, jnp.int32(3)).answer

  outcomes = dict(
    zip(
      zip(world.answers.tolist(), world.scores.tolist(), strict=True),
      np.exp(np.asarray(world.log_probs, np.float64)),
      strict=True,
    )
  )
  got = choose(jax.random.split(jax.random.key(3), TRIALS))
  assert_law(got, exact_law(name, outcomes, 3))


# A tree of steps: three continuations of each prefix, by a table.
SIZE, DEPTH = 3, 3
TREE = models.table_model(SIZE).init(jax.random.key(4))
LAW = np.asarray(jax.nn.softmax(TREE), np.float64)


def values_of(reward, depth=DEPTH):
  """The exact value of each prefix: its expected reward."""
  values = {
    leaf: reward[i]
    for i, leaf in enumerate(itertools.product(range(SIZE), repeat=depth))
  }
  for t in range(depth - 1, -1, -1):
    for prefix in itertools.product(range(SIZE), repeat=t):
      law = LAW[prefix[-1] if prefix else 0]
      values[prefix] = sum(law[x] * values[(*prefix, x)] for x in range(SIZE))
  return values


def score_by(values, depth=DEPTH):
  """The score function that knows the values of prefixes."""
  digits = SIZE ** np.arange(depth)
  table = np.zeros((depth + 1, SIZE**depth), np.float32)
  for prefix, value in values.items():
    table[len(prefix), int(np.dot(prefix, digits[: len(prefix)]))] = value

  def score_fn(prompt, responses):
    del prompt
    return jnp.asarray(table)[responses.lengths, responses.tokens @ digits]

  return score_fn


def run(method, keys, values, num_beams, width, depth=DEPTH):
  steps = search.StepSampler(
    model=models.table_model(SIZE),
    stop=sampling.stop_rules(SIZE),
    eos_ids=(),
    capacity=depth,
    max_steps=depth,
    max_step_tokens=1,
  )
  call = lambda keys: method(
    TREE,
    keys,
    prompts(len(keys)),
    steps,
    score_by(values, depth),
    num_beams,
    width,
  )
  return jax.jit(call)(keys)


def best_leaves(output):
  best = jnp.argmax(output.step_scores[..., -1], axis=1)
  return output.leaves.tokens[jnp.arange(len(best)), best].tolist()


def law_of_search(values, num_beams, width):
  """Of the best leaf of one subtree: every draw of every round."""
  states = {((),) * num_beams: 1.0}  # prefixes to continue, one per beam
  for _ in range(DEPTH):
    following = collections.Counter()
    for parents, chance in states.items():
      for steps in itertools.product(range(SIZE), repeat=num_beams):
        children = [(*y, x) for y, x in zip(parents, steps, strict=True)]
        drawn = np.prod(
          [
            LAW[y[-1] if y else 0, x]
            for y, x in zip(parents, steps, strict=True)
          ]
        )
        children.sort(key=values.get, reverse=True)
        kept = children[: num_beams // width]
        following[tuple(y for y in kept for _ in range(width))] += (
          chance * drawn
        )
    states = following
  law = collections.Counter()
  for kept, chance in states.items():
    law[kept[0]] += chance
  assert sum(law.values()) == pytest.approx(1, abs=1e-6)
  return law


class TestSearchOnATree:
  REWARD = np.random.default_rng(0).normal(size=SIZE**DEPTH)

  def check(self, method, law, num_beams, width):
    values = values_of(self.REWARD)
    keys = jax.random.split(jax.random.key(5), TRIALS)
    leaves = best_leaves(run(method, keys, values, num_beams, width))
    code = lambda leaf: int(np.dot(leaf, SIZE ** np.arange(DEPTH)))
    law = {code(leaf): chance for leaf, chance in law.items()}
    assert_law([code(leaf) for leaf in leaves], law)

  @pytest.mark.parametrize('width', [2, pytest.param(1, marks=SLOW)])
  def test_beam_search_has_the_exact_law(self, width):
    """Two of four beams are kept; of width 1 it is best-of-4."""
    law = law_of_search(values_of(self.REWARD), 4, width)
    self.check(search.beam_search, law, 4, width)

  @SLOW
  def test_dvts_is_the_best_of_independent_greedy_searches(self):
    values = values_of(self.REWARD)
    one, law = law_of_search(values, 2, 2), collections.Counter()
    for (a, p), (b, q) in itertools.product(one.items(), repeat=2):
      law[max(a, b, key=values.get)] += p * q
    self.check(search.dvts, law, 4, 2)

  @SLOW
  @pytest.mark.parametrize('method', [search.beam_search, search.dvts])
  def test_exact_values_find_a_right_leaf_more_often_than_samples(self, method):
    """Four of 81 leaves are right; the verifier does not err.

    A right leaf is chosen whenever one is among the leaves, and one is among
    them more often than among as many samples.
    """
    depth, n = 4, 8
    reward = np.zeros(SIZE**depth)
    reward[[5, 30, 61, 77]] = 1.0
    values = values_of(reward, depth)
    keys = jax.random.split(jax.random.key(6), 2000)
    output = run(method, keys, values, n, 2, depth)
    right = output.step_scores[..., -1] == 1.0
    found = np.array([values[tuple(y)] for y in best_leaves(output)])
    np.testing.assert_array_equal(found, jnp.any(right, axis=1))
    sampled = 1 - (1 - values[()]) ** n
    error = np.sqrt(sampled * (1 - sampled) / len(keys))
    assert found.mean() > sampled + 4 * error
