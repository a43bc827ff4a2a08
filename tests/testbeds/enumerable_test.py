"""The world of proxies: what the mode of QAlign's law and best-of-N tend to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import scaling
from ttc.testbeds.enumerable import exact_votes, make_worlds


@pytest.mark.parametrize('error,levels', [('rare', True), ('heavy', False)])
def test_which_errors_over_optimise_the_law_itself(error, levels):
  """Best-of-N falls under both errors, the mode of the law under one."""
  worlds = make_worlds(jax.random.key(99), 1024, error)
  probs = jnp.exp(worlds.responses.log_probs)
  law = jax.jit(jax.vmap(scaling.best_of_n_law, in_axes=(None, 0, None)))
  right = worlds.answers == 0
  best = [
    float((law(probs, worlds.proxy, jnp.float32(n)) * right).sum(1).mean())
    for n in (1, 16, 1024)
  ]
  assert best[1] > best[0] + 0.3 and best[1] > best[2] + 0.2
  mode = max(exact_votes(worlds, beta)[0].mean() for beta in (0.5, 1.0))
  # Far above where best-of-N ends, or far below its peak.
  assert mode > best[2] + 0.3 if levels else mode < best[1] - 0.1


def test_rare_errors_are_only_of_wrong_responses():
  worlds = make_worlds(jax.random.key(3), 64, 'rare')
  off = worlds.proxy - (worlds.answers == 0)
  taken = off > 1.2  # four standard deviations of the noise
  assert not np.any(taken & (worlds.answers == 0))
  share = taken[worlds.answers != 0].mean()
  assert abs(share - 0.02) < 3 * np.sqrt(0.02 * 0.98 / 19_000)
