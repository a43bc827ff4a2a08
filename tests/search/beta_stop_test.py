"""The engine's beta policy is the recorded vote's stopping rule."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling, search
from ttc.types import FinishReason, Prompt


@pytest.mark.slow
def test_one_row_draws_exactly_what_the_stopped_vote_uses():
  # Responses are one answer token and the end: answers 1, 2, 3 by a table.
  table = (
    jnp.full((5, 5), -30.0).at[0, 1:4].set(jnp.log(jnp.array([5, 2, 1.0])))
  )
  table = table.at[1:4, 4].set(0.0)
  prompt = Prompt(jnp.zeros((6, 1), jnp.int32), jnp.ones(6, jnp.int32))
  run = functools.partial(
    jax.jit(
      sampling.generate,
      static_argnames=(
        'num_samples',
        'model',
        'capacity',
        'num_rows',
        'policy',
      ),
    ),
    table,
    jax.random.split(jax.random.key(0), 6),
    prompt,
    20,
    model=models.table_model(5),
    capacity=3,
    stop=sampling.stop_rules(5, [4]),
  )
  everything = run()
  answers = lambda prompt, generation: generation.tokens[..., 0]
  samples = search.observe(prompt, everything, answers)
  recorded = search.select_each(search.beta_stopped_vote(0.9), samples)
  policy = search.beta_stop(lambda tokens, length: tokens[0], 0.9)
  live = run(num_rows=1, policy=policy)
  ended = live.finish_reasons == FinishReason.STOP
  np.testing.assert_array_equal(
    jnp.sum(jnp.where(ended, live.lengths, 0), axis=1), recorded.tokens
  )
  used = np.asarray(jnp.sum(ended, axis=1))
  assert used.min() < 20 and used.min() >= 3
  for b, n in enumerate(used):
    np.testing.assert_array_equal(live.tokens[b, :n], everything.tokens[b, :n])
