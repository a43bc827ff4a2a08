"""Traces that are written at length, and prompts whose law is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import tasks
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
