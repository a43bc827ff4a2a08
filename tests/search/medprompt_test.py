"""Medprompt, against brute force and the law of a biased stub."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import scaling, search
from ttc.types import FinishReason, Generation, Prompt

OPTIONS, PASSES, QUESTIONS, BIAS = 4, 5, 4000, 0.5
KEYS = jax.random.split(jax.random.key(0), QUESTIONS)
GOLD = jnp.arange(QUESTIONS) % OPTIONS


def slot_of(option, orders):
  return jnp.argmax(orders == option[:, None, None], axis=-1)


def biased(keys, orders):
  """The first slot with chance one half, else the right one."""
  unsure = jax.vmap(jax.vmap(lambda key: jax.random.bernoulli(key, BIAS)))(keys)
  return jnp.where(unsure, 0, slot_of(GOLD[: len(keys)], orders))


def knows_half(keys, orders):
  """The right slot in the first four questions, silence in the others."""
  known = jnp.arange(len(keys))[:, None] < 4
  return jnp.where(known, slot_of(GOLD[: len(keys)], orders), -1)


@functools.cache
def votes():
  """Of the biased stub, of fewer passes of it, and of one that knows."""

  @jax.jit
  def run(keys):
    ask = functools.partial(search.choice_shuffle, num_options=OPTIONS)
    return (
      ask(keys, biased, num_passes=PASSES),
      ask(keys[:8], biased, num_passes=3),
      ask(keys[:8], knows_half, num_passes=3),
    )

  return jax.device_get(run(KEYS))


def test_a_shuffled_vote_follows_its_law_wherever_the_answer_stands():
  out, _, _ = votes()
  single = 1 - BIAS + BIAS / OPTIONS
  error = np.sqrt(single * (1 - single) / out.votes.size)
  right = out.votes == np.asarray(GOLD)[:, None]
  assert abs(right.mean() - single) < 3 * error
  # The other options are equally likely.
  law = [single] + [(1 - single) / (OPTIONS - 1)] * (OPTIONS - 1)
  law = scaling.majority_accuracy_population(jnp.array(law), 0, PASSES)
  for place in range(OPTIONS):
    won = out.options[place::OPTIONS] == place
    error = np.sqrt(law * (1 - law) / won.size)
    assert abs(won.mean() - law) < 3.5 * error


def test_the_winner_has_the_most_votes():
  out, _, _ = votes()
  for option, share, cast in zip(*out, strict=True):
    counts = np.bincount(cast, minlength=OPTIONS)
    assert counts[option] == counts.max()
    assert share == np.float32(counts.max() / PASSES)
    tied = np.flatnonzero(counts == counts.max())
    assert option == next(v for v in cast if v in tied)


def test_slots_are_mapped_back_and_silence_does_not_vote():
  _, _, out = votes()
  np.testing.assert_array_equal(out.options, [0, 1, 2, 3, -1, -1, -1, -1])
  np.testing.assert_array_equal(out.shares, [1, 1, 1, 1, 0, 0, 0, 0])


def test_a_pass_does_not_depend_on_the_others():
  more, fewer, _ = votes()
  np.testing.assert_array_equal(fewer.votes, more.votes[:8, :3])


def test_exemplars_are_the_nearest_by_cosine_without_the_question_itself():
  rng = np.random.default_rng(0)
  pool = rng.normal(size=(12, 5)).astype(np.float32)
  pool *= rng.uniform(0.1, 9, (12, 1)).astype(np.float32)  # lengths are nothing
  itself = np.eye(12, dtype=bool)[:6]
  got = search.nearest_exemplars(
    jnp.asarray(pool[:6]), jnp.asarray(pool), 3, jnp.asarray(~itself)
  )
  unit = pool / np.linalg.norm(pool, axis=1, keepdims=True)
  expected = np.argsort(-(unit[:6] @ unit.T - 9 * itself), axis=1)[:, :3]
  np.testing.assert_array_equal(got, expected)
  own = search.nearest_exemplars(jnp.asarray(pool[:6]), jnp.asarray(pool), 1)
  np.testing.assert_array_equal(own[:, 0], np.arange(6))
  few = jnp.zeros((6, 12), bool).at[:, 7].set(True)
  got = search.nearest_exemplars(
    jnp.asarray(pool[:6]), jnp.asarray(pool), 3, few
  )
  np.testing.assert_array_equal(got, [[7, -1, -1]] * 6)
  with pytest.raises(ValueError, match='num_exemplars=13'):
    search.nearest_exemplars(jnp.asarray(pool[:6]), jnp.asarray(pool), 13)


def test_the_first_right_chain_is_kept():
  answers = jnp.array([[4, 2, 2], [1, 1, 1], [0, 3, 0]])
  tokens = jnp.arange(3 * 3 * 2).reshape(3, 3, 2)
  lengths = jnp.array([[1, 2, 2], [2, 1, 2], [1, 1, 2]])
  zeros = jnp.zeros((3, 3, 2))
  reasons = jnp.full((3, 3), FinishReason.STOP)

  def sample_fn(params, keys, prompt, num_samples):
    return Generation(tokens, lengths, zeros, zeros, reasons)

  out = search.self_generated_chains(
    (),
    KEYS[:3],
    Prompt(jnp.zeros((3, 1), jnp.int32), jnp.ones(3, jnp.int32)),
    sample_fn,
    lambda prompt, generation: answers,
    jnp.array([2, 5, 0]),
    3,
  )
  assert out.is_right.tolist() == [True, False, True]
  assert out.lengths.tolist() == [2, 2, 1]
  np.testing.assert_array_equal(
    out.tokens, np.stack([tokens[0, 1], tokens[1, 0], tokens[2, 0]])
  )


def test_letters_name_the_same_options_in_another_order():
  letters, order = jnp.array([65, 66, 67]), jnp.array([2, 0, 1])
  tokens = jnp.array([9, 65, 66, 67, 0])
  # Option 0 (A) is now shown by slot 1 (B), option 1 by 2, option 2 by 0.
  got = search.relabel_options(tokens, letters, order)
  assert got.tolist() == [9, 66, 67, 65, 0]
  back = search.relabel_options(got, letters, jnp.argsort(order))
  np.testing.assert_array_equal(back, tokens)
