"""Selection methods against exact estimators and laws."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import evaluation, scaling, search
from ttc.types import Samples

SELECTING = [m for m in search.METHODS if m.select is not None]
COMPILED = {
  m.name: jax.jit(jax.vmap(m.select, in_axes=(0, None))) for m in SELECTING
}
select_each = jax.jit(search.select_each, static_argnums=0)
NUM_ITEMS, NUM_SAMPLES = 6, 8
NUM_TRIALS = 8000


def random_samples(seed, shape, invalid=True):
  """Answers 0..3, some invalid; scores with ties; some responses cut."""
  rng = np.random.default_rng(seed)
  f32 = lambda x: jnp.asarray(x, jnp.float32)
  return Samples(
    answers=jnp.asarray(rng.integers(-1 if invalid else 0, 4, shape)),
    scores=f32(rng.normal(size=shape).round(1)),
    log_probs=f32(-rng.exponential(size=shape)),
    lengths=jnp.asarray(rng.integers(1, 30, shape)),
    finished=jnp.asarray(rng.random(shape) < 0.8),
  )


SAMPLES = random_samples(0, (NUM_ITEMS, NUM_SAMPLES))
MANY = random_samples(1, (300, NUM_SAMPLES))
BUDGETS = np.array([1, 3, 8])
GOLD = jnp.zeros((NUM_ITEMS,), jnp.int32)
PERMUTATIONS = 2000


def mean_curve(select, samples=SAMPLES):
  return jax.jit(
    lambda key: evaluation.scaling_curve(
      key, select, samples, GOLD, jnp.asarray(BUDGETS), PERMUTATIONS
    )
  )(jax.random.key(1))


def assert_within(got, exact):
  """Four standard errors of a mean of coin flips: 18 comparisons at once."""
  error = np.sqrt(np.maximum(exact * (1 - exact), 1e-4) / PERMUTATIONS)
  np.testing.assert_array_less(np.abs(got - exact), 4 * error + 1e-6)


def exact_majority(samples):
  counts = (samples.answers[..., None] == jnp.arange(4)).sum(1)
  invalid = (samples.answers < 0).sum(1)
  law = lambda k: jax.jit(
    jax.vmap(lambda c, i: scaling.majority_accuracy(c, 0, k, i))
  )
  return np.stack([law(int(k))(counts, invalid) for k in BUDGETS], axis=1)


class TestAgainstExactEstimators:
  def test_majority_vote_is_the_multinomial_law(self):
    got = mean_curve(search.majority_vote).accuracy
    assert_within(got, exact_majority(SAMPLES))

  @pytest.mark.parametrize(
    'weight_fn',
    [
      search.softmax_weights,
      pytest.param(search.sigmoid_weights, marks=pytest.mark.slow),
      pytest.param(search.minmax_weights, marks=pytest.mark.slow),
    ],
  )
  def test_equal_scores_make_a_weighted_vote_a_majority(self, weight_fn):
    samples = SAMPLES._replace(scores=jnp.full_like(SAMPLES.scores, 0.3))
    got = mean_curve(search.weighted_vote(weight_fn), samples).accuracy
    # Sums of equal weights may differ in the last bit and break a tie in
    # another way, which is as fair.
    assert_within(got, exact_majority(samples))

  def test_select_best_is_best_of_k(self):
    samples = random_samples(2, (NUM_ITEMS, NUM_SAMPLES), invalid=False)
    got = mean_curve(search.select_best, samples).accuracy
    best = lambda k: jax.jit(
      jax.vmap(lambda s, z: scaling.best_of_k_accuracy(s, z, k))
    )(samples.scores, (samples.answers == 0).astype(jnp.float32))
    exact = np.stack([best(int(k)) for k in BUDGETS], axis=1)
    assert_within(got, exact)

  def test_minmax_vote_of_two_is_best_of_two(self):
    pair = random_samples(3, (200, 2), invalid=False)
    vote = search.weighted_vote(search.minmax_weights)
    np.testing.assert_array_equal(
      select_each(vote, pair).answer,
      select_each(search.select_best, pair).answer,
    )

  def test_weighted_vote_by_hand(self):
    samples = Samples(
      answers=jnp.array([2, 5, 5, -1]),
      scores=jnp.array([0.0, -1.0, -1.0, 9.0]),
      log_probs=jnp.zeros(4),
      lengths=jnp.array([3, 4, 5, 6]),
      finished=jnp.ones(4, bool),
    )
    answers = [
      int(jax.jit(search.weighted_vote(fn))(samples, jnp.int32(4)).answer)
      for fn in (
        search.softmax_weights,  # 1 against 2 e^-1 = .736
        search.sigmoid_weights,  # .5 against 2 * .269 = .538
        search.minmax_weights,  # 1 against 0
      )
    ]
    assert answers == [2, 5, 2]


def test_voting_makes_a_wrong_mode_worse():
  """Law (.3, .4, .3), the first right: majority@1/8/32 fall as enumerated."""
  rng = np.random.default_rng(4)
  law = np.array([0.3, 0.4, 0.3])
  answers = jnp.asarray(rng.choice(3, (NUM_TRIALS, 32), p=law))
  zeros = jnp.zeros(answers.shape)
  samples = Samples(answers, zeros, zeros, zeros.astype(int) + 1, zeros == 0)
  vote = COMPILED['self_consistency']
  for n, exact in ((1, 0.3), (8, 0.2607552), (32, 0.1877069332)):
    share = float(jnp.mean(vote(samples, jnp.int32(n)).answer == 0))
    # Three standard errors; a vote breaks ties by the first drawn, which is
    # uniform over the tied answers.
    assert abs(share - exact) < 3 * (exact * (1 - exact) / NUM_TRIALS) ** 0.5


def half_geometric(p, num_lengths=200):
  t = np.arange(1, num_lengths + 1)
  pmf = p * (1 - p) ** (t - 1)
  pmf[-1] = (1 - p) ** (num_lengths - 1)
  return jnp.asarray(pmf / 2, jnp.float32)


class TestFirstFinish:
  """The world of decoding.md 4: correct Geom(.10), wrong Geom(.05)."""

  def draw(self, correct, wrong):
    law = np.concatenate([correct, wrong]).astype(np.float64)
    outcome = np.random.default_rng(5).choice(
      law.size, (NUM_TRIALS, 16), p=law / law.sum()
    )
    zeros = jnp.zeros(outcome.shape)
    return Samples(
      answers=jnp.asarray(outcome >= 200, jnp.int32),  # 0 is right
      scores=zeros,
      log_probs=zeros,
      lengths=jnp.asarray(outcome % 200 + 1),
      finished=zeros == 0,
    )

  @pytest.mark.parametrize(
    ('rates', 'oracle'),
    [
      ((0.10, 0.05), {1: 0.5, 2: 0.586207, 8: 0.652190, 16: 0.661715}),
      ((0.05, 0.10), {8: 0.347810}),  # reversed: it must lose
    ],
  )
  def test_shortest_vote_has_the_exact_law(self, rates, oracle):
    correct, wrong = map(half_geometric, rates)
    samples = self.draw(correct, wrong)
    vote = COMPILED['first_finish_search']
    for n, accuracy in oracle.items():
      law = scaling.first_finish_law(correct, wrong, n)
      np.testing.assert_allclose(law.accuracy, accuracy, atol=3e-6)
      got = vote(samples, jnp.int32(n))
      share = float(jnp.mean(got.answer == 0))
      error = (accuracy * (1 - accuracy) / NUM_TRIALS) ** 0.5
      assert abs(share - accuracy) < 3 * error
      depth = np.asarray(got.depth)
      assert abs(depth.mean() - law.depth) < 3 * depth.std() / NUM_TRIALS**0.5
      np.testing.assert_array_equal(got.tokens, n * depth)

  def test_the_control_is_worse_where_short_is_right(self):
    samples = self.draw(*map(half_geometric, (0.1, 0.05)))
    first, last = (
      COMPILED[name](samples, jnp.int32(8))
      for name in ('first_finish_search', 'last_finish_search')
    )
    assert jnp.mean(last.answer == 0) < 0.3 < 0.6 < jnp.mean(first.answer == 0)
    assert jnp.all(last.depth >= first.depth)

  def test_k_of_n_by_hand(self):
    samples = Samples(
      answers=jnp.array([7, 8, 9, 8, 6]),
      scores=jnp.zeros(5),
      log_probs=jnp.zeros(5),
      lengths=jnp.array([2, 4, 3, 5, 9]),
      finished=jnp.array([False, True, True, True, True]),
    )
    # The first was cut at 2 tokens: it has not finished, and never votes.
    expected = {  # k: answer, tokens, depth
      1: (9, 2 + 3 + 3 + 3 + 3, 3),
      2: (8, 2 + 4 + 3 + 4 + 4, 4),  # a tie of 8 and 9: the first drawn
      3: (8, 2 + 4 + 3 + 5 + 5, 5),
      5: (8, 2 + 4 + 3 + 5 + 9, 9),  # only four end
    }
    for k, want in expected.items():
      got = search.shortest_vote(k)(samples, jnp.int32(5))
      assert tuple(map(int, got[:3])) == want, k
    assert int(search.longest_vote(1)(samples, jnp.int32(5)).answer) == 6


def exact_beta_confidence(first, second):
  """1 - 2^-n sum_{k <= v2} C(n, k) with n = v1 + v2 + 1, in whole numbers."""
  n = first + second + 1
  return 1 - sum(math.comb(n, k) for k in range(second + 1)) / 2**n


def test_beta_confidence_is_the_integer_formula():
  pairs = [(a, b) for a, b in itertools.product(range(33), repeat=2) if a >= b]
  got = search.beta_confidence(*map(jnp.asarray, np.array(pairs).T))
  want = [exact_beta_confidence(a, b) for a, b in pairs]
  np.testing.assert_allclose(got, want, atol=3e-5)  # betainc in float32


def test_beta_stopping_by_a_python_twin():
  samples = random_samples(6, (200, 24))
  vote = jax.jit(jax.vmap(search.beta_stopped_vote(0.9), in_axes=(0, None)))
  got = vote(samples, jnp.int32(20))
  for i, answers in enumerate(np.asarray(samples.answers).tolist()):
    for used in range(1, 21):
      votes = {a: answers[:used].count(a) for a in answers[:used] if a >= 0}
      top = [*sorted(votes.values(), reverse=True), 0, 0]
      if exact_beta_confidence(top[0], top[1]) >= 0.9:
        break
    winner = max(votes, key=votes.get) if votes else -1  # first drawn on ties
    assert int(got.answer[i]) == winner
    assert int(got.tokens[i]) == int(samples.lengths[i, :used].sum())
    assert int(got.depth[i]) == int(got.tokens[i])


@pytest.mark.parametrize('method', SELECTING, ids=lambda m: m.name)
class TestFamily:
  """What holds of every method that selects."""

  def select(self, method, samples, n):
    selection = COMPILED[method.name](samples, jnp.int32(n))
    return jax.tree.map(np.asarray, selection)

  def test_pure_and_one_trace_for_all_n(self, method):
    for n in (1, 5, NUM_SAMPLES):
      first, again = (self.select(method, MANY, n) for _ in range(2))
      jax.tree.map(np.testing.assert_array_equal, first, again)
    traces = []

    def counted(samples, n):
      traces.append(n)
      return method.select(samples, n)

    select = jax.jit(jax.vmap(counted, in_axes=(0, None)))
    for n in (1, 5):
      select.trace(MANY, jnp.int32(n))
    assert len(traces) == 1

  def test_one_sample_is_that_sample(self, method):
    samples = MANY._replace(finished=jnp.ones_like(MANY.finished))
    got = self.select(method, samples, 1)
    np.testing.assert_array_equal(got.answer, samples.answers[:, 0])
    np.testing.assert_array_equal(got.tokens, samples.lengths[:, 0])
    np.testing.assert_array_equal(got.depth, samples.lengths[:, 0])

  def test_samples_beyond_n_never_matter(self, method):
    others = random_samples(7, MANY.answers.shape)
    for n in (1, 4, 7):
      first = jnp.arange(NUM_SAMPLES) < n
      mixed = jax.tree.map(
        lambda a, b, first=first: jnp.where(first, a, b), MANY, others
      )
      jax.tree.map(
        np.testing.assert_array_equal,
        self.select(method, MANY, n),
        self.select(method, mixed, n),
      )

  def test_invalid_answers_never_win(self, method):
    samples = random_samples(8, MANY.answers.shape)
    mostly = np.random.default_rng(9).random(MANY.answers.shape) < 0.9
    samples = samples._replace(
      answers=jnp.where(mostly, -1, samples.answers),
      finished=jnp.ones_like(samples.finished),
    )
    got = self.select(method, samples, NUM_SAMPLES).answer
    any_valid = np.any(np.asarray(samples.answers) >= 0, axis=1)
    assert 50 < any_valid.sum() < 300
    np.testing.assert_array_equal(got[~any_valid], -1)
    if method.name in ('first_finish_search', 'last_finish_search'):
      # They look at one sample; with all N of them, validity decides.
      select = {
        'first_finish_search': search.shortest_vote(NUM_SAMPLES),
        'last_finish_search': search.longest_vote(NUM_SAMPLES),
      }[method.name]
      got = np.asarray(select_each(select, samples).answer)
    np.testing.assert_array_equal(got >= 0, any_valid)

  def test_costs_are_ordered(self, method):
    previous = None
    for n in (1, 3, 6, 8):
      got = self.select(method, MANY, n)
      assert np.all(got.tokens >= got.depth) and np.all(got.depth >= 1)
      everything = np.asarray(MANY.lengths)[:, :n].sum(1)
      assert np.all(got.tokens <= everything)
      if method.what == 'sequential' and previous is not None:
        assert np.all(got.tokens >= previous)
      previous = got.tokens
