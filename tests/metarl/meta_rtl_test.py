"""Sources weigh what they are worth; Reptile is where all weigh the same."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest

from ttc import metarl
from ttc.metarl.meta_rtl import temporal_params, toward
from ttc.testbeds import weighed_sources
from ttc.testbeds.weighed_sources import draw, squares

KEY = jax.random.key(0)
THETA = jnp.array([1.0, -0.5, 0.3, 2.0, -1.0])
SIGNS = jnp.array([[1.0], [-1.0], [0.5]])


def sources(key):
  keys = jax.random.split(key, (3, 4))
  return jax.vmap(jax.vmap(draw, (0, None)))(keys, SIGNS * THETA)


def target(key):
  return draw(key, THETA)


def make(num_draws=8, policy_rate=1e-2):
  return metarl.meta_rtl(
    squares,
    sources,
    target,
    3,
    policy_optimizer=optax.sgd(policy_rate),
    num_draws=num_draws,
  )


def run(update, state, num_updates):
  step = lambda state, _: (update(state), None)
  return jax.jit(lambda s: jax.lax.scan(step, s, length=num_updates)[0])(state)


class MetaRTLTest(absltest.TestCase):
  def test_with_equal_weights_it_is_reptile(self):
    method, plain = make(policy_rate=0.0), metarl.reptile(squares, sources)
    params = jnp.ones(5)
    a = run(lambda s: method.update(s)[0], method.init(params, KEY), 5)
    b = run(plain.update, plain.init(params, KEY), 5)
    np.testing.assert_allclose(a.weights, 1 / 3, rtol=1e-7)
    np.testing.assert_allclose(a.params, b.params, rtol=0, atol=1e-7)
    self.assertGreater(np.abs(b.params - 1).max(), 0.01)

  def test_steps_by_plain_numpy(self):
    batches = sources(KEY)
    x, y = (np.asarray(a, np.float64) for a in batches)
    start, rate = np.full(5, 0.5), 0.03
    expected = []
    for i in range(3):
      now = start
      for step in range(4):
        error = x[i, step] @ now - y[i, step]
        now = now - rate * x[i, step].T @ error / len(error)
      expected.append(now)
    got = temporal_params(jnp.float32(start), squares, batches, rate)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    weights = np.array([0.5, 0.2, 0.3])
    moved = toward(jnp.float32(start), got, jnp.float32(weights), 0.7)
    mean = start + 0.7 * (weights @ (np.array(expected) - start))
    np.testing.assert_allclose(moved, mean, rtol=1e-4)

  def test_reinforce_follows_the_expected_reward(self):
    """The head's bias moves by `w_i (r_i - mean r)`, which is its gradient."""
    method = make(num_draws=200_000, policy_rate=1.0)
    start = method.init(jnp.zeros(5), KEY)
    state, told = jax.jit(method.update)(start)
    rewards = np.asarray(told['rewards'])
    self.assertGreater(rewards[0], rewards[2])
    self.assertLess(rewards[1], 0.0)
    moved = state.policy['params']['Dense_0']['bias']
    want = (rewards - rewards.mean()) / 3
    # Standard errors are below 3e-3 of the rewards' range.
    atol = 0.01 * np.ptp(rewards)
    np.testing.assert_allclose(moved, want, atol=atol)
    # The average starts with the first reward and moves to later ones.
    np.testing.assert_allclose(state.baseline, rewards.mean(), atol=atol)
    far = state._replace(baseline=jnp.float32(40.0))
    state, told = jax.jit(method.update)(far)
    later = told['weights'] @ told['rewards']
    np.testing.assert_allclose(
      state.baseline, 36 + 0.1 * later, rtol=0, atol=0.1 * atol
    )

  def test_it_prefers_the_source_that_helps(self):
    found = weighed_sources.transfer(KEY[None], (1.0, -1.0), 200)
    self.assertGreater(found['weights'][0, -1, 0], 0.9)
    self.assertLess(found['meta_rtl'][0], 0.1 * found['reptile'][0])

  def test_too_few_sources_are_refused(self):
    with self.assertRaisesRegex(ValueError, '1 sources and 64 draws'):
      metarl.meta_rtl(squares, sources, target, 1)


if __name__ == '__main__':
  absltest.main()
