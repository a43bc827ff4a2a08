"""Rewiring against the router's own law, its analytic gradient and itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest

from ttc import experts, models, sampling
from ttc.types import Prompt

CONFIG = models.TransformerConfig(
  vocab_size=11, num_layers=2, embed_dim=16, mlp_dim=16, num_heads=2,
  num_kv_heads=1, head_dim=8, max_length=64,
  experts=models.Experts(4, 2, 8, True, layers=(0,)),
)  # fmt: skip
MODEL = models.transformer(CONFIG)
LEARNER = models.transformer(CONFIG, straight_through=True)
PARAMS = jax.jit(MODEL.init)(jax.random.key(0))
TEXTS = Prompt(
  jax.random.randint(jax.random.key(1), (3, 8), 0, 11),
  jnp.array([8, 5, 6], jnp.int32),
)
REWIRING = experts.Rewiring(optax.sgd(0.5), 3, 1.0, interval=4)
CAPACITY = 10
STOP = sampling.stop_rules(vocab_size=11, stop_ids=[0])


def whole(texts):
  """Texts of which all but the first token is to be predicted."""
  return experts.Answered(
    texts.tokens, jnp.ones_like(texts.lengths), texts.lengths
  )


@functools.partial(jax.jit, static_argnames='model')
def losses_under(delta, model=MODEL, params=PARAMS, texts=TEXTS):
  """Of whole texts, `[B]`, under vectors `[L, E]` of all of them."""
  B = texts.tokens.shape[0]
  bias = jnp.broadcast_to(delta, (B, *delta.shape))
  return experts.answer_losses(
    model, params, whole(texts), experts.bias_routes(bias)
  )


class RouterVectorsTest(absltest.TestCase):
  def test_no_vector_is_the_model_bit_for_bit(self):
    np.testing.assert_array_equal(
      losses_under(jnp.zeros((2, 4))),
      jax.jit(lambda: experts.answer_losses(MODEL, PARAMS, whole(TEXTS)))(),
    )

  def test_a_constant_changes_nothing(self):
    delta = jax.random.normal(jax.random.key(2), (2, 4))
    shifted = delta + jnp.array([[3.0], [-2.0]])
    plain = losses_under(delta)
    np.testing.assert_allclose(losses_under(shifted), plain, atol=2e-5)
    self.assertGreater(
      float(jnp.abs(plain - losses_under(0 * delta)).max()), 1e-4
    )

  def test_gradient_when_all_are_chosen(self):
    r"""`dL/d delta_e = sum_t g_te (dL/dg_te - sum_j g_tj dL/dg_tj)`."""
    random = np.random.default_rng(0)
    logits, outputs = random.normal(size=(6, 4)), random.normal(size=(6, 4, 5))
    target = random.normal(size=(6, 5))

    def loss_of(gates):
      mixed = jnp.einsum('te,ted->td', gates, outputs)
      return jnp.sum(jnp.square(mixed - target))

    gates = jax.nn.softmax(jnp.asarray(logits, jnp.float32))
    got = jax.grad(lambda d: loss_of(jax.nn.softmax(logits + d)))(jnp.zeros(4))
    g, to_gates = np.asarray(gates), np.asarray(jax.grad(loss_of)(gates))
    inner = (g * to_gates).sum(1, keepdims=True)
    np.testing.assert_allclose(
      got, (g * (to_gates - inner)).sum(0), rtol=1e-4, atol=1e-4
    )

  def test_gradients_of_a_model_sum_to_zero(self):
    delta = jax.random.normal(jax.random.key(3), (2, 4)) / 2
    mean = lambda delta, model: losses_under(delta, model).mean()
    gradient = jax.jit(jax.grad(mean), static_argnums=1)
    for model in (MODEL, LEARNER):
      found = gradient(delta, model)
      self.assertGreater(float(jnp.abs(found[0]).max()), 1e-4)
      np.testing.assert_allclose(found.sum(-1), np.zeros(2), atol=1e-6)
      np.testing.assert_array_equal(found[1], np.zeros(4))  # a plain layer


class ConfidenceTest(absltest.TestCase):
  def test_negative_entropy_of_what_counts(self):
    logits = jax.random.normal(jax.random.key(4), (2, 5, 3, 4)) * 3
    got = experts.router_confidence(logits, jnp.array([5, 2], jnp.int32))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    entropy = (p * np.log(p)).sum(-1)
    np.testing.assert_allclose(
      got, [entropy[0].mean(0), entropy[1, :2].mean(0)], rtol=1e-4
    )

  def test_the_surest_layers_with_experts(self):
    confidence = jnp.array([[-0.3, -0.1, -0.2, 0.0], [-0.1, -0.2, -0.3, 0.0]])
    is_mixture = jnp.array([True, True, True, False])
    for share, want in (
      (0.3, [[0, 1, 0, 0], [1, 0, 0, 0]]),
      (0.5, [[0, 1, 1, 0], [1, 1, 0, 0]]),
      (1.0, [[1, 1, 1, 0], [1, 1, 1, 0]]),
    ):
      got = experts.confident_layers(confidence, is_mixture, share)
      np.testing.assert_array_equal(got, np.array(want, bool))


class RewireTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.run_it = staticmethod(
      jax.jit(lambda texts, l2: experts.rewire(
        LEARNER, PARAMS, texts, REWIRING._replace(l2=l2)))
    )  # fmt: skip
    cls.found = cls.run_it(TEXTS, 0.0)

  def test_the_loss_of_the_text_goes_down(self):
    first, last = self.found.losses[:, 0], self.found.losses[:, -1]
    self.assertTrue(np.all(last < first))
    np.testing.assert_allclose(
      self.found.losses[:, 0], losses_under(jnp.zeros((2, 4))), atol=1e-5
    )

  def test_one_step_is_the_gradient_and_its_decay(self):
    one = REWIRING._replace(num_steps=1, l2=0.1)
    start = jax.random.normal(jax.random.key(5), (3, 2, 4)) / 3
    got = jax.jit(
      lambda start: experts.rewire(LEARNER, PARAMS, TEXTS, one, start)
    )(start)
    start = start.at[:, 1].set(0.0)
    gradients = jax.jit(
      jax.vmap(lambda d: jax.jacrev(lambda d: losses_under(d, LEARNER))(d))
    )(start)
    for b in range(3):
      want = start[b] - 0.5 * (gradients[b, b] + 0.2 * start[b])
      np.testing.assert_allclose(got.bias[b], want, atol=1e-5)

  def test_a_bias_of_the_routers_is_added_to(self):
    """Vectors from minus the bias on are those of unbiased routers."""
    one = REWIRING._replace(num_steps=1)
    bias = jax.random.normal(jax.random.key(8), (2, 4)).at[1].set(0.0)
    start = jnp.broadcast_to(-bias, (3, 2, 4))
    run = jax.jit(
      lambda start, bias: experts.rewire(
        LEARNER, PARAMS, TEXTS, one, start, bias
      )
    )
    biased, plain = run(start, bias), run(0 * start, 0 * bias)
    np.testing.assert_allclose(biased.bias + bias, plain.bias, atol=1e-5)
    np.testing.assert_allclose(biased.losses, plain.losses, atol=1e-5)

  def test_layers_without_experts_get_none(self):
    np.testing.assert_array_equal(
      self.found.layers, np.broadcast_to([True, False], (3, 2))
    )
    np.testing.assert_array_equal(self.found.bias[:, 1], np.zeros((3, 4)))

  def test_padding_and_the_batch_mean_nothing(self):
    inside = jnp.arange(8) < TEXTS.lengths[:, None]
    other = jnp.where(inside, TEXTS.tokens, 7).at[0].set(3)
    again = self.run_it(Prompt(other, TEXTS.lengths), 0.0)
    np.testing.assert_allclose(again.bias[1:], self.found.bias[1:], atol=1e-6)

  def test_a_heavy_penalty_holds_it_back(self):
    held = self.run_it(TEXTS, 0.5)
    norm = lambda bias: float(jnp.linalg.norm(bias))
    self.assertLess(norm(held.bias), 0.9 * norm(self.found.bias))

  def test_bad_input(self):
    for changed, message in (
      ({'num_steps': 0}, 'num_steps=0 must be at least 1'),
      ({'interval': 0}, 'interval=0 must be at least 1'),
      ({'layer_share': 0.0}, 'layer_share=0 must be above 0'),
      ({'cache': 'drop'}, "cache='drop' must be 'keep' or 'recompute'"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        experts.rewire(MODEL, PARAMS, TEXTS, REWIRING._replace(**changed))


class GenerateTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.keys = jax.random.split(jax.random.key(6), 3)

    def run(keys, texts, rate, cache, continues=False):
      rewiring = REWIRING._replace(
        optimizer=optax.sgd(rate), cache=cache, continues=continues
      )
      return experts.generate_rewired(
        MODEL, PARAMS, keys, texts, rewiring, capacity=CAPACITY, stop=STOP,
        learner=LEARNER,
      )  # fmt: skip

    cls.run_it = staticmethod(jax.jit(run, static_argnums=(3, 4)))
    cls.draw = staticmethod(
      jax.jit(
        lambda keys, texts, stop: sampling.generate(
          PARAMS, keys, texts, 1, model=MODEL, capacity=CAPACITY, stop=stop
        )
      )
    )
    cls.plain = cls.draw(cls.keys, TEXTS, STOP)

  def test_without_a_rate_it_is_plain_sampling(self):
    got = self.run_it(self.keys, TEXTS, 0.0, 'recompute')
    np.testing.assert_array_equal(got.generation.tokens, self.plain.tokens)
    np.testing.assert_array_equal(got.generation.lengths, self.plain.lengths)
    np.testing.assert_array_equal(
      got.generation.finish_reasons, self.plain.finish_reasons
    )
    np.testing.assert_array_equal(got.bias, np.zeros((3, 3, 2, 4)))

  def test_cycles_learn_from_all_that_was_written(self):
    got = self.run_it(self.keys, TEXTS, 0.5, 'recompute')
    lengths = np.asarray(got.generation.lengths[:, 0])
    self.assertGreater(lengths.max(), 4)
    np.testing.assert_array_equal(got.read[0], TEXTS.lengths)
    for c in (1, 2):
      going = lengths > 4 * c
      want = np.where(going, np.asarray(TEXTS.lengths) + 4 * c, 0)
      sure = lengths != 4 * c  # else a stop may have met the end of a cycle
      np.testing.assert_array_equal(np.asarray(got.read[c])[sure], want[sure])
    b = int(lengths.argmax())
    text = jnp.concatenate(
      [TEXTS.tokens[b, : TEXTS.lengths[b]], got.generation.tokens[b, 0, :4]]
    )
    padded = jnp.zeros((3, 18), jnp.int32).at[:, : len(text)].set(text)
    alone = jax.jit(
      lambda texts: experts.rewire(LEARNER, PARAMS, texts, REWIRING)
    )(Prompt(padded, jnp.full((3,), len(text), jnp.int32)))
    np.testing.assert_allclose(got.bias[1, b], alone.bias[0], atol=1e-5)

  def test_what_has_ended_learns_nothing_more(self):
    """And whether the others have ended makes no difference to it."""
    keys = jax.random.split(jax.random.key(8), 3)  # ends early, late, not
    got = self.run_it(keys, TEXTS, 0.5, 'recompute')
    ended = np.asarray(got.read) == 0
    np.testing.assert_array_equal(ended.sum(0), [2, 1, 0])
    self.assertGreater(int(got.generation.lengths[2, 0]), 8)
    for c, b in zip(*np.nonzero(ended), strict=True):
      np.testing.assert_array_equal(got.bias[c, b], got.bias[c - 1, b])
      self.assertFalse(np.any(got.losses[c, b]))
    b = int(np.argmax(ended.sum(0)))
    copies = lambda x: jnp.repeat(x[b : b + 1], 3, axis=0)
    alone = self.run_it(
      copies(keys), jax.tree.map(copies, TEXTS), 0.5, 'recompute'
    )
    np.testing.assert_allclose(alone.bias[:, 0], got.bias[:, b], atol=1e-6)
    np.testing.assert_array_equal(alone.read[:, 0], got.read[:, b])
    np.testing.assert_array_equal(
      alone.generation.tokens[0], got.generation.tokens[b]
    )

  def test_what_ends_a_response_may_span_cycles(self):
    """A sequence that is cut by one, and a number of tokens before a stop."""
    drawn = self.plain.tokens[:, 0]
    b = int(self.plain.lengths[:, 0].argmax())
    self.assertGreater(int(self.plain.lengths[b, 0]), 6)
    across = [int(i) for i in drawn[b, 2:6]]  # a cycle ends after the fourth
    first = int(drawn[b, 0])

    def in_cycles(stop):
      rewiring = REWIRING._replace(optimizer=optax.sgd(0.0), num_steps=1)
      return experts.generate_rewired(
        MODEL, PARAMS, self.keys, TEXTS, rewiring, capacity=CAPACITY, stop=stop
      ).generation

    in_cycles = jax.jit(in_cycles)
    rules = functools.partial(sampling.stop_rules, 11, sequences=[across])
    for stop in (rules([0]), rules([0, first], min_tokens=5)):
      whole, cut = self.draw(self.keys, TEXTS, stop), in_cycles(stop)
      np.testing.assert_array_equal(cut.lengths, whole.lengths)
      np.testing.assert_array_equal(cut.finish_reasons, whole.finish_reasons)
    self.assertEqual(int(in_cycles(rules([0])).lengths[b, 0]), 6)

  @pytest.mark.slow
  def test_log_probs_are_those_of_the_vectors_of_each_cycle(self):
    """Recomputed, a cycle is a pass under its vectors from the first token."""
    got = self.run_it(self.keys, TEXTS, 0.5, 'recompute')
    kept = self.run_it(self.keys, TEXTS, 0.5, 'keep')
    b = int(got.generation.lengths[:, 0].argmax())
    tokens, n = got.generation.tokens[b, 0], int(got.generation.lengths[b, 0])
    text = jnp.concatenate([TEXTS.tokens[b, : TEXTS.lengths[b]], tokens])[None]
    for c in range(-(-n // 4)):
      routes = experts.bias_routes(got.bias[c, b][None])
      features, _ = models.read_routed(MODEL, PARAMS, text, None, routes)
      log_p = jax.nn.log_softmax(MODEL.logits(PARAMS, features))[0]
      place = np.arange(4 * c, min(4 * c + 4, n))
      want = log_p[int(TEXTS.lengths[b]) - 1 + place, tokens[place]]
      np.testing.assert_allclose(
        got.generation.log_probs[b, 0, place], want, atol=1e-4
      )
    # The first cycle is the same, what follows reads stale keys and values.
    np.testing.assert_allclose(kept.bias[0], got.bias[0], atol=1e-6)
    np.testing.assert_array_equal(
      kept.generation.tokens[..., :4], got.generation.tokens[..., :4]
    )
    self.assertGreater(
      float(
        jnp.abs(kept.generation.log_probs - got.generation.log_probs).max()
      ),
      1e-5,
    )

  @pytest.mark.slow
  def test_vectors_start_anew_or_go_on(self):
    anew = self.run_it(self.keys, TEXTS, 0.5, 'keep')
    goes_on = self.run_it(self.keys, TEXTS, 0.5, 'keep', True)
    np.testing.assert_allclose(anew.bias[0], goes_on.bias[0], atol=1e-6)
    norm = lambda found: float(jnp.linalg.norm(found.bias[2]))
    self.assertGreater(norm(goes_on), 1.2 * norm(anew))


if __name__ == '__main__':
  absltest.main()
