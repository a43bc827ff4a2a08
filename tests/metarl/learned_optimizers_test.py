import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest

from ttc import metarl
from ttc.testbeds import learned_optimizers


class LearnedOptimizerTest(absltest.TestCase):
  def test_is_adam_before_it_learns(self):
    meta = metarl.init_learned_optimizer(jax.random.key(0))
    ours = metarl.learned_optimizer(meta, 10, 0.1)
    theirs = optax.adam(0.1, b1=0.9, b2=0.99)
    params = {'a': jax.numpy.ones((3,)), 'b': jax.numpy.ones((2, 2))}
    states = ours.init(params), theirs.init(params)
    for i in range(5):
      grads = jax.tree.map(
        lambda x, i=i: jax.random.normal(jax.random.key(i), x.shape), params
      )
      left, state = ours.update(grads, states[0])
      right, other = theirs.update(grads, states[1])
      states = state, other
      for a, b in zip(
        jax.tree.leaves(left), jax.tree.leaves(right), strict=True
      ):
        np.testing.assert_allclose(a, b, rtol=1e-4)

  def test_scale_of_gradients_means_nothing(self):
    meta = metarl.init_learned_optimizer(jax.random.key(0))
    meta = jax.tree.map(
      lambda x: x + 0.1 * jax.random.normal(jax.random.key(1), x.shape), meta
    )
    optimizer = metarl.learned_optimizer(meta, 10)
    grads = jax.random.normal(jax.random.key(2), (5,))
    state = optimizer.init(grads)
    small, _ = optimizer.update(grads, state)
    large, _ = optimizer.update(1000 * grads, state)
    np.testing.assert_allclose(small, large, rtol=1e-4)

  @pytest.mark.slow
  def test_evolution_improves_it_on_trainings_it_never_saw(self):
    keys = jax.random.split(jax.random.key(9), 128)
    loss = jax.jit(
      lambda meta: jnp.mean(
        jnp.log(
          jax.vmap(lambda key: learned_optimizers.final_loss(meta, key, 200))(
            keys
          )
        )
      )
    )
    before, after = (
      float(loss(learned_optimizers.by_evolution(jax.random.key(0), n)))
      for n in (0, 20)
    )
    self.assertLess(after, before - 0.5)


if __name__ == '__main__':
  absltest.main()
