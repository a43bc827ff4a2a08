"""Episodes, values of prefixes, regret, votes and what is learned of them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from compiled import compiled_module

from ttc import finetuning, models, sampling
from ttc.finetuning import policy_gradient_loss
from ttc.types import Prompt

mrt = compiled_module(finetuning.mrt)
MODEL = models.table_model(5)
TABLE = jax.random.normal(jax.random.key(0), (5, 5))
PROMPT = Prompt(np.array([[1, 2], [2, 0]], 'i4'), np.array([2, 1], 'i4'))
STREAMS = np.array([[3, 1, 3, 3, 0, 0], [1, 3, 1, 0, 0, 0]], 'i4')
LENGTHS = np.array([4, 3], 'i4')
NONE = np.zeros(0, 'i4')
IS_STEP = np.arange(5) == 3


@pytest.mark.parametrize(
  ('budget', 'want'), [(300, 0.7), (500, 0.56), (1000, 0.39)]
)
def test_regret_of_a_polyline(budget, want):
  lengths = np.array([100, 300, 700], 'i4')
  values = np.array([0.2, 0.6, 0.8], 'f4')
  regret = mrt.normalised_regret(lengths, values, budget)
  assert float(regret) == pytest.approx(want, abs=1e-6)
  # A stream that repeats its end is the same stream.
  longer = mrt.normalised_regret(
    np.append(lengths, np.int32(700)),
    np.append(values, np.float32(0.8)),
    budget,
  )
  assert float(longer) == pytest.approx(want, abs=1e-6)


def test_progress_telescopes():
  values = np.random.default_rng(0).random((4, 9), 'f4')
  np.testing.assert_allclose(
    mrt.progress(values).sum(-1), values[:, -1] - values[:, 0], atol=1e-6
  )


def test_episodes_of_text():
  paragraphs = ['a', 'Wait, b', 'c', 'But wait, d', 'e', 'f', 'Wait', 'g']
  text = '\n\n'.join(paragraphs)
  episodes = finetuning.mrt.text_episodes(text)
  # The second turn comes too early.
  assert [e.split('\n\n')[0] for e in episodes] == ['a', 'But wait, d', 'Wait']
  assert '\n\n'.join(episodes) == text
  assert len(finetuning.mrt.text_episodes(text, group_size=2)) == 2
  assert len(finetuning.mrt.text_episodes(text, max_boundaries=1)) == 2
  assert len(finetuning.mrt.text_episodes(text, min_paragraphs=1)) == 4
  assert finetuning.mrt.text_episodes('one') == ['one']


def test_prefixes_end_with_their_episodes():
  got = mrt.prefix_lengths(STREAMS, LENGTHS, IS_STEP, 5)
  np.testing.assert_array_equal(got, [[0, 1, 3, 4, 4], [0, 2, 3, 3, 3]])
  got = mrt.prefix_lengths(STREAMS, LENGTHS, IS_STEP, 3, 2)
  np.testing.assert_array_equal(got, [[0, 3, 4], [0, 3, 3]])
  rows = mrt.with_cue(STREAMS, np.array([1, 3], 'i4'), np.array([4, 2], 'i4'))
  want = [[3, 4, 2, 0, 0, 0, 0, 0], [1, 3, 1, 4, 2, 0, 0, 0]]
  np.testing.assert_array_equal(rows, want)


def test_values_are_those_of_the_model_behind_the_prefix():
  kept = np.asarray(mrt.prefix_lengths(STREAMS, LENGTHS, IS_STEP, 4))[:, None]
  law = scipy.special.softmax(np.asarray(TABLE) / 0.7, axis=1)
  answer = np.array([2, 4], 'i4')
  arguments = (MODEL, TABLE, PROMPT, STREAMS[:, None], kept)
  values = mrt.exact_values
  got = np.asarray(values(*arguments, NONE, answer, 0.7))
  last = [[2, 3, 3, 3], [2, 3, 1, 1]]  # of each prefix; of the prompt first
  want = law[np.array(last), np.array([[2], [4]])]
  np.testing.assert_allclose(got[:, 0], want, rtol=1e-5)
  # Behind a cue it is the cue that the table sees.
  cue = np.array([4, 0], 'i4')
  got = np.asarray(values(*arguments, cue, answer, 0.7))
  want = np.tile(law[0, [2, 4], None], 4)
  np.testing.assert_allclose(got[:, 0], want, rtol=1e-5)
  grad = jax.jit(
    jax.grad(
      lambda table: values(MODEL, table, *arguments[2:], NONE, answer).sum()
    )
  )(TABLE)
  np.testing.assert_array_equal(grad, 0.0)


def test_forced_answers_have_the_values_as_their_means():
  kept = np.asarray(mrt.prefix_lengths(STREAMS, LENGTHS, IS_STEP, 4))
  A = 512
  answers = mrt.forced_answers(
    MODEL,
    TABLE,
    jax.random.split(jax.random.key(1), 2),
    PROMPT,
    np.repeat(STREAMS[:, None], 4, axis=1),
    kept,
    NONE,
    A,
    capacity=1,
    stop=sampling.stop_rules(5),
    sampling=sampling.SamplingParams(temperature=0.7),
  )
  drawn = np.asarray(answers.tokens)[..., 0].reshape(2, 4, A)
  values = mrt.exact_values(
    MODEL, TABLE, PROMPT, STREAMS[:, None], kept[:, None],
    NONE, np.array([2, 4], 'i4'), 0.7,
  )  # fmt: skip
  means = (drawn == np.array([2, 4])[:, None, None]).mean(-1)
  np.testing.assert_allclose(
    means, np.asarray(values)[:, 0], atol=3 * 0.5 / A**0.5
  )


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
    answers.astype('i4'),
    np.log2(weights).astype('f4'),
    jnp.int32(7),
    3,
    4000,
  )
  assert float(got) == pytest.approx(np.mean(wins), abs=0.03)


def test_star_keeps_streams_that_only_rise():
  values = np.array(
    [
      [0.1, 0.2, 0.9, 0.5],  # rises to its best, then falls: cut at 2
      [0.1, 0.05, 0.9, 0.9],  # falls on the way
      [0.5, 0.5, 0.5, 0.5],  # never gains
      [0.1, 0.2, 0.3, 0.9],  # but ends wrong
    ],
    'f4',
  )
  choice = mrt.star_choice(values, np.array([True, True, True, False]))
  np.testing.assert_array_equal(choice.is_kept, [True, False, False, False])
  assert int(choice.prefix[0]) == 2


def test_prompts_go_on_from_whole_episodes():
  kept = np.asarray(mrt.prefix_lengths(STREAMS, LENGTHS, IS_STEP, 5))
  draw = lambda k: jax.device_get(mrt.random_prefix(k, PROMPT, STREAMS, kept))
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
  kept = np.asarray(mrt.prefix_lengths(STREAMS, LENGTHS, IS_STEP, 5))[:, None]
  values = np.array(
    [[[0.1, 0.3, 0.2, 0.9, 0.9]], [[0.2, 0.4, 0.7, 0.7, 0.7]]], 'f4'
  )
  outcome = np.array([[1.0], [-1.0]], 'f4')
  got = np.asarray(mrt.episode_advantages(outcome, values, kept, 6, 0.5))[:, 0]
  want = 1 + 0.5 * np.array([0.2, -0.1, -0.1, 0.7, 0, 0])
  np.testing.assert_allclose(got[0], want, atol=1e-6)
  want = -1 + 0.5 * np.array([0.2, 0.2, 0.3, 0, 0, 0])
  np.testing.assert_allclose(got[1], want, atol=1e-6)


def test_the_bonus_climbs_the_progress_of_the_next_episode():
  """Every response of three tokens, by its chance: the gradient is exact."""
  tokens = np.array(list(itertools.product(range(5), repeat=3)), 'i4')[:, None]
  P = tokens.shape[0]
  prompt = Prompt(np.full((P, 1), 2, 'i4'), np.ones(P, 'i4'))
  answer, length = np.full(P, 4, 'i4'), np.full((P, 1), 3, 'i4')
  before = np.concatenate([np.full((P, 1), 2), tokens[:, 0, :2]], axis=1)
  taken = lambda table: jax.nn.log_softmax(table)[before, tokens[:, 0]]

  kept = mrt.prefix_lengths(tokens, length, IS_STEP, 2)
  J = mrt.exact_values(MODEL, TABLE, prompt, tokens, kept, NONE, answer)
  given = mrt.episode_advantages(np.zeros((P, 1), 'f4'), J, kept, 3)[:, 0]
  log_chance = np.asarray(jax.jit(taken)(TABLE)).sum(axis=1, keepdims=True)
  chance = np.broadcast_to(np.exp(log_chance), (P, 3))
  got = jax.jit(
    jax.grad(
      lambda table: policy_gradient_loss(
        taken(table), taken(TABLE), given, jnp.asarray(chance)
      )[0]
    )
  )(TABLE)

  # By hand: the last token of the first episode is all that the answer sees.
  law = scipy.special.softmax(np.asarray(TABLE), axis=1)
  rows = np.asarray(tokens[:, 0])
  ends = np.where(rows[:, 0] == 3, 0, np.where(rows[:, 1] == 3, 1, 2))
  last = rows[np.arange(P), ends]
  worth = law[last, 4] - law[2, 4]
  want = jax.jit(
    jax.grad(lambda table: jnp.sum(jnp.exp(taken(table).sum(axis=1)) * worth))
  )(TABLE)
  np.testing.assert_allclose(got, -want, atol=1e-6)
  assert np.abs(want).max() > 1e-2
