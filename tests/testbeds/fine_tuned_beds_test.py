"""Traces that are written at length, and prompts whose law is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import tasks
from ttc.finetuning import masa
from ttc.testbeds import self_prediction, verbose


def test_traces_at_length_say_what_they_should():
  keys = jax.random.split(jax.random.key(0), 400)
  tokens, learned = map(np.asarray, jax.jit(jax.vmap(verbose.sequence))(keys))
  prompt = verbose.LENGTH + 1
  counts, breaks, repeated = [], 0, 0
  for row, is_learned in zip(tokens[:100], learned[:100], strict=True):
    factors, response = row[:prompt], row[prompt:]
    assert factors[-1] == 2 and not is_learned[:prompt].any()
    end = int(np.argmax(response == verbose.TASK.eos_id))
    assert response[end - 2] == verbose.ANSWER
    thought = response[: end - 2]
    values = thought[thought != verbose.AGAIN]
    again = np.flatnonzero(thought == verbose.AGAIN)
    np.testing.assert_array_equal(thought[again - 1], thought[again + 1])
    steps = len(values) - len(again)
    counts.append(steps)
    repeated += len(again) > 0
    if steps == verbose.LENGTH:  # the answer is what stands there
      assert response[end - 1] == values[-1]
      assert is_learned[prompt : prompt + end + 1].all()
    else:
      breaks += 1
      assert not is_learned[prompt + end - 2]  # to break off is not learned
    assert not is_learned[prompt + end + 1 :].any()
  assert min(counts) >= 1 and max(counts) == verbose.LENGTH
  assert breaks == pytest.approx(30, abs=15)  # three standard errors
  assert repeated == pytest.approx(45, abs=17)
  assert tokens.max() < verbose.CONFIG.vocab_size


def test_prompts_have_their_pass_rates():
  asked = self_prediction.questions(jax.random.key(1), 400)
  tokens, length = map(np.asarray, asked.prompt)
  rates = np.asarray(asked.pass_rate)
  hidden = (tokens == self_prediction.HIDDEN).any(axis=1)
  np.testing.assert_allclose(rates[hidden], 1 / 97, rtol=1e-5)
  sure = length == 5
  np.testing.assert_allclose(rates[sure], 0.998, rtol=1e-5)
  rest = ~hidden & ~sure
  steps = np.asarray(asked.num_steps)
  np.testing.assert_allclose(
    rates[rest], tasks.noisy_chain_accuracy(0.1, steps[rest], 97), rtol=1e-5
  )
  for share, want in ((hidden, 0.25), (sure, 0.25), (rest, 0.5)):
    assert share.mean() == pytest.approx(want, abs=0.075)
  last = np.take_along_axis(tokens, length[:, None] - 1, axis=1)[:, 0]
  before = np.take_along_axis(tokens, length[:, None] - 2, axis=1)[:, 0]
  assert (last == self_prediction.META).all() and (before == 2).all()
  np.testing.assert_array_equal(length, 2 * steps + 3)
  solutions = self_prediction.solve(jax.random.key(2), asked)
  gap = solutions.is_right.mean(axis=1) - asked.pass_rate
  assert abs(float(gap.mean())) < 3 * 0.5 / (400 * 16) ** 0.5
  assert bool(jnp.all(solutions.lengths >= asked.num_steps[:, None] + 1))


def test_a_solver_that_errs_is_right_as_often_as_its_chains():
  asked = self_prediction.questions(jax.random.key(3), 300)
  logit = jnp.log(jnp.float32(0.05 / 0.95))
  tried = self_prediction.try_to_solve(jax.random.key(4), asked, logit)
  assert not bool(jnp.any(tried.errs & ~tried.is_written))
  written = np.asarray(tried.is_written)
  np.testing.assert_array_equal(
    written.sum(axis=-1)[:, 0], np.asarray(asked.num_steps)
  )
  share = np.asarray(tried.errs)[written].mean()
  assert share == pytest.approx(0.05, abs=0.003)
  useful = np.asarray(asked.is_useful_kind)
  law = tasks.noisy_chain_accuracy(0.05, np.asarray(asked.num_steps), 97)
  right = np.asarray(tried.solutions.is_right).mean(axis=1)
  gap = (right - law)[useful]
  assert abs(gap.mean()) < 3 * gap.std() / len(gap) ** 0.5
  other = (right - np.asarray(asked.pass_rate))[~useful]
  assert abs(other.mean()) < 0.01


@pytest.mark.slow
def test_the_gate_saves_tokens_and_predictions_cost_some():
  params = self_prediction.MODEL.init(jax.random.key(0))
  run = lambda gate, *how: self_prediction.race(
    params, jax.random.key(1), 4, gate, *how
  )
  all_kept, all_skipped = masa.Gate(-1.0, 2.0, 1.0), masa.Gate(2.0, 2.0, 1.0)
  plain, kept = run(all_kept, False), run(all_kept, True)
  np.testing.assert_array_equal(plain.accuracy, kept.accuracy)
  each = 2 * self_prediction.M * self_prediction.NUM_PROMPTS
  np.testing.assert_array_equal(
    kept.tokens - plain.tokens, each * np.arange(1, 5)
  )
  nothing = run(all_skipped)
  np.testing.assert_array_equal(nothing.tokens, each * np.arange(1, 5))
  assert len(set(np.asarray(nothing.accuracy).tolist())) == 1
  assert float(plain.accuracy[-1]) > float(nothing.accuracy[-1])
