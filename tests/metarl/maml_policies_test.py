"""Policies that adapt: the exact meta-gradient, where it can be enumerated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import agents, envs, metarl
from ttc.agents.actor_critic import Judged
from ttc.agents.rollouts import Rollout
from ttc.metarl import maml_policies
from ttc.metarl.maml import Meta

KEY = jax.random.key(0)
# Of three arms, played as often as they are likely; mean 0 and variance 1.
COUNTS = np.array([2, 1, 1])
REWARD = np.array([0.5, -1.75, 0.75])
REWARD = (REWARD - COUNTS @ REWARD / 4) / np.sqrt(
  COUNTS @ (REWARD - COUNTS @ REWARD / 4) ** 2 / 4
)


def pulls(log_prob):
  """Four episodes of one pull each, that stand for all that can happen."""
  action = np.repeat(np.arange(3), COUNTS)
  one = lambda x: jnp.asarray(x, jnp.float32).reshape(1, 4, 1)
  flag = jnp.ones((1, 4, 1), bool)
  kept = Judged(
    jnp.ones((1, 4, 1, 1)),
    one(log_prob[action]),
    one(np.zeros(4)),
    jnp.zeros(()),
  )
  rollout = Rollout(
    jnp.ones((1, 4, 1, 1)),
    jnp.ones((1, 4, 1, 3), bool),
    flag,
    flag,
    jnp.asarray(action, jnp.int32).reshape(1, 4, 1),
    one(REWARD[action]),
    flag[..., 0],
    ~flag[..., 0],
    jnp.zeros((1, 4, 1)),
    kept,
  )
  returns = jnp.asarray(REWARD[action], jnp.float32)
  return maml_policies.Episodes(rollout, one(REWARD[action]), returns)


class EstimatorTest(parameterized.TestCase):
  @parameterized.parameters(
    ('likelihood_ratio', True), ('log_likelihood', False)
  )
  def test_the_meta_gradient_of_a_bandit(self, inner, exact):
    """That of J(theta + alpha grad J(theta)), if curvature is complete."""
    numbers = maml_policies.PolicyMAML(inner=inner, rate=0.7)
    linear = agents.Architecture(())
    nets = maml_policies._networks(envs.bandit(3), linear, numbers)
    log_prob = np.log(COUNTS / 4)
    dense = {'bias': jnp.float32(log_prob), 'kernel': jnp.zeros((1, 3))}
    params = {'params': {'Dense_0': dense}}
    logits = lambda p: (
      p['params']['Dense_0']['bias'] + p['params']['Dense_0']['kernel'][0]
    )
    value = lambda p: jax.nn.softmax(logits(p)) @ jnp.float32(REWARD)

    def by_episodes(params):
      meta = Meta(params, 0.7)
      return value(maml_policies.one_step(nets, meta, pulls(log_prob), numbers))

    def by_law(params):
      steps = jax.grad(value)(params)
      return value(jax.tree.map(lambda x, g: x + 0.7 * g, params, steps))

    got, want = (
      jax.jit(jax.grad(by_episodes))(params),
      jax.jit(jax.grad(by_law))(params),
    )
    got, want = logits(got), logits(want)
    np.testing.assert_allclose(by_episodes(params), by_law(params), rtol=1e-5)
    if exact:
      np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    else:
      self.assertGreater(float(jnp.abs(got - want).max()), 0.05)

  def test_advantages_by_loops(self):
    rng = np.random.default_rng(0)
    lengths, discount = [5, 3, 1], 0.9
    active = np.arange(5)[:, None] < np.array(lengths)
    reward = np.where(active, rng.normal(size=(5, 3)), 0.0).astype(np.float32)
    got = maml_policies.others_advantage(
      jnp.asarray(reward)[..., None], jnp.asarray(active)[..., None], discount
    )[..., 0]
    to_go = lambda t, i: sum(
      discount**k * reward[t + k, i] for k in range(lengths[i] - t)
    )
    for t in range(5):
      for i in range(3):
        others = [to_go(t, j) for j in range(3) if j != i and t < lengths[j]]
        known = others and t < lengths[i]
        want = to_go(t, i) - np.mean(others) if known else 0.0
        np.testing.assert_allclose(got[t, i], want, atol=1e-5)

  def test_what_means_nothing_is_refused(self):
    make = lambda *options: metarl.maml_policy(
      envs.bandit(2), envs.bandit_tasks(2), *options
    )
    numbers = metarl.PolicyMAML()
    with self.assertRaisesRegex(ValueError, 'memory_width=8, expected 0'):
      make(numbers, agents.Architecture((8,), 8))
    with self.assertRaisesRegex(ValueError, 'num_episodes=1, expected >= 2'):
      make(numbers._replace(num_episodes=1))
    with self.assertRaisesRegex(ValueError, "inner='dice', expected one of li"):
      make(numbers._replace(inner='dice'))
    with self.assertRaisesRegex(ValueError, 'num_tasks=0, expected a multiple'):
      make(numbers._replace(num_tasks=0))


class LearnerTest(absltest.TestCase):
  @pytest.mark.slow
  def test_episodes_end_once_and_updates_repeat(self):
    env = envs.point_robot()
    tasks = envs.point_robot_tasks(radius=0.4, max_steps=4)
    numbers = metarl.PolicyMAML(2, 3, num_steps=6, learn_rates=True)
    small = agents.Architecture((4,))
    learner = metarl.maml_policy(env, tasks, numbers, small)
    start = jax.jit(learner.init)(KEY)
    update = jax.jit(learner.update)
    (state, told), (again, _) = update(start), update(start)
    for a, b in zip(
      *map(jax.tree.leaves, (state.meta, again.meta)), strict=True
    ):
      np.testing.assert_array_equal(a, b)
    moved = jax.tree.map(lambda a, b: jnp.any(a != b), state.meta, start.meta)
    self.assertTrue(all(jax.tree.leaves(moved)))
    # Four steps, none at a distance of more than 0.8.
    self.assertBetween(told['return_before'], -3.2, 0.0)
    some = metarl.draw_tasks(tasks, KEY, 3)
    play = jax.jit(
      lambda tasks: metarl.adapted_episodes(
        env, state.meta, KEY, tasks, 1, numbers, small
      )
    )
    played = play(some)
    rollout = played.rollout  # of 6 steps, the last two of other episodes
    self.assertEqual(rollout.active.shape, (3, 2, 6, 3, 1))
    np.testing.assert_array_equal(
      rollout.active, (np.arange(6) < 4)[:, None, None] & rollout.active
    )
    self.assertEqual(rollout.active.sum(), 3 * 2 * 4 * 3)
    own = rollout.reward[:, :, :4, :, 0].sum(axis=2)
    np.testing.assert_allclose(played.returns, own, rtol=1e-5)
    trials = metarl.rounds_as_trials(played)
    np.testing.assert_array_equal(
      trials.episode[0], [0, 0, 0, 0, 2, 2, 1, 1, 1, 1, 2, 2]
    )
    few = play(jax.tree.map(lambda x: x[:2], some))
    np.testing.assert_allclose(few.returns, played.returns[:2], rtol=1e-4)


@pytest.mark.slow
def test_a_step_leads_to_the_goal():
  env, tasks = envs.point_robot(), envs.point_robot_tasks()
  learner = metarl.maml_policy(env, tasks)
  start = jax.jit(learner.init)(KEY)
  *_, (state, _) = agents.train(learner, start, 100, 100)
  test = metarl.draw_tasks(tasks, jax.random.key(1), 40)
  played = metarl.adapted_episodes(env, state.meta, KEY, test)
  returns = played.returns.mean(axis=(0, 2))
  assert returns[1] - returns[0] > 3.0  # of the 11 that are there to be had


_DEVICES = """
import jax, numpy as np
from jax.sharding import AxisType
from ttc import agents, envs, metarl
ends = []
for n in (1, 4):
  mesh = jax.make_mesh((n,), ('data',), axis_types=(AxisType.Auto,),
                       devices=jax.devices()[:n])
  learner = agents.over_seeds(metarl.maml_policy(
    envs.point_robot(), envs.point_robot_tasks(),
    metarl.PolicyMAML(8, 4, 20), agents.Architecture((8,)), mesh=mesh))
  state = jax.jit(learner.init)(agents.seed_keys(0, 2))
  *_, (state, told) = agents.train(learner, state, 3, 3)
  ends.append((state.meta, told))
for a, b in zip(*map(jax.tree.leaves, ends)):
  np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4)
compiled = jax.jit(learner.update).lower(state).compile().as_text()
assert 'all-reduce' in compiled or 'all-gather' in compiled
print('equal')
"""


@pytest.mark.slow
def test_one_device_is_four(on_four_devices):
  assert on_four_devices(_DEVICES) == 'equal'


if __name__ == '__main__':
  absltest.main()
