"""Episodes, values of prefixes, regret, votes and what is learned of them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling
from ttc.finetuning import mrt, policy_gradient_loss
from ttc.types import Prompt

MODEL = models.table_model(5)
TABLE = jax.random.normal(jax.random.key(0), (5, 5))
PROMPT = Prompt(jnp.array([[1, 2], [2, 0]]), jnp.array([2, 1]))
STREAMS = jnp.array([[3, 1, 3, 3, 0, 0], [1, 3, 1, 0, 0, 0]])
LENGTHS = jnp.array([4, 3])
IS_STEP = jnp.arange(5) == 3


@pytest.mark.parametrize(
  ('budget', 'want'), [(300, 0.7), (500, 0.56), (1000, 0.39)]
)
def test_regret_of_a_polyline(budget, want):
  lengths, values = jnp.array([100, 300, 700]), jnp.array([0.2, 0.6, 0.8])
  regret = mrt.normalised_regret(lengths, values, budget)
  assert float(regret) == pytest.approx(want, abs=1e-6)
  # A stream that repeats its end is the same stream.
  longer = mrt.normalised_regret(
    jnp.append(lengths, 700), jnp.append(values, 0.8), budget
  )
  assert float(longer) == pytest.approx(want, abs=1e-6)


def test_progress_telescopes():
  values = jax.random.uniform(jax.random.key(0), (4, 9))
  np.testing.assert_allclose(
    mrt.progress(values).sum(-1), values[:, -1] - values[:, 0], atol=1e-6
  )


def test_episodes_of_text():
  paragraphs = ['a', 'Wait, b', 'c', 'But wait, d', 'e', 'f', 'Wait', 'g']
  text = '\n\n'.join(paragraphs)
  episodes = mrt.text_episodes(text)
  # The second turn comes too early.
  assert [e.split('\n\n')[0] for e in episodes] == ['a', 'But wait, d', 'Wait']
  assert '\n\n'.join(episodes) == text
  assert len(mrt.text_episodes(text, group_size=2)) == 2
  assert len(mrt.text_episodes(text, max_boundaries=1)) == 2
  assert len(mrt.text_episodes(text, min_paragraphs=1)) == 4
  assert mrt.text_episodes('one') == ['one']


def test_prefixes_end_with_their_episodes():
  got = mrt.prefix_lengths(STREAMS, LENGTHS, IS_STEP, 5)
  np.testing.assert_array_equal(got, [[0, 1, 3, 4, 4], [0, 2, 3, 3, 3]])
  got = mrt.prefix_lengths(STREAMS, LENGTHS, IS_STEP, 3, 2)
  np.testing.assert_array_equal(got, [[0, 3, 4], [0, 3, 3]])
  rows = mrt.with_cue(STREAMS, jnp.array([1, 3]), jnp.array([4, 2]))
  want = [[3, 4, 2, 0, 0, 0, 0, 0], [1, 3, 1, 4, 2, 0, 0, 0]]
  np.testing.assert_array_equal(rows, want)


def test_values_are_those_of_the_model_behind_the_prefix():
  kept = mrt.prefix_lengths(STREAMS, LENGTHS, IS_STEP, 4)[:, None]
  law = jax.nn.softmax(TABLE / 0.7)
  answer = jnp.array([2, 4])
  arguments = (MODEL, TABLE, PROMPT, STREAMS[:, None], kept)
  values = jax.jit(mrt.exact_values, static_argnums=0)
  none = jnp.zeros(0, jnp.int32)
  got = values(*arguments, none, answer, 0.7)
  last = [[2, 3, 3, 3], [2, 3, 1, 1]]  # of each prefix; of the prompt first
  want = np.asarray(law)[np.array(last), np.array([[2], [4]])]
  np.testing.assert_allclose(got[:, 0], want, rtol=1e-5)
  # Behind a cue it is the cue that the table sees.
  got = values(*arguments, jnp.array([4, 0]), answer, 0.7)
  want = np.tile(np.asarray(law)[0, [2, 4], None], 4)
  np.testing.assert_allclose(got[:, 0], want, rtol=1e-5)
  grad = jax.jit(
    jax.grad(
      lambda table: mrt.exact_values(
        MODEL, table, *arguments[2:], none, answer
      ).sum()
    )
  )(TABLE)
  np.testing.assert_array_equal(grad, 0.0)


def test_forced_answers_have_the_values_as_their_means():
  kept = mrt.prefix_lengths(STREAMS, LENGTHS, IS_STEP, 4)
  A = 512
  answers = mrt.forced_answers(
    MODEL,
    TABLE,
    jax.random.split(jax.random.key(1), 2),
    PROMPT,
    jnp.repeat(STREAMS[:, None], 4, axis=1),
    kept,
    jnp.zeros(0, jnp.int32),
    A,
    capacity=1,
    stop=sampling.stop_rules(5),
    sampling=sampling.SamplingParams(temperature=0.7),
  )
  drawn = np.asarray(answers.tokens[..., 0]).reshape(2, 4, A)
  values = mrt.exact_values(
    MODEL, TABLE, PROMPT, STREAMS[:, None], kept[:, None],
    jnp.zeros(0, jnp.int32), jnp.array([2, 4]), 0.7,
  )[:, 0]  # fmt: skip
  means = (drawn == np.array([2, 4])[:, None, None]).mean(-1)
  np.testing.assert_allclose(means, values, atol=3 * 0.5 / A**0.5)


def test_votes_over_subsets_by_enumeration():
  answers, weights = np.array([7, 7, 5, -1]), np.array([0.5, 1.0, 1.5, 9.0])
  wins = []
  for subset in itertools.combinations(range(4), 3):
    totals = {5: 0.0, 7: 0.0}
    for i in subset:
      if answers[i] >= 0:
        totals[answers[i]] += weights[i]
    wins.append((np.sign(totals[7] - totals[5]) + 1) / 2)
  assert sorted(wins) == [0.0, 0.0, 0.5, 1.0]
  got = mrt.majority_from(
    jax.random.key(0),
    jnp.asarray(answers),
    jnp.log2(jnp.asarray(weights, jnp.float32)),
    jnp.int32(7),
    3,
    4000,
  )
  assert float(got) == pytest.approx(np.mean(wins), abs=0.03)


def test_star_keeps_streams_that_only_rise():
  values = jnp.array(
    [
      [0.1, 0.2, 0.9, 0.5],  # rises to its best, then falls: cut at 2
      [0.1, 0.05, 0.9, 0.9],  # falls on the way
      [0.5, 0.5, 0.5, 0.5],  # never gains
      [0.1, 0.2, 0.3, 0.9],  # but ends wrong
    ]
  )
  choice = mrt.star_choice(values, jnp.array([True, True, True, False]))
  np.testing.assert_array_equal(choice.is_kept, [True, False, False, False])
  assert int(choice.prefix[0]) == 2


def test_prompts_go_on_from_whole_episodes():
  kept = mrt.prefix_lengths(STREAMS, LENGTHS, IS_STEP, 5)
  draw = jax.jit(lambda k: mrt.random_prefix(k, PROMPT, STREAMS, kept))
  seen = [set(), set()]
  for seed in range(60):
    prompt, index = draw(jax.random.key(seed))
    for p in range(2):
      n = int(kept[p, index[p]])
      seen[p].add(n)
      old = PROMPT.tokens[p, : PROMPT.lengths[p]].tolist()
      want = old + STREAMS[p, :n].tolist()
      assert int(prompt.lengths[p]) == len(want)
      assert prompt.tokens[p].tolist() == want + [0] * (8 - len(want))
  assert seen == [{0, 1, 3}, {0, 2}]  # never the whole stream


def test_tokens_earn_the_progress_of_their_episode():
  kept = mrt.prefix_lengths(STREAMS, LENGTHS, IS_STEP, 5)[:, None]
  values = jnp.array([[[0.1, 0.3, 0.2, 0.9, 0.9]], [[0.2, 0.4, 0.7, 0.7, 0.7]]])
  outcome = jnp.array([[1.0], [-1.0]])
  got = mrt.episode_advantages(outcome, values, kept, 6, 0.5)[:, 0]
  want = 1 + 0.5 * np.array([0.2, -0.1, -0.1, 0.7, 0, 0])
  np.testing.assert_allclose(got[0], want, atol=1e-6)
  want = -1 + 0.5 * np.array([0.2, 0.2, 0.3, 0, 0, 0])
  np.testing.assert_allclose(got[1], want, atol=1e-6)


def test_the_bonus_climbs_the_progress_of_the_next_episode():
  """Every response of three tokens, by its chance: the gradient is exact."""
  tokens = jnp.array(list(itertools.product(range(5), repeat=3)))[:, None]
  P = tokens.shape[0]
  prompt = Prompt(jnp.full((P, 1), 2), jnp.ones(P, jnp.int32))
  answer, none = jnp.full(P, 4), jnp.zeros(0, jnp.int32)
  length = jnp.full((P, 1), 3)
  before = jnp.concatenate([jnp.full((P, 1), 2), tokens[:, 0, :2]], axis=1)
  taken = lambda table: jax.nn.log_softmax(table)[before, tokens[:, 0]]

  kept = mrt.prefix_lengths(tokens, length, IS_STEP, 2)
  J = mrt.exact_values(MODEL, TABLE, prompt, tokens, kept, none, answer)
  given = mrt.episode_advantages(jnp.zeros((P, 1)), J, kept, 3)[:, 0]
  chance = jnp.exp(taken(TABLE).sum(axis=1, keepdims=True))
  got = jax.jit(
    jax.grad(
      lambda table: policy_gradient_loss(
        taken(table), taken(TABLE), given, jnp.broadcast_to(chance, (P, 3))
      )[0]
    )
  )(TABLE)

  # By hand: the last token of the first episode is all that the answer sees.
  law = np.asarray(jax.nn.softmax(TABLE))
  rows = np.asarray(tokens[:, 0])
  ends = np.where(rows[:, 0] == 3, 0, np.where(rows[:, 1] == 3, 1, 2))
  last = rows[np.arange(P), ends]
  worth = law[last, 4] - law[2, 4]
  want = jax.jit(
    jax.grad(lambda table: jnp.sum(jnp.exp(taken(table).sum(axis=1)) * worth))
  )(TABLE)
  np.testing.assert_allclose(got, -want, atol=1e-6)
  assert np.abs(want).max() > 1e-2
