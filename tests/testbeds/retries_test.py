"""Attempts, copies and votes, and whether their values are the model's."""

import jax
import numpy as np
import pytest

from ttc.testbeds import retries

PROMPT = retries.LENGTH + 1


def test_traces_hold_attempts_copies_and_a_vote():
  keys = jax.random.split(jax.random.key(0), 400)
  tokens, learned = map(np.asarray, jax.jit(jax.vmap(retries.sequence))(keys))
  counts, copies, fresh = [], 0, 0
  for row, is_learned in zip(tokens, learned, strict=True):
    response = row[PROMPT:]
    end = int(np.argmax(response == retries.TASK.eos_id))
    assert response[end - 2] == retries.ANSWER
    assert is_learned[PROMPT : PROMPT + end + 1].all()
    assert (
      not is_learned[:PROMPT].any() and not is_learned[PROMPT + end + 1 :].any()
    )
    assert not response[end + 1 :].any()
    attempts = np.split(
      response[: end - 2], np.flatnonzero(response == retries.NEXT) + 1
    )[:-1]
    before, ends = None, []
    for i, block in enumerate(attempts):
      values = block[:-1]
      if values[0] == retries.COPY:
        assert i > 0
        values = values[1:]
        np.testing.assert_array_equal(values, before)
        copies += 1
      else:
        fresh += i > 0
      assert values.size == retries.LENGTH
      before = values
      ends.append(values[-1])
    counts.append(len(attempts))
    if ends:
      most = max(map(ends.count, ends))
      votes = [x for x in ends if ends.count(x) == most]
      assert response[end - 1] == votes[-1]  # the latest of equals
  assert set(counts) == {0, 1, 2, 3, 4}
  assert copies / (copies + fresh) == pytest.approx(0.5, abs=0.07)
  assert tokens.max() < retries.CONFIG.vocab_size
