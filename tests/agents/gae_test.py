"""Advantages against their definition, and at what ends an episode."""

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import agents


def by_definition(reward, value, next_value, terminated, truncated, g, lam):
  """The sum over the rest of the episode, step by step, in float64."""
  done = terminated | truncated
  delta = reward + g * np.where(terminated, 0, next_value) - value
  out = np.zeros_like(reward)
  for t in range(len(reward)):
    weight = 1.0
    for k in range(t, len(reward)):
      out[t] += weight * delta[k]
      if done[k]:
        break
      weight *= g * lam
  return out


class GaeTest(parameterized.TestCase):
  @parameterized.parameters((0.99, 0.95), (0.9, 0.0), (1.0, 1.0))
  def test_definition(self, discount, trace):
    rng = np.random.default_rng(0)
    reward, value, after = rng.normal(size=(3, 30))
    terminated = rng.random(30) < 0.1
    truncated = (rng.random(30) < 0.1) & ~terminated
    got = agents.gae(
      *(jnp.float32(x) for x in (reward, value, after)),
      jnp.array(terminated),
      jnp.array(truncated),
      discount=discount,
      trace=trace,
    )
    want = by_definition(
      reward, value, after, terminated, truncated, discount, trace
    )
    np.testing.assert_allclose(got, want, atol=1e-5)

  def test_only_rules_end_what_follows(self):
    """After a limit the value counts, after the rules nothing does."""
    one = jnp.ones((1,), jnp.float32)
    yes, no = jnp.ones(1, bool), jnp.zeros(1, bool)
    cut = agents.gae(one, 0 * one, 5 * one, no, yes, discount=0.5)
    over = agents.gae(one, 0 * one, 5 * one, yes, no, discount=0.5)
    self.assertEqual((float(cut[0]), float(over[0])), (3.5, 1.0))

  def test_with_trace_one_it_is_return_less_value(self):
    reward = jnp.array([1.0, 2.0, 4.0])
    value = jnp.array([0.5, -1.0, 3.0])
    after = jnp.array([-1.0, 3.0, 7.0])
    end = jnp.array([False, False, True])
    got = agents.gae(
      reward, value, after, end, jnp.zeros(3, bool), discount=0.5, trace=1.0
    )
    np.testing.assert_allclose(got + value, [3.0, 4.0, 4.0], atol=1e-6)


if __name__ == '__main__':
  absltest.main()
