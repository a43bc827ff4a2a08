"""Disco103 against the code it was released with, on one fixed rollout a seed.

  git clone https://github.com/google-deepmind/disco_rl
  PYTHONPATH=$PWD:disco_rl TTC_DISCO103=.../disco_103.npz pytest -m oracle ...

Rollouts of the released code have a step from the last state of an episode to
the first of the next one; ours have not, so what is said of the state before
the end stands in for what is said of the last. Here the two states look alike,
and both codes must agree in all. `expand` is written without the cancellation
of the released one, which loses 6e-5 of a value near 0: with theirs in its
place the codes agree more closely.
"""

import functools
import os
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import metarl
from ttc.agents.actor_critic import Judged, Outputs
from ttc.agents.distributions import Categorical
from ttc.agents.on_policy import Batch
from ttc.agents.ppo import PPO
from ttc.agents.rollouts import Rollout
from ttc.metarl.rules import (
  disco,
  disco_network,
  disco_values,
  disco_weights,
)

pytestmark = pytest.mark.oracle
pytest.importorskip('disco_rl')
WEIGHTS = os.environ.get('TTC_DISCO103')
if not WEIGHTS:
  pytest.skip('TTC_DISCO103 names no .npz', allow_module_level=True)

import rlax  # noqa: E402
from disco_rl import agent, types  # noqa: E402

T, E, A, D, M = 11, 5, 3, 4, 600
UPDATES = 4
HYPER = agent.get_settings_disco().hyper_params.to_dict()
WIDTHS = {'logits': (A,), 'y': (M,), 'z': (A, M), 'aux_pi': (A, A)}
WIDTHS |= {'q': (A, 601)}


def published():
  """The rule, and its weights as Haiku wants them."""
  settings = agent.get_settings_disco().update_rule
  params = {}
  with np.load(WEIGHTS) as file:
    for name, array in file.items():
      module, kind = name.rsplit('/', 1)
      params.setdefault(module, {})[kind] = array
  return agent.disco.DiscoUpdateRule(**settings), params


def drawn(seed):
  """Observations, actions, rewards and ends; then the state looks the same."""
  keys = jax.random.split(jax.random.key(seed), 4)
  done = jax.random.bernoulli(keys[0], 0.25, (T, E))
  obs = [jax.random.normal(keys[1], (E, D))]
  for t, key in enumerate(jax.random.split(keys[2], T)):
    fresh = jax.random.normal(key, (E, D))
    obs.append(jnp.where(done[t][:, None], obs[-1], fresh))
  action = jax.random.randint(keys[3], (T + 1, E), 0, A, jnp.int32)
  reward = 3 * jax.random.normal(keys[0], (T, E))
  return jnp.stack(obs), action, reward, done


def theirs(parts):
  """Outputs as a dict of arrays, from one long vector."""
  sizes = [int(np.prod(shape)) for shape in WIDTHS.values()]
  split = jnp.split(parts, np.cumsum(sizes)[:-1], axis=-1)
  return {
    name: x.reshape(*x.shape[:-1], *shape)
    for (name, shape), x in zip(WIDTHS.items(), split, strict=True)
  }


def agent_params(seed):
  kernel = 0.5 * jax.random.normal(
    jax.random.key(seed), (D, sum(np.prod(s) for s in WIDTHS.values()))
  )
  return {'kernel': kernel}


def apply(params, obs):
  return obs @ params['kernel']


def inputs(data, agent_out, behaviour_out):
  obs, action, reward, done = data
  return types.UpdateRuleInputs(
    observations=obs,
    actions=action,
    rewards=reward,
    is_terminal=done,
    agent_out=agent_out,
    behaviour_agent_out=behaviour_out,
  )


def rollout_of(data):
  """Ours; one agent in each environment."""
  obs, action, reward, done = data
  one = lambda x: x[:, :, None]
  zeros = jnp.zeros((T, E, 1), jnp.float32)
  return Rollout(
    one(obs[:-1]),
    jnp.ones((T, E, 1, A), bool),
    jnp.zeros((T, E, 1), bool),
    jnp.ones((T, E, 1), bool),
    one(action[:-1]),
    one(reward),
    done,
    jnp.zeros_like(done),
    zeros,
    Judged(zeros, zeros, zeros, jnp.zeros((T, E, 1, 0))),
  )


def outputs_of(params, obs):
  said = apply(params, obs)
  zeros = jnp.zeros(said.shape[:-1], jnp.float32)
  return Outputs(Categorical(said[..., :A]), zeros, said[..., A:])


def close(got, want, rtol):
  """To a part of the largest entry, and of each."""
  want = np.asarray(want)
  got = np.asarray(got).reshape(want.shape)
  np.testing.assert_allclose(
    got, want, rtol=rtol, atol=rtol * np.abs(want).max()
  )


