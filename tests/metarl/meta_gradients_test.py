"""Truncated meta-gradients: the critic learns, chunks and devices are equal."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest

from ttc import envs, metarl
from ttc.agents import PPO, Architecture

AGENT = metarl.Agent(
  PPO(num_envs=4, num_steps=4, num_epochs=1, num_minibatches=1),
  Architecture((8,)),
)
TASK = metarl.MetaTask(
  envs.bandit(3), envs.bandit_tasks(3), low=2, high=6, agent=AGENT
)
RULE = metarl.ta_lpg(3, 8)


def run(num_updates, task=TASK, numbers=None, rate=1e-3, **options):
  """The state and the metrics of so many meta-updates."""
  numbers = numbers or metarl.MetaGradients(num_agents=8, num_updates=2)
  method = metarl.meta_gradients(
    task, RULE, optax.adam(rate), numbers, **options
  )
  state = jax.jit(method.init)(
    jax.jit(RULE.init)(jax.random.key(0)), jax.random.key(1)
  )
  return jax.jit(
    lambda state: jax.lax.scan(
      lambda state, _: method.update(state), state, length=num_updates
    )
  )(state)


class MetaGradientsTest(absltest.TestCase):
  @pytest.mark.slow
  def test_chunks_change_nothing(self):
    whole, told = run(3)
    parts, told_parts = run(3, chunk_size=2)
    chex.assert_trees_all_close(whole.params, parts.params, atol=1e-5)
    chex.assert_trees_all_close(told, told_parts, atol=1e-4)

  @pytest.mark.slow
  def test_lives_begin_anew_when_they_are_over(self):
    """No life is longer than its horizon, and all have at most `high`."""
    whole, _ = run(4, chunk_size=4)
    updates = np.asarray(whole.lives.agent.updates)
    horizon = np.asarray(whole.lives.life.horizon)
    self.assertTrue(np.all(updates <= horizon))
    self.assertTrue(np.any(updates < horizon))  # after 8, and lives of 6
    self.assertTrue(np.all((horizon >= 2) & (horizon <= 6)))
    self.assertGreater(len(np.unique(whole.lives.life.env_params.means)), 8)

  def test_agents_that_do_not_come_out_even(self):
    with self.assertRaisesRegex(ValueError, 'num_agents=8 is no multiple'):
      run(1, chunk_size=3)

  @pytest.mark.slow
  def test_the_critic_learns(self):
    """Of one long life on a level that pays 1 always."""
    pays = envs.bandit(3).default_params._replace(
      means=jnp.ones(3), noise_std=jnp.float32(0.0)
    )
    task = TASK._replace(
      levels=envs.TaskDistribution(lambda key: pays), low=60, high=60
    )
    numbers = metarl.MetaGradients(
      num_agents=2, num_updates=1, critic_rate=0.03
    )
    _, told = run(40, task, numbers, rate=0.0)
    losses = np.asarray(told['critic_loss'])
    self.assertGreater(losses[0], 0.1)
    self.assertLess(losses[-1], 0.02 * losses[0])


_DEVICES = """
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import AxisType
from ttc import envs, metarl
from ttc.agents import PPO, Architecture
agent = metarl.Agent(PPO(4, 4, 1, 1), Architecture((8,)))
task = metarl.MetaTask(envs.bandit(3), envs.bandit_tasks(3), 2, 6, agent)
rule = metarl.ta_lpg(3, 8)
ends = []
for n in (1, 4):
  mesh = jax.make_mesh((n,), ('data',), axis_types=(AxisType.Auto,),
                       devices=jax.devices()[:n])
  method = metarl.meta_gradients(
    task, rule, optax.adam(1e-3), metarl.MetaGradients(8, 2), chunk_size=2,
    mesh=mesh)
  meta = jax.jit(rule.init)(jax.random.key(0))
  state = jax.jit(method.init)(meta, jax.random.key(1))
  for _ in range(3):
    state, told = jax.jit(method.update)(state)
  ends.append((state.params, told))
for a, b in zip(*map(jax.tree.leaves, ends)):
  np.testing.assert_allclose(a, b, atol=1e-5)
print('equal')
"""


@pytest.mark.slow
def test_one_device_is_four(on_four_devices):
  assert on_four_devices(_DEVICES) == 'equal'


if __name__ == '__main__':
  absltest.main()
