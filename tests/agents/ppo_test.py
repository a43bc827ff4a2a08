"""PPO: its surrogate, its parts, whom its loss counts, where it ends up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest

from ttc import agents, envs
from ttc.agents import PPO, Architecture, networks, rollouts
from ttc.agents.actor_critic import Judged, actor_critic
from ttc.agents.learner import start_envs
from ttc.agents.on_policy import Batch, minibatches
from ttc.agents.ppo import ppo_loss
from ttc.envs import Box, Discrete, Environment, Step


def counting(max_steps=3):
  """One agent that sees the time and gets 1 a step; a limit ends it."""

  def observe(state, params):
    del params
    return jnp.full((1, 1), state, jnp.float32)

  def reset(key, params):
    del key
    state = jnp.zeros((), jnp.int32)
    return observe(state, params), state

  def step(key, state, action, params):
    del key, action
    state = state + 1
    cut, never = state >= max_steps, jnp.zeros((), bool)
    reward = jnp.ones((1,), jnp.float32)
    return Step(observe(state, params), state, reward, never, cut, {})

  return Environment(
    name='counting',
    agents=('agent',),
    default_params=(),
    reset=reset,
    step=step,
    observe=observe,
    observation_spaces=(Box((1,)),),
    action_spaces=(Discrete(2),),
    draw=lambda state, params: None,
  )


class SurrogateTest(absltest.TestCase):
  def test_it_is_pessimistic(self):
    ratio, advantage = jax.random.normal(jax.random.key(0), (2, 1000))
    ratio = jnp.exp(ratio)
    got = agents.clipped_surrogate(0.2)(ratio, advantage)
    self.assertTrue(np.all(got <= ratio * advantage + 1e-6))
    near = np.abs(ratio - 1) < 0.2
    np.testing.assert_allclose(got[near], (ratio * advantage)[near])
    far = (ratio > 1.2) & (advantage > 0)
    np.testing.assert_allclose(got[far], 1.2 * advantage[far], rtol=1e-6)
    far = (ratio < 0.8) & (advantage < 0)
    np.testing.assert_allclose(got[far], 0.8 * advantage[far], rtol=1e-6)


class MinibatchesTest(absltest.TestCase):
  def test_every_step_is_in_one_part(self):
    batch = {'x': jnp.arange(24).reshape(6, 4)}
    for width in (0, 5):
      memories = {
        'm': jnp.arange(4.0)[:, None, None] + jnp.zeros((4, 1, width))
      }
      kept, parts = minibatches(
        jax.random.key(0), batch, memories, num_minibatches=2
      )
      np.testing.assert_array_equal(np.sort(parts['x'].ravel()), np.arange(24))
      self.assertEqual(parts['x'].shape, (2, 6, 2) if width else (2, 1, 12))
      if width:  # whole environments, with the memory that is theirs
        np.testing.assert_array_equal(parts['x'][:, 0], kept['m'][:, :, 0, 0])
        np.testing.assert_array_equal(
          parts['x'] - parts['x'][:, :1],
          np.broadcast_to(4 * np.arange(6)[:, None], (2, 6, 2)),
        )


class RolloutTest(absltest.TestCase):
  def test_a_limit_cuts_off_the_value_of_its_own_episode(self):
    env = counting(3)
    net = lambda n: networks.for_agents(Architecture((4,)), n, 1, (1,))
    actor, critic = net(2), net(1)
    nets = actor_critic(env, actor, critic, lambda s, o, p: o, ())
    behaviour = nets.behaviour
    collect = rollouts.collector(env, behaviour, 2, 7, env_params=())
    keys = jax.random.split(jax.random.key(0), 2)
    params = {
      'actor': jax.jit(actor.init)(keys[0]),
      'critic': jax.jit(critic.init)(keys[1]),
    }
    memories = {
      'actor': actor.initial_memory(2, 1),
      'critic': critic.initial_memory(2, 1),
    }
    running = start_envs(env, (), jax.random.key(1), 2, memories)
    running, rollout, metrics = jax.jit(collect)(
      jax.random.key(2), params, running, jnp.zeros(())
    )

    def value(time):
      obs = np.full((1, 1, 1, 1), time, np.float32)
      none = np.zeros((1, 1, 1), bool)
      out, _ = jax.jit(critic.apply)(
        params['critic'], obs, np.zeros((1, 1, 0), np.float32), none
      )
      return out.item()

    last = jax.jit(behaviour.value)(
      params, running.states, running.obs, running.memories, running.reset
    )
    got = rollouts.next_values(rollout.kept.value, last, rollout)[:, 0, 0]
    want = [value(t) for t in (1, 2, 3, 1, 2, 3, 1)]
    np.testing.assert_allclose(got, want, atol=1e-5)
    np.testing.assert_array_equal(
      rollout.truncated[:, 0], [0, 0, 1, 0, 0, 1, 0]
    )
    np.testing.assert_array_equal(rollout.reset[:, 0, 0], [1, 0, 0, 1, 0, 0, 1])
    self.assertEqual(float(metrics['episode_return']), 3.0)
    self.assertEqual(float(metrics['episode_length']), 3.0)


class LossTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.env = envs.switch_riddle(3)
    net = lambda n: networks.for_agents(Architecture((4,)), n, 3, (2,))
    self.actor, self.critic = net(3), net(1)
    keys = jax.random.split(jax.random.key(0), 4)
    self.params = {
      'actor': jax.jit(self.actor.init)(keys[0]),
      'critic': jax.jit(self.critic.init)(keys[1]),
    }
    shape = (5, 2, 3)
    obs = jax.random.normal(keys[2], (*shape, 2))
    action = jax.random.randint(keys[3], shape, 0, 3)
    legal = jnp.ones((*shape, 3), bool)
    no = jnp.zeros(shape, bool)
    out, _ = jax.jit(self.actor.apply)(
      self.params['actor'], obs, jnp.zeros((2, 3, 0)), no
    )
    log_prob = jnp.take_along_axis(
      jax.nn.log_softmax(out), action[..., None], axis=-1
    )[..., 0]
    value, _ = jax.jit(self.critic.apply)(
      self.params['critic'], obs, jnp.zeros((2, 3, 0)), no
    )
    end = jnp.zeros(shape[:2], bool)
    active = jnp.ones(shape, bool).at[1:, :, 2].set(False)
    self.rollout = rollouts.Rollout(
      obs,
      legal,
      no,
      active,
      action,
      jnp.zeros(shape),
      end,
      end,
      jnp.zeros(shape),
      Judged(obs, log_prob, value[..., 0], jnp.zeros((*shape, 0))),
    )
    self.advantage = jax.random.normal(keys[3], shape)

  def loss(self, params, rollout, advantage, hyper=PPO()):  # noqa: B008
    memories = {'actor': jnp.zeros((2, 3, 0)), 'critic': jnp.zeros((2, 3, 0))}
    nets = actor_critic(
      self.env, self.actor, self.critic, lambda s, o, p: o, ()
    )
    now = nets.again(params, memories, rollout)
    return ppo_loss(
      now.law,
      now.value,
      Batch(rollout, advantage),
      agents.clipped_surrogate(hyper.clip),
      hyper,
    )

  def test_at_the_old_policy_it_is_the_policy_gradient(self):
    hyper = PPO(entropy_weight=0.0, value_weight=0.0)
    grads = jax.jit(
      jax.grad(lambda p: self.loss(p, self.rollout, self.advantage, hyper)[0])
    )(self.params)

    def by_hand(params):
      out, _ = self.actor.apply(
        params, self.rollout.obs, jnp.zeros((2, 3, 0)), self.rollout.reset
      )
      log_prob = jnp.take_along_axis(
        jax.nn.log_softmax(out), self.rollout.action[..., None], axis=-1
      )[..., 0]
      active = np.asarray(self.rollout.active)
      a = np.asarray(self.advantage)
      standard = (a - a[active].mean()) / a[active].std()
      return -jnp.sum(log_prob * standard * active) / active.sum()

    want = jax.jit(jax.grad(by_hand))(self.params['actor'])
    for a, b in zip(
      jax.tree.leaves(grads['actor']), jax.tree.leaves(want), strict=True
    ):
      np.testing.assert_allclose(a, b, atol=1e-5)

  def test_who_takes_no_part_does_not_count(self):
    gone = ~self.rollout.active
    other = self.rollout._replace(
      action=jnp.where(gone, 2 - self.rollout.action, self.rollout.action),
      obs=jnp.where(gone[..., None], 9.0, self.rollout.obs),
    )
    moved = jnp.where(gone, 50.0, self.advantage)
    loss = jax.jit(self.loss)
    a = loss(self.params, self.rollout, self.advantage)
    b = loss(self.params, other, moved)
    np.testing.assert_allclose(a[0], b[0], atol=1e-5)

  def test_losses_at_the_old_policy(self):
    _, parts = jax.jit(self.loss)(self.params, self.rollout, self.advantage)
    self.assertAlmostEqual(float(parts['approximate_kl']), 0.0, delta=1e-6)
    self.assertEqual(float(parts['clip_fraction']), 0.0)
    active = np.asarray(self.rollout.active)
    want = 0.5 * (np.asarray(self.advantage)[active] ** 2).mean()
    self.assertAlmostEqual(float(parts['value_loss']), want, delta=1e-4)


class OutcomeTest(absltest.TestCase):
  @pytest.mark.slow
  def test_prisoners_defect(self):
    """The only equilibrium of the prisoner's dilemma."""
    env = envs.matrix_game()
    hyper = PPO(num_envs=16, num_steps=8, learning_rate=0.02)
    learner = agents.ippo(env, hyper, Architecture((8,), shared=False))
    run = jax.jit(
      lambda s: jax.lax.scan(lambda s, _: learner.update(s), s, length=30)
    )
    state, _ = run(learner.init(jax.random.key(0)))
    play = agents.evaluate(
      env, learner.policy, learner.params(state), jax.random.key(1), 64, 1
    )
    self.assertLess(float(play.returns.mean()), -1.9)


if __name__ == '__main__':
  absltest.main()
