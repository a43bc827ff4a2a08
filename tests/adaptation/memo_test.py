"""MEMO: entropy of the mean, and TENT where all views are one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest
from given_logits import batch_of, compiled, given_logits, source_of

from ttc.adaptation import memo, tent
from ttc.adaptation.losses import entropy
from ttc.adaptation.memo import marginal_entropy
from ttc.adaptation.views import unchanged

KEY = jax.random.key(0)
ROWS = np.random.default_rng(0).normal(size=(3, 4))


class MemoTest(absltest.TestCase):
  def test_entropy_of_the_mean(self):
    p = np.exp(ROWS) / np.exp(ROWS).sum(-1, keepdims=True)
    mean = p.mean(0)
    got = float(marginal_entropy(jnp.asarray(ROWS, jnp.float32)))
    self.assertAlmostEqual(got, -(mean * np.log(mean)).sum(), places=5)
    self.assertGreater(got, float(entropy(jnp.asarray(ROWS)).mean()))
    # A class that no view believes in.
    sure = jnp.tile(jnp.array([0.0, -1e6]), (4, 1))
    slope = jax.jit(jax.grad(marginal_entropy))(sure)
    self.assertTrue(bool(jnp.isfinite(slope).all()))

  def test_views_that_are_the_image_make_it_tent_for_each_image(self):
    network, sgd = given_logits(4), optax.sgd(0.5)
    source = source_of(network)
    adapter = compiled(memo(network, sgd, view=unchanged, num_views=3))
    state = adapter.init(source, KEY)
    said, after = adapter.update(state, batch_of(ROWS), KEY)
    self.assertEqual(int(said.num_backward), 9)
    np.testing.assert_array_equal(
      after['params']['norm']['bias'], state['params']['norm']['bias']
    )
    single = compiled(tent(network, sgd, select='all'))
    for i, row in enumerate(ROWS):
      _, learned = single.update(single.init(source, KEY), batch_of([row]), KEY)
      wanted, _ = single.update(learned, batch_of([row]), KEY)
      np.testing.assert_allclose(said.logits[i], wanted.logits[0], atol=1e-5)

  def test_each_image_has_views_of_its_own(self):
    network = given_logits(4)
    drawn = lambda key, x: x + jax.random.normal(key, x.shape)
    adapter = compiled(memo(network, optax.sgd(0.5), view=drawn, num_views=2))
    state = adapter.init(source_of(network), KEY)
    twins = batch_of([ROWS[0], ROWS[0]])
    said, _ = adapter.update(state, twins, KEY)
    self.assertGreater(float(abs(said.logits[0] - said.logits[1]).max()), 1e-3)


if __name__ == '__main__':
  absltest.main()
