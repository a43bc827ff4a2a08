"""Networks of agents: time, memory, resets, whose parameters."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import agents
from ttc.agents import networks
from ttc.agents.networks import Architecture


def random_inputs(num_steps=5, num_envs=3, num_agents=2, width=4, seed=0):
  keys = jax.random.split(jax.random.key(seed), 2)
  shape = (num_steps, num_envs, num_agents)
  obs = jax.random.normal(keys[0], (*shape, width))
  return obs, jax.random.bernoulli(keys[1], 0.3, shape)


class NetworksTest(parameterized.TestCase):
  @parameterized.parameters((4, 4), (7, 3), (3, 7), (2, 3, 5))
  def test_orthogonal(self, *shape):
    x = networks.orthogonal(2.0)(jax.random.key(0), shape).reshape(
      -1, shape[-1]
    )
    gram = x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)

  def test_a_sequence_is_its_steps(self):
    net = agents.for_agents(Architecture((8,), 6), 3, 2, (4,))
    params = jax.jit(net.init)(jax.random.key(1))
    obs, reset = random_inputs()
    memory = jnp.ones((3, 2, 6))
    whole, last = jax.jit(net.apply)(params, obs, memory, reset)
    for t in range(5):
      one, memory = jax.jit(net.apply)(
        params, obs[t : t + 1], memory, reset[t : t + 1]
      )
      np.testing.assert_allclose(one[0], whole[t], atol=1e-5)
    np.testing.assert_allclose(memory, last, atol=1e-5)

  def test_a_reset_forgets_the_past_and_nothing_else(self):
    net = agents.for_agents(Architecture((8,), 6), 3, 2, (4,))
    params = jax.jit(net.init)(jax.random.key(1))
    obs, _ = random_inputs()
    reset = jnp.zeros((5, 3, 2), bool).at[2].set(True)
    memory = jnp.ones((3, 2, 6))
    a, _ = jax.jit(net.apply)(params, obs, memory, reset)
    b, _ = jax.jit(net.apply)(params, obs.at[:2].add(1.0), -memory, reset)
    np.testing.assert_array_equal(a[2:], b[2:])
    self.assertTrue(np.all(np.any(np.asarray(a[:2] != b[:2]), axis=-1)))

  def test_the_gru_is_flax_one(self):
    """Same gates: parameters of `nn.GRUCell`, written our way."""
    cell = nn.GRUCell(6)
    x, h = jax.random.normal(jax.random.key(0), (2, 4, 6))
    params = jax.jit(cell.init)(jax.random.key(1), h, x)['params']
    params = jax.tree.map(lambda p: p + 0.1, params)
    join = lambda kind, names: jnp.concatenate(
      [params[name][kind] for name in names], axis=-1
    )
    ours = {
      'Dense_0': {
        'kernel': join('kernel', ('ir', 'iz', 'in')),
        'bias': join('bias', ('ir', 'iz', 'in')),
      },
      'memory_kernel': join('kernel', ('hr', 'hz', 'hn')),
      'memory_bias': params['hn']['bias'],
    }
    want, _ = jax.jit(cell.apply)({'params': params}, h, x)
    got, _ = jax.jit(networks.GRU(6).apply)(
      {'params': ours}, x[None], h, jnp.zeros((1, 4), bool)
    )
    np.testing.assert_allclose(got[0], want, atol=1e-5)

  def test_separate_agents_have_parameters_of_their_own(self):
    net = agents.for_agents(Architecture((8,), 6, shared=False), 3, 2, (4,))
    params = jax.jit(net.init)(jax.random.key(1))
    obs, reset = random_inputs()
    memory = jnp.ones((3, 2, 6))
    a, _ = jax.jit(net.apply)(params, obs, memory, reset)
    changed = jax.tree.map(lambda p: p.at[1].add(1.0), params)
    b, _ = jax.jit(net.apply)(changed, obs, memory, reset)
    np.testing.assert_array_equal(a[:, :, 0], b[:, :, 0])
    self.assertTrue(np.all(np.any(np.asarray(a != b)[:, :, 1], axis=-1)))
    self.assertEqual(a.shape, (5, 3, 2, 3))

  def test_ids_tell_agents_apart(self):
    obs = jnp.ones((1, 1, 2, 4))
    reset, memory = jnp.zeros((1, 1, 2), bool), jnp.zeros((1, 2, 0))
    outputs = []
    for ids in (False, True):
      net = agents.for_agents(Architecture((8,), agent_ids=ids), 3, 2, (4,))
      params = jax.jit(net.init)(jax.random.key(1))
      outputs.append(jax.jit(net.apply)(params, obs, memory, reset)[0][0, 0])
    np.testing.assert_array_equal(outputs[0][0], outputs[0][1])
    self.assertTrue(np.all(outputs[1][0] != outputs[1][1]))

  def test_images_and_ids_are_refused(self):
    with self.assertRaisesRegex(ValueError, 'agent_ids=True needs'):
      agents.for_agents(Architecture(agent_ids=True), 3, 2, (4, 4, 1))

  def test_convolutions_of_vectors_are_refused(self):
    with self.assertRaisesRegex(ValueError, 'channels=8 needs'):
      agents.for_agents(Architecture(channels=8), 3, 2, (4,))

  @parameterized.parameters(0, 4)
  def test_images(self, channels):
    architecture = Architecture((8,), channels=channels)
    net = agents.for_agents(architecture, 3, 2, (4, 5, 6))
    params = jax.jit(net.init)(jax.random.key(1))
    obs = jnp.ones((2, 3, 2, 4, 5, 6))
    out, _ = jax.jit(net.apply)(
      params, obs, jnp.zeros((3, 2, 0)), jnp.zeros((2, 3, 2), bool)
    )
    self.assertEqual(out.shape, (2, 3, 2, 3))


class TableTest(absltest.TestCase):
  def test_a_table_is_a_linear_layer_on_one_hot_vectors(self):
    net = networks.for_agents(
      Architecture((), biases=False, table=5), 3, 1, (2,)
    )
    params = jax.jit(net.init)(jax.random.key(0))
    rows = jax.random.normal(jax.random.key(1), (5, 3))
    params['params']['Embed_0']['embedding'] = rows
    index, time = np.array([4, 0, 2]), np.array([0.1, 0.2, 0.3])
    obs = np.stack([index, time], axis=-1)[:, None, None].astype(np.float32)
    got, _ = jax.jit(net.apply)(
      params, jnp.asarray(obs), jnp.zeros((1, 1, 0)), jnp.zeros((3, 1, 1), bool)
    )
    kernel = params['params']['Dense_0']['kernel']
    want = np.eye(5)[index] @ rows + time[:, None] * kernel
    np.testing.assert_allclose(got[:, 0, 0], want, atol=1e-6)

  def test_it_stands_alone(self):
    with self.assertRaisesRegex(ValueError, 'table=5 needs'):
      networks.for_agents(Architecture((4,), table=5), 3, 1, (2,))


if __name__ == '__main__':
  absltest.main()
