"""Beds of mixtures of experts: what is drawn, disturbed and biased."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc import models
from ttc.testbeds import biased_routers, disturbed_routers, expert_mixtures

_random = np.random.default_rng(0)


class MutualInformationTest(absltest.TestCase):
  def test_of_experts_of_ones_own_and_of_none(self):
    tasks = jnp.asarray([0, 1, 2, 0], jnp.int32)
    own = jax.nn.one_hot(tasks, 4)[:, None]
    get = lambda weights: expert_mixtures.mutual_information(weights, tasks, 3)
    self.assertAlmostEqual(float(get(own)), np.log(3), delta=1e-4)
    shared = jnp.broadcast_to(own[:1], own.shape)
    self.assertAlmostEqual(float(get(shared)), 0.0, delta=1e-6)

  def test_by_its_definition(self):
    x = _random.uniform(size=(6, 2, 4))
    weights = x / x.sum(-1, keepdims=True)
    tasks = np.array([0, 0, 1, 1, 1, 1])
    given = np.stack([weights[tasks == t].mean(0) for t in (0, 1)])
    marginal = given.mean(0)
    want = (given * np.log(given / marginal)).sum(-1).mean()
    got = expert_mixtures.mutual_information(
      jnp.asarray(weights, jnp.float32), jnp.asarray(tasks, jnp.int32), 2
    )
    self.assertAlmostEqual(float(got), want, delta=1e-5)


class TablesTest(absltest.TestCase):
  def test_a_question_and_its_two_steps(self):
    tables = disturbed_routers.draw_tables(0)
    t, a, b, name, y, z = np.asarray(
      disturbed_routers.sequence(tables, 2, 3, 7)
    )[[0, 1, 2, 3, 4, 5]]
    self.assertEqual((t, a, b, name), (12, 3, 7, 12))
    self.assertEqual((y, z), (int(tables[2, 3, 7]), int(tables[2, y, 7])))

  def test_noise_is_of_the_question_in_the_last_layer_from_its_end(self):
    noise = disturbed_routers.draw_noise(0)
    bias = np.asarray(noise.bias[:, 0])
    np.testing.assert_array_equal(bias[:, :2], 0)
    deviation = bias[:, 2].std()
    # 4800 numbers: the standard error of a deviation is a hundredth of it.
    self.assertAlmostEqual(deviation / disturbed_routers.NOISE, 1, delta=0.04)
    self.assertFalse(np.any(noise.replaces))
    np.testing.assert_array_equal(
      noise.positions[0, 0], np.arange(7) >= disturbed_routers.PROMPT - 1
    )

  def test_flops(self):
    """Attention 4 D^2, a router, k experts of 3 D F, then the vocabulary."""
    for count, all_experts in ((2, False), (8, True)):
      layer = 4 * 64**2 + 8 * 64 + count * 3 * 64 * 64
      want = 2 * (3 * layer + 16 * 64)
      self.assertEqual(disturbed_routers.flops_per_token(all_experts), want)


class ChainsTest(absltest.TestCase):
  def test_three_successors(self):
    chains = np.asarray(biased_routers.draw_chains(1))
    np.testing.assert_allclose(chains.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(
      np.sort(chains, axis=-1)[..., -3:],
      np.broadcast_to([0.1, 0.2, 0.7], (*chains.shape[:2], 3)),
      atol=1e-6,
    )
    text = np.asarray(biased_routers.texts_of(1, 2, 3, 0))
    self.assertTrue(np.all(chains[3, text[:, :-1], text[:, 1:]] > 0))

  def test_prompt_and_continuation_do_not_overlap(self):
    config = biased_routers.CONFIG
    mixture = expert_mixtures.TrainedMixture(
      config, models.transformer(config).init(jax.random.key(0))
    )
    texts = biased_routers.texts_of(0, 2, 0, 0)
    bias = jax.random.normal(jax.random.key(1), (2, 2, 8))
    measure = jax.jit(lambda bias: biased_routers.measure(mixture, texts, bias))
    got, plain = measure(bias), measure(0 * bias)
    forward = jax.jit(models.forward, static_argnums=0)
    whole = forward(mixture.model, mixture.params, texts)
    log_p = np.asarray(jax.nn.log_softmax(whole))
    place = np.arange(32, 64)
    for b in range(2):
      want = -log_p[b, place - 1, np.asarray(texts)[b, place]].mean()
      self.assertAlmostEqual(float(plain.nll[b]), want, delta=1e-4)
    self.assertGreater(float(jnp.abs(got.nll - plain.nll).max()), 1e-4)


if __name__ == '__main__':
  absltest.main()