class DiscoOracleTest(parameterized.TestCase):
  @parameterized.parameters(
    (rlax.SIGNED_HYPERBOLIC_PAIR[1], 1e-5), (disco_values.expand, 1e-4)
  )
  def test_network_and_values_of_other_behaviour(self, expand, rtol):
    """Through several updates, when others acted."""
    self.enter_context(mock.patch.object(disco_values, 'expand', expand))
    same = functools.partial(close, rtol=rtol)
    rule, weights = published()
    memory = rule.init_meta_state(jax.random.key(0), {})
    params = disco_weights.load(WEIGHTS, disco_weights.Sizes())
    life, average = disco_network.new_life(params), disco_values.new_average()
    for seed in range(UPDATES):
      data = drawn(seed)
      obs, action, reward, done = data
      says = [theirs(apply(agent_params(10 * seed + i), obs)) for i in range(3)]
      own, target, behaviour = says
      meta_out, memory = rule.unroll_meta_net(
        weights,
        {},
        {},
        memory,
        inputs(data, own, behaviour),
        HYPER,
        lambda *_, target=target: (target, {}),
        jax.random.key(0),
      )
      weight = jnp.full((T, E), 1 / (T * E))
      values, average = disco_values.values_of(
        average,
        reward,
        done,
        action[:-1],
        weight,
        own['logits'],
        behaviour['logits'][:-1],
        own['q'],
        target['q'],
        HYPER['discount_factor'],
        HYPER['value_fn_td_lambda'],
      )
      said = lambda out: disco_network.Said(out['logits'], out['y'], out['z'])
      seen = disco_network.Seen(
        action[:-1],
        reward,
        done,
        weight,
        behaviour['logits'][:-1],
        said(own),
        said(target),
        values,
      )
      taught, life = disco_network.teach(params, life, seen)
      same(values.returns, meta_out['q_target'])
      same(values.normalized_advantage, meta_out['normalized_adv'])
      same(values.normalized_q_advantage, meta_out['normalized_qv_adv'][:-1])
      same(taught.pi, meta_out['pi'])
      same(taught.y, meta_out['y'])
      same(taught.z, meta_out['z'])
      state = jax.tree.leaves(memory['rnn_state'])
      self.assertLen(state, 2)
      same(life.hidden, memory['rnn_state']['lstm']['meta_rnn_state'].hidden)
      same(life.cell, memory['rnn_state']['lstm']['meta_rnn_state'].cell)

  def test_a_life(self):
    """Gradients of the loss and parameters, update after update."""
    # Their probabilities of two bins have 1e-5 in a denominator.
    same = functools.partial(close, rtol=1e-4)
    rule, weights = published()
    ours = metarl.disco103(WEIGHTS)
    meta = ours.init(jax.random.key(0))
    self.assertEqual(
      A + ours.num_further(A), sum(np.prod(shape) for shape in WIDTHS.values())
    )
    optimizer = metarl.stopped_adam(1e-2)
    their_optimizer = agent.optax.chain(
      agent.optimizers.scale_by_adam_sg_denom(),
      agent.optax.clip(max_delta=1.0),
      agent.optax.scale(-1e-2),
    )
    params = their_params = agent_params(99)
    opt_state = optimizer.init(params)
    their_opt_state = their_optimizer.init(params)
    memory = ours.start(meta, params)
    their_memory = rule.init_meta_state(jax.random.key(0), params)
    for seed in range(UPDATES):
      data = drawn(seed)
      obs = data[0]

      out = theirs(apply(their_params, obs))
      meta_out, their_memory = rule.unroll_meta_net(
        weights,
        their_params,
        {},
        their_memory,
        inputs(data, out, out),
        HYPER,
        lambda params, state, obs, _: (theirs(apply(params, obs)), state),
        jax.random.key(0),
      )

      def their_loss(params, data=data, out=out, meta_out=meta_out):
        now = inputs(data, theirs(apply(params, data[0])), out)
        loss, log = rule.agent_loss(now, meta_out, HYPER, backprop=False)
        value_loss, more = rule.agent_loss_no_meta(now, meta_out, HYPER)
        return jnp.mean(loss + value_loss), log | more

      (want, log), their_grads = jax.value_and_grad(their_loss, has_aux=True)(
        their_params
      )
      rollout = rollout_of(data)
      last = obs[-1][:, None]
      experience = metarl.Experience(
        rollout,
        outputs_of(params, last),
        params,
        lambda p, r=rollout, last=last: (
          outputs_of(p, r.obs),
          outputs_of(p, last),
        ),
      )
      lifetime = metarl.Lifetime(jnp.int32(seed), UPDATES)
      target, memory = ours.targets(meta, memory, experience, lifetime, PPO())

      def loss(p, rollout=rollout, target=target, lifetime=lifetime):
        outputs = outputs_of(p, rollout.obs)
        batch = Batch(rollout, target)
        return ours.loss(meta, outputs, batch, lifetime, PPO())

      (got, parts), grads = jax.value_and_grad(loss, has_aux=True)(params)
      same(got, want)
      same(parts['policy_loss'], log['pi_loss'].mean())
      same(parts['next_policy_loss'], log['aux_kl_loss'].mean())
      same(parts['value_loss'], log['q_loss'].mean())
      same(grads['kernel'], their_grads['kernel'])
      same(memory.target['kernel'], their_memory['target_params']['kernel'])
      same(memory.average.second, their_memory['adv_ema_state'].moment2)
      changes, opt_state = optimizer.update(grads, opt_state)
      params = jax.tree.map(jnp.add, params, changes)
      changes, their_opt_state = their_optimizer.update(
        their_grads, their_opt_state
      )
      their_params = jax.tree.map(jnp.add, their_params, changes)
      # Adam turns a tiny gradient of either sign into a whole step.
      moved = np.abs(params['kernel'] - their_params['kernel'])
      self.assertLess(np.mean(moved > 1e-4), 1e-3)
      params = their_params
      self.assertIsInstance(memory, disco.DiscoMemory)


if __name__ == '__main__':
  absltest.main()
