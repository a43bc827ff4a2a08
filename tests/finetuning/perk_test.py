"""Reading by gradient steps: quadratics with closed forms, and a real model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from ttc import finetuning, models

MODEL = models.transformer(
  models.TransformerConfig(
    vocab_size=16, num_layers=1, embed_dim=16, mlp_dim=16, num_heads=2,
    num_kv_heads=2, head_dim=8, max_length=8,
  )
)  # fmt: skip
read = jax.jit(functools.partial(finetuning.read_context, MODEL))


class UnrollTest(parameterized.TestCase):
  @parameterized.parameters(0, 1, 2, 4)
  def test_a_quadratic_has_its_closed_form(self, num_unrolled):
    a, m, rate, steps = 0.7, 2.0, 0.3, 4
    rates = jnp.full((steps,), rate)
    end = lambda start, a: finetuning.unroll(
      lambda x: a / 2 * (x - m) ** 2, start, rates, num_unrolled
    )
    start = jnp.float32(-1)
    shrink = 1 - rate * a
    self.assertAlmostEqual(
      float(end(start, a)), m + shrink**steps * (-1 - m), places=5
    )
    slope = jax.jit(jax.grad(end))(start, a)
    self.assertAlmostEqual(float(slope), shrink**num_unrolled, places=5)

  def test_without_truncation_it_is_the_derivative(self):
    loss = lambda x, m: jnp.sum(jnp.cosh(x - m)) + jnp.sum(x) ** 2

    def end(start, m, rates):
      return finetuning.unroll(lambda x: loss(x, m), start, rates, 3).sum()

    def plain(x, m, rates):
      for rate in rates:
        x = x - rate * jax.grad(loss)(x, m)
      return x.sum()

    args = jnp.array([0.3, -0.2]), jnp.array([1.0, 0.5]), jnp.full((3,), 0.1)
    with jax.enable_x64(False):
      for got, want in zip(
        jax.jit(jax.grad(end, (0, 1, 2)))(*args),
        jax.jit(jax.grad(plain, (0, 1, 2)))(*args),
        strict=True,
      ):
        np.testing.assert_allclose(got, want, rtol=1e-5)

  def test_rates_may_be_of_each_number(self):
    rates = {'a': jnp.array([[1.0, 0.0]]), 'b': jnp.array([0.5])}
    start = {'a': jnp.ones(2), 'b': jnp.ones(2)}
    end = finetuning.unroll(
      lambda x: jnp.sum(x['a'] ** 2 + x['b'] ** 2) / 2, start, rates, 1
    )
    np.testing.assert_array_equal(end['a'], [0, 1])
    np.testing.assert_array_equal(end['b'], [0.5, 0.5])
    with self.assertRaisesRegex(ValueError, r'2 is not in \[0, 1\]'):
      finetuning.unroll(lambda x: x['a'][0], start, rates, 2)


class PerkTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    init_key, key = jax.random.split(jax.random.key(0))
    self.perk = finetuning.init_perk(
      key, jax.jit(MODEL.init)(init_key), 4, 3, rate=2.0
    )
    facts = jnp.stack([jnp.arange(6), 15 - jnp.arange(6)], axis=1)
    self.texts = finetuning.Texts(facts, jnp.array([[False, True]] * 6))

  def test_reading_lowers_the_loss_of_what_was_read_and_order_is_nothing(self):
    loss = jax.jit(
      lambda texts, about: finetuning.perk_loss(MODEL, self.perk, texts, about)
    )
    turn = jax.tree.map(lambda x: x[::-1], self.texts)
    none = self.texts._replace(mask=jnp.zeros_like(self.texts.mask))
    before = loss(none, self.texts)
    after = loss(self.texts, self.texts)
    self.assertLess(float(after), float(before) - 0.5)
    self.assertAlmostEqual(float(loss(turn, self.texts)), float(after), 4)

  def test_a_segment_more_that_does_not_count_changes_nothing(self):
    padded = finetuning.Texts(
      jnp.pad(self.texts.tokens, ((0, 2), (0, 0))),
      jnp.pad(self.texts.mask, ((0, 2), (0, 0))),
    )
    for got, want in zip(
      jax.tree.leaves(read(self.perk, padded)),
      jax.tree.leaves(read(self.perk, self.texts)),
      strict=True,
    ):
      np.testing.assert_allclose(got, want, atol=1e-6)

  def test_contexts_side_by_side_are_contexts_alone(self):
    two = jax.tree.map(lambda x: jnp.stack([x, x[::-1]]), self.texts)
    both = jax.jit(jax.vmap(read, in_axes=(None, 0)))(self.perk, two)
    one = read(self.perk, jax.tree.map(lambda x: x[1], two))
    for got, want in zip(
      jax.tree.leaves(both), jax.tree.leaves(one), strict=True
    ):
      np.testing.assert_allclose(got[1], want, atol=1e-5)

  def test_longer_reading_goes_on_with_the_last_rates(self):
    rising = self.perk._replace(
      log_rates=jax.tree.map(
        lambda x: jnp.log(jnp.array([0.1, 0.2, 0.4])), self.perk.log_rates
      )
    )
    longer = finetuning.read_longer(rising, 2)
    for rates in jax.tree.leaves(longer.log_rates):
      np.testing.assert_allclose(jnp.exp(rates), [0.1, 0.2, 0.4, 0.4, 0.4])
    # Two more steps of plain descent from where the first three end.
    want = read(rising, self.texts)
    last = rising._replace(
      log_rates=jax.tree.map(
        lambda x: jnp.log(jnp.full((2,), 0.4)), self.perk.log_rates
      ),
      adapter=want,
    )
    for got, want in zip(
      jax.tree.leaves(read(longer, self.texts)),
      jax.tree.leaves(read(last, self.texts)),
      strict=True,
    ):
      np.testing.assert_allclose(got, want, atol=1e-5)

  def test_every_part_is_learned(self):
    loss = lambda perk: finetuning.perk_loss(
      MODEL, perk, self.texts, self.texts
    )
    grads = jax.jit(jax.grad(loss))(self.perk)
    for part in (grads.model, grads.adapter, grads.log_rates):
      self.assertGreater(float(optax.tree.norm(part)), 0)
    for path, rate in grads.log_rates.items():
      # Steps before the last two are not differentiated through, and at
      # the first of them A has no gradient, since B is 0.
      self.assertEqual(float(rate.a[0]), 0.0, path)

  def test_wrong_numbers(self):
    with self.assertRaisesRegex(ValueError, 'num_steps=0'):
      finetuning.init_perk(jax.random.key(0), self.perk.model, 4, 0)


if __name__ == '__main__':
  absltest.main()
