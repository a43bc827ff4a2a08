"""What every learner promises, on games small enough to run in a moment."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import agents, envs
from ttc.agents import PPO, PQN, Architecture, QLearning

FORWARD = Architecture((8,))
RECURRENT = Architecture((8,), 8, shared=False)
ON_POLICY = PPO(num_envs=4, num_steps=8, num_epochs=1, num_minibatches=2)
REPLAYED = QLearning(4, 8, 16, 4, 1, target_period=2, epsilon=0.5)
QUICK = PQN(num_envs=4, num_steps=8, num_epochs=1, num_minibatches=2)
LEARNERS = {
  'ippo': (agents.ippo, ON_POLICY, FORWARD),
  'mappo_recurrent': (agents.mappo, ON_POLICY, RECURRENT),
  'iql_recurrent': (agents.iql, REPLAYED, RECURRENT),
  'vdn': (agents.vdn, REPLAYED, FORWARD),
  'qmix': (agents.qmix, REPLAYED, FORWARD),
  'pqn_recurrent': (agents.pqn, QUICK, RECURRENT._replace(layer_norm=True)),
}
# What these two are made of is in the others: `vdn` mixes and replays as `qmix`
# does, and a memory is that of the other two.
SLOW = ('iql_recurrent', 'vdn')
NAMES = [(name, name) for name in LEARNERS if name not in SLOW]


@functools.cache
def make(name):
  """A learner, and its update, compiled once for all tests."""
  algorithm, hyper, architecture = LEARNERS[name]
  learner = algorithm(envs.switch_riddle(3), hyper, architecture)
  return learner, jax.jit(learner.update), jax.jit(learner.init)


def bits(state):
  raw = lambda x: (
    jax.random.key_data(x)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    else x
  )
  return [np.asarray(raw(x)).tobytes() for x in jax.tree.leaves(state)]


class EveryLearnerTest(parameterized.TestCase):
  @parameterized.named_parameters(NAMES)
  def test_it_learns_in_one_program(self, name):
    self.learns_in_one_program(name)

  @parameterized.parameters(SLOW)
  @pytest.mark.slow
  def test_the_others_keep_the_same_promises(self, name):
    self.learns_in_one_program(name)
    self.goes_on_the_same(name)
    self.plays(name)

  def learns_in_one_program(self, name):
    learner, update, init = make(name)
    state = init(jax.random.key(0))
    before = jax.tree.map(np.asarray, learner.params(state))
    for _ in range(3):
      state, metrics = update(state)
    self.assertEqual(update._cache_size(), 1)
    moved = jax.tree.map(
      lambda a, b: np.any(a != b), before, learner.params(state)
    )
    self.assertTrue(all(jax.tree.leaves(moved)))
    losses = [x for k, x in metrics.items() if k.endswith('loss')]
    self.assertTrue(losses and np.all(np.isfinite(losses)))
    self.assertEqual(int(state.updates), 3)

  @parameterized.named_parameters(NAMES)
  def test_a_copy_of_the_state_goes_on_the_same(self, name):
    self.goes_on_the_same(name)

  def goes_on_the_same(self, name):
    _, update, init = make(name)
    state, _ = update(init(jax.random.key(1)))
    copied = jax.tree.map(jnp.copy, state)
    self.assertEqual(bits(update(copied)[0]), bits(update(state)[0]))

  @parameterized.named_parameters(NAMES)
  def test_its_policy_plays(self, name):
    self.plays(name)

  def plays(self, name):
    learner, _, init = make(name)
    params = learner.params(init(jax.random.key(0)))
    evaluate = functools.partial(
      agents.evaluate, envs.switch_riddle(3), learner.policy
    )
    play = jax.jit(evaluate, static_argnums=(2, 3))(
      params, jax.random.key(2), 5, 6
    )
    self.assertEqual(play.returns.shape, (5, 3))
    self.assertTrue(np.all((play.lengths >= 1) & (play.lengths <= 6)))
    self.assertTrue(np.all(np.isin(play.returns, (-1.0, 0.0, 1.0))))


class TrainingTest(absltest.TestCase):
  def test_seeds_side_by_side_are_seeds_alone(self):
    learner, update, init = make('ippo')
    several = agents.over_seeds(learner)
    keys = agents.seed_keys(3, 2)
    state, _ = jax.jit(several.update)(jax.jit(several.init)(keys))
    alone, _ = update(init(keys[1]))
    for a, b in zip(
      jax.tree.leaves(several.params(state)),
      jax.tree.leaves(learner.params(alone)),
      strict=True,
    ):
      np.testing.assert_allclose(a[1], b, atol=1e-5)

  @pytest.mark.slow
  def test_chunks_do_not_matter(self):
    learner, _, init = make('ippo')
    ends = []
    for every in (2, 4):
      reports = agents.train(learner, init(jax.random.key(0)), 4, every)
      shapes = []
      for state, metrics in reports:
        shapes.append(metrics['reward'].shape)
        end = bits(state)
      self.assertEqual(shapes, [(every,)] * (4 // every))
      ends.append(end)
    self.assertEqual(ends[0], ends[1])

  def test_minibatches_that_do_not_come_out_even(self):
    with self.assertRaisesRegex(ValueError, 'num_minibatches=3 does not'):
      agents.ippo(envs.switch_riddle(), PPO(num_envs=4, num_minibatches=3))

  def test_less_room_than_environments(self):
    with self.assertRaisesRegex(ValueError, 'capacity=3'):
      agents.vdn(envs.switch_riddle(), QLearning(4, capacity=3))


_DEVICES = """
import jax, numpy as np
from jax.sharding import AxisType
from ttc import agents, envs
learner = agents.over_seeds(agents.mappo(
  envs.switch_riddle(3), agents.PPO(num_envs=8, num_steps=8)))
ends = []
for n in (1, 4):
  mesh = jax.make_mesh((n,), ('data',), axis_types=(AxisType.Auto,),
                       devices=jax.devices()[:n])
  state = jax.jit(learner.init)(agents.seed_keys(0, 2))
  for state, metrics in agents.train(learner, state, 3, 3, mesh):
    pass
  assert len(state.envs.obs.sharding.device_set) == n
  ends.append((learner.params(state), state.envs.obs))
for a, b in zip(*map(jax.tree.leaves, ends)):
  np.testing.assert_allclose(a, b, atol=2e-5)
print('equal')
"""


@pytest.mark.slow
def test_one_device_is_four(on_four_devices):
  assert on_four_devices(_DEVICES) == 'equal'


if __name__ == '__main__':
  absltest.main()
