"""Ends that are made more likely close to the budget."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling, search
from ttc.types import Prompt

EOS, END, WORD = range(3)
BUDGET, TRIALS = 10, 4000
# A word is followed by END with probability 0.1; END by EOS.
TABLE = jnp.array(
  [[0.0, -60, -60], [60, 0, 0], [-60, jnp.log(0.1), jnp.log(0.9)]]
)


@jax.jit
def thinking_lengths(soft_from, soft_boost):
  prompt = Prompt(jnp.full((TRIALS, 1), WORD), jnp.ones((TRIALS,), jnp.int32))
  out = sampling.generate(
    TABLE,
    jax.random.split(jax.random.key(0), TRIALS),
    prompt,
    1,
    model=models.table_model(3),
    capacity=BUDGET + 3,
    stop=sampling.stop_rules(3, [EOS]),
    controller=search.budget_forcing(
      END,
      end=[END],
      cut=[END],
      wait=[WORD],
      budget=BUDGET,
      soft_from=soft_from,
      soft_boost=soft_boost,
    ),
  )
  return jnp.argmax(out.tokens[:, 0] == END, axis=1), out.log_probs[:, 0]


@pytest.mark.parametrize(
  'soft_from, boost', [(0.95, 0.0), (0.5, 4.0), (0.0, 2.0)]
)
def test_the_thinking_length_has_the_exact_law(soft_from, boost):
  lengths, log_probs = jax.device_get(
    thinking_lengths(jnp.float32(soft_from), jnp.float32(boost))
  )
  position = np.arange(BUDGET)
  nearness = np.clip((position / BUDGET - soft_from) / (1 - soft_from), 0, 1)
  odds = 0.1 / 0.9 * np.exp(boost * nearness)
  hazard = np.append(odds / (1 + odds), 1.0)  # forced at the budget
  law = hazard * np.cumprod(np.append(1.0, 1 - hazard[:-1]))
  assert law.sum() == pytest.approx(1)
  share = np.bincount(lengths, minlength=BUDGET + 1) / TRIALS
  # Four standard errors: eleven outcomes are compared.
  error = np.sqrt(np.maximum(law * (1 - law), 1 / TRIALS) / TRIALS)
  np.testing.assert_array_less(np.abs(share - law), 4 * error)
  # The model's own log-probability does not know of it.
  ends = np.take_along_axis(log_probs, lengths[:, None], axis=1)
  np.testing.assert_allclose(ends, np.log(0.1), atol=1e-5)
