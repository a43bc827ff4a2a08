"""ROID against a plain loss whose slope is measured."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest
from given_logits import batch_of, compiled, given_logits, source_of

from ttc.adaptation import roid
from ttc.adaptation.roid import smooth_prior, weigh

KEY = jax.random.key(0)
ROWS = np.random.default_rng(0).normal(size=(6, 3)) * 2
MEAN = np.array([0.5, 0.3, 0.2])


def softmax(z):
  return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def plain_weights(z, mean):
  p = softmax(z)
  d = 1 - p @ mean / np.linalg.norm(p, axis=-1) / np.linalg.norm(mean)
  c = (p * np.log(p)).sum(-1)
  d, c = [(v - v.min()) / (v.max() - v.min()) for v in (d, c)]
  return np.where(d >= d.mean(), np.exp(3 * d * c), 0)


def plain_loss(bias, weights):
  z, view = ROWS + bias, 2 * ROWS + bias
  p, v = softmax(z), softmax(view)
  q = np.minimum(p, 0.99)
  ratio = -(q * np.log(q / (1 - q) + 1e-5)).sum(-1)
  both = -0.5 * (p * np.log(v) + v * np.log(p)).sum(-1)
  return (weights * (ratio + both)).sum() / len(ROWS)


class RoidTest(absltest.TestCase):
  def adapter(self, **options):
    twice = lambda key, images: 2 * images
    network = given_logits(3)
    adapter = compiled(
      roid(network, optax.sgd(1.0), view=twice, prior=None, **options)
    )
    return adapter, adapter.init(source_of(network), KEY)

  def test_one_step_and_the_way_back(self):
    adapter, state = self.adapter(momentum=0.9)
    state = state._replace(mean_probs=jnp.asarray(MEAN, jnp.float32))
    said, new = adapter.update(state, batch_of(ROWS), KEY)
    weights = plain_weights(ROWS, MEAN)
    self.assertEqual(int(said.num_backward), 2 * (weights > 0).sum())
    slope = [
      (plain_loss(e, weights) - plain_loss(-e, weights)) / 2e-5
      for e in 1e-5 * np.eye(3)
    ]
    got = new.learning.params['norm/bias']
    np.testing.assert_allclose(got, -0.9 * np.array(slope), atol=1e-5)
    wanted = 0.9 * MEAN + 0.1 * softmax(ROWS).mean(0)
    np.testing.assert_allclose(new.mean_probs, wanted, atol=1e-6)

  def test_weights_and_what_fills_up(self):
    mean = jnp.asarray(MEAN, jnp.float32)
    rows = jnp.asarray(np.concatenate([ROWS, 9 * ROWS[:2]]), jnp.float32)
    mask = jnp.arange(8) < 6
    got = weigh(rows, mean, mask, 1 / 3)
    np.testing.assert_allclose(got[:6], plain_weights(ROWS, MEAN), rtol=1e-4)
    np.testing.assert_array_equal(got[6:], 0)
    # All alike: no span, every weight one.
    alike = jnp.tile(rows[:1], (4, 1))
    np.testing.assert_allclose(weigh(alike, mean, mask[:4], 1 / 3), 1)

  def test_an_empty_batch_changes_nothing(self):
    adapter, state = self.adapter()
    _, new = adapter.update(state, batch_of(ROWS, [False] * 6), KEY)
    chex.assert_trees_all_equal(new, state)

  def test_prior_of_the_batch(self):
    z = jnp.asarray(ROWS, jnp.float32)
    mean = softmax(ROWS).mean(0)
    smooth = (1 / 3) / mean.max()
    prior = (mean + smooth) / (1 + 3 * smooth)
    np.testing.assert_allclose(prior.sum(), 1)
    mask = jnp.ones(6, bool)
    by_probs = softmax(np.asarray(smooth_prior(z, mask, 'probabilities')))
    wanted = softmax(ROWS) * prior
    wanted /= wanted.sum(-1, keepdims=True)
    np.testing.assert_allclose(by_probs, wanted, atol=1e-5)
    np.testing.assert_allclose(
      smooth_prior(z, mask, 'logits'), ROWS * prior, atol=1e-5
    )
    # One image: as smooth as it gets.
    one = smooth_prior(z[:1], mask[:1], 'logits') / z[:1]
    mean = softmax(ROWS[0])
    wanted = (mean + 1 / mean.max()) / (1 + 3 / mean.max())
    np.testing.assert_allclose(one[0], wanted, rtol=1e-5)


if __name__ == '__main__':
  absltest.main()
