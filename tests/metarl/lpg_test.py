"""LPG: whose gradient it is, and what its network sees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import envs, metarl
from ttc.agents import PPO, Architecture
from ttc.agents.actor_critic import Judged, Outputs
from ttc.agents.distributions import Categorical
from ttc.agents.on_policy import Batch
from ttc.agents.rollouts import Rollout
from ttc.metarl.rules.interface import Experience, Lifetime
from ttc.metarl.rules.lpg import LPGNet, lpg_loss

T, E, A, NUM_ACTIONS, M = 7, 3, 2, 4, 5
HYPER = PPO(entropy_weight=0.0, value_weight=0.0)


def normal(seed, *shape):
  return jax.random.normal(jax.random.key(seed), shape)


def rollout(seed=0, reward=None):
  """Random steps; episodes end in the middle, at other times for each."""
  law = Categorical(normal(seed, T, E, A, NUM_ACTIONS))
  action = jax.random.randint(jax.random.key(seed + 1), (T, E, A), 0, 4)
  done = jnp.zeros((T, E), bool).at[3, 0].set(True).at[4, 1].set(True)
  return Rollout(
    obs=jnp.zeros((T, E, A, 1)),
    legal=jnp.ones((T, E, A, NUM_ACTIONS), bool),
    reset=jnp.zeros((T, E, A), bool),
    active=jnp.ones((T, E, A), bool).at[5:, 2, 1].set(False),
    action=action,
    reward=normal(seed + 2, T, E, A) if reward is None else reward,
    terminated=done,
    truncated=jnp.zeros((T, E), bool),
    cut_value=jnp.zeros((T, E, A)),
    kept=Judged(
      jnp.zeros((T, E, A, 1)),
      law.log_prob(action),
      normal(seed + 3, T, E, A),
      normal(seed + 4, T, E, A, M),
    ),
  )


def experience(steps):
  last = Outputs(
    Categorical(normal(8, E, A, NUM_ACTIONS)),
    normal(9, E, A),
    normal(10, E, A, M),
  )
  return Experience(steps, last, {}, lambda params: None)


@functools.cache
def targets_of(make):
  """Of a small rule, compiled once; steps and times may change."""
  rule = make(M, 8)
  meta = jax.jit(rule.init)(jax.random.key(5))

  @jax.jit
  def run(steps, n, horizon):
    lifetime = Lifetime(n, horizon)
    return rule.targets(meta, (), experience(steps), lifetime, HYPER)

  return run


def said(make, steps, n=0, horizon=10):
  (pi_hat, y_hat), memory = targets_of(make)(steps, n, horizon)
  assert memory == ()
  return np.asarray(pi_hat), np.asarray(y_hat)


class GradientTest(absltest.TestCase):
  def test_with_advantages_for_pi_hat_it_is_a2c(self):
    steps, advantage = rollout(), normal(11, T, E, A)
    y_hat = normal(12, T, E, A, M)

    def outputs(logits):
      return Outputs(Categorical(logits), steps.kept.value, steps.kept.further)

    def ours(logits):
      batch = Batch(steps, (advantage, y_hat))
      return lpg_loss(outputs(logits), batch, prediction_weight=0.0)[0]

    def theirs(logits):
      batch = Batch(steps, advantage)
      rule = metarl.a2c()
      return rule.loss({}, outputs(logits), batch, Lifetime(0, 1), HYPER)[0]

    logits = normal(13, T, E, A, NUM_ACTIONS)
    got, want = (
      jax.jit(jax.grad(ours))(logits),
      jax.jit(jax.grad(theirs))(logits),
    )
    np.testing.assert_allclose(got, want, atol=1e-6)
    # and A2C's is the sum of A (onehot - pi) over the steps that count
    onehot = jax.nn.one_hot(steps.action, NUM_ACTIONS)
    by_hand = -(onehot - jax.nn.softmax(logits)) * advantage[..., None]
    by_hand = by_hand * steps.active[..., None] / steps.active.sum()
    np.testing.assert_allclose(want, by_hand, atol=1e-6)

  def test_divergence_has_the_prediction_first(self):
    """KL(y || y_hat), whose gradient vanishes where both are equal."""
    steps = rollout()
    y, y_hat = normal(14, T, E, A, M), normal(15, T, E, A, M)
    law = Categorical(normal(13, T, E, A, NUM_ACTIONS))
    batch = Batch(steps, (jnp.zeros((T, E, A)), y_hat))
    loss = lambda y: lpg_loss(Outputs(law, steps.reward, y), batch, 0.5)[0]
    p, q = np.asarray(jax.nn.softmax(y)), np.asarray(jax.nn.softmax(y_hat))
    active = np.asarray(steps.active)
    divergence = (p * np.log(p / q)).sum(axis=-1)
    self.assertAlmostEqual(
      float(loss(y)), 0.5 * divergence[active].mean(), places=5
    )
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(y_hat), 0.0, atol=1e-7)


class BoundaryTest(parameterized.TestCase):
  @parameterized.named_parameters(('lpg', metarl.lpg), ('ta', metarl.ta_lpg))
  def test_nothing_leaks_from_the_next_episode(self, make):
    steps = rollout()
    other = rollout(seed=50)
    after = jnp.arange(T) > 3  # of environment 0, whose episode ends at 3

    def changed(old, new):
      mask = after.reshape(T, *(1,) * (old.ndim - 1))
      return old.at[:, :1].set(jnp.where(mask, new, old)[:, :1])

    mixed = steps._replace(
      reward=changed(steps.reward, other.reward),
      kept=jax.tree.map(changed, steps.kept, other.kept),
    )
    for a, b in zip(said(make, steps), said(make, mixed), strict=True):
      np.testing.assert_array_equal(a[:4, 0], b[:4, 0])
      self.assertGreater(np.abs(a[4:, 0] - b[4:, 0]).max(), 1e-3)
      np.testing.assert_array_equal(a[:, 1:], b[:, 1:])

  def test_what_follows_in_the_episode_is_read(self):
    steps = rollout()
    other = steps._replace(reward=steps.reward.at[3, 0].add(1.0))
    a, b = said(metarl.lpg, steps)[0], said(metarl.lpg, other)[0]
    self.assertGreater(np.abs(a[:4, 0] - b[:4, 0]).min(), 1e-6)

  def test_the_scan_is_a_loop_backwards(self):
    """Every step alone, memory carried by hand and put to 0 at an end."""
    net = LPGNet(M, 8)
    inputs = normal(0, T, E, 4), jax.nn.softmax(normal(1, T, E, M))
    inputs = *inputs, jax.nn.softmax(normal(2, T, E, M))
    done = jnp.zeros((T, E), bool).at[3, 0].set(True)
    params = jax.jit(net.init)(jax.random.key(3), *inputs, done)
    apply = jax.jit(net.apply)
    pi_hat, y_hat = apply(params, *inputs, done)
    for start in range(4, T):  # of environment 0: its second episode alone
      own = [x[start:] for x in (*inputs, done)]
      got = apply(params, *own)
      np.testing.assert_allclose(got[0][:, 0], pi_hat[start:, 0], atol=1e-6)
      np.testing.assert_allclose(got[1][:, 0], y_hat[start:, 0], atol=1e-6)
    first = apply(params, *(x[:4] for x in (*inputs, done)))
    np.testing.assert_allclose(first[0][:, 0], pi_hat[:4, 0], atol=1e-6)

  def test_only_the_temporal_one_knows_the_time(self):
    steps = rollout()
    for make, differs in ((metarl.lpg, False), (metarl.ta_lpg, True)):
      early, late = said(make, steps, 0, 10), said(make, steps, 5, 10)
      longer = said(make, steps, 10, 20)  # n / N as late, other N
      self.assertEqual(bool(np.any(early[0] != late[0])), differs)
      self.assertEqual(bool(np.any(longer[0] != late[0])), differs)


class MetaGradientTest(absltest.TestCase):
  @pytest.mark.slow
  def test_through_two_updates_it_is_that_of_differences(self):
    with jax.enable_x64(True):
      double = lambda tree: jax.tree.map(
        lambda x: (
          x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x
        ),
        tree,
      )
      rule = metarl.ta_lpg(M, 6)
      agent = metarl.Agent(
        PPO(num_envs=4, num_steps=6, num_epochs=1, num_minibatches=1),
        Architecture((5,), activation='tanh'),
      )
      env = envs.two_step_game()
      meta = double(jax.jit(rule.init)(jax.random.key(0)))
      start = metarl.learner(env, rule, meta, 4, agent).init(jax.random.key(1))
      start = start._replace(
        params=double(start.params), opt_state=double(start.opt_state)
      )

      @jax.jit
      def loss(meta):
        learner = metarl.learner(env, rule, meta, 4, agent)
        state = learner.update(learner.update(start)[0])[0]
        return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(state.params))

      grads = jax.jit(jax.grad(loss))(meta)
      leaves, tree = jax.tree.flatten(meta)
      for i, leaf in enumerate(leaves):
        direction = jax.random.normal(jax.random.key(i), leaf.shape)
        direction /= jnp.linalg.norm(direction)
        moved = lambda d, i=i: loss(
          jax.tree.unflatten(
            tree, [*leaves[:i], leaves[i] + d, *leaves[i + 1 :]]
          )
        )
        step = 1e-5
        numeric = (moved(step * direction) - moved(-step * direction)) / (
          2 * step
        )
        exact = jnp.sum(jax.tree.leaves(grads)[i] * direction)
        np.testing.assert_allclose(exact, numeric, rtol=1e-5, atol=1e-9)


if __name__ == '__main__':
  absltest.main()
