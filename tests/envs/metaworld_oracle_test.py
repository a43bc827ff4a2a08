"""The real Meta-World 3.1 steps as ours does, and as it once did."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from metaworld_steps import FAMILIES, RECORDED, actions_of, real_steps

from ttc import envs

pytestmark = pytest.mark.oracle
metaworld = pytest.importorskip('metaworld')


class RealTest(parameterized.TestCase):
  @parameterized.parameters(*FAMILIES)
  def test_steps_are_its_own(self, name):
    env = envs.from_metaworld(name)
    benchmark = metaworld.ML1(name, seed=0)
    variations = (0, 7, 0)  # objects are left and resumed
    actions = np.stack([actions_of(seed, 120) for seed in range(3)])
    params = env.default_params._replace(variation=jnp.array(variations))
    axes = params._replace(variation=0, max_steps=None)

    def run(params, actions):
      first, state = env.reset(jax.random.key(0), params)

      def step(state, action):
        out = env.step(jax.random.key(0), state, action[None], params)
        return out.state, (out.obs[0], out.reward[0], out.info['success'])

      return first[0], *jax.lax.scan(step, state, actions)[1]

    ours = jax.jit(jax.vmap(run, in_axes=(axes, 0)))(params, actions)
    for e, variation in enumerate(variations):
      real = benchmark.train_classes[name]()
      real.set_task(benchmark.train_tasks[variation])
      obs, reward, success = real_steps(real, actions[e])
      np.testing.assert_array_equal(ours[0][e], obs[0])
      np.testing.assert_array_equal(ours[1][e], obs[1:])
      np.testing.assert_array_equal(ours[2][e], reward)
      np.testing.assert_array_equal(ours[3][e], success)

  @parameterized.parameters(*FAMILIES)
  def test_observations_are_those_once_recorded(self, name):
    benchmark = metaworld.ML1(name, seed=0)
    real = benchmark.train_classes[name]()
    real.set_task(benchmark.train_tasks[0])
    obs, _, _ = real_steps(real, actions_of(0, 20))
    np.testing.assert_allclose(obs, np.load(RECORDED)[name], atol=1e-5)


if __name__ == '__main__':
  absltest.main()
