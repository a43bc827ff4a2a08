"""Questions: pathways, losses of answers, and where an override holds."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc import experts, models, sampling
from ttc.types import Prompt

CONFIG = models.TransformerConfig(
  vocab_size=9, num_layers=2, embed_dim=16, mlp_dim=16, num_heads=2,
  num_kv_heads=1, head_dim=8, max_length=32,
  experts=models.Experts(4, 2, 8, False, layers=(1,)),
)  # fmt: skip
MODEL = models.transformer(CONFIG)
PARAMS = jax.jit(MODEL.init)(jax.random.key(0))
TOKENS = jax.random.randint(jax.random.key(1), (3, 8), 1, 9)
TEXTS = experts.Answered(
  TOKENS, jnp.array([5, 3, 4], jnp.int32), jnp.array([8, 6, 5], jnp.int32)
)
LAYERS = jnp.broadcast_to(jnp.array([False, True]), (3, 2))


@jax.jit
def read_prompts(routes):
  return experts.read_prompts(MODEL, PARAMS, TEXTS.prompt, routes)


class QuestionsTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.read = read_prompts(None)
    cls.losses = staticmethod(
      jax.jit(lambda o: experts.answer_losses(MODEL, PARAMS, TEXTS, o))
    )
    cls.plain = cls.losses(None)

  def test_pathways_are_the_law_at_the_last_prompt_token(self):
    routing = jax.jit(models.routing, static_argnums=0)(MODEL, PARAMS, TOKENS)
    for b, length in enumerate(TEXTS.prompt_lengths):
      logits = np.asarray(routing.logits[b, length - 1, 1])
      want = np.exp(logits) / np.exp(logits).sum()
      np.testing.assert_allclose(self.read.pathways[b, 1], want, rtol=1e-5)
    np.testing.assert_array_equal(self.read.pathways[:, 0], np.zeros((3, 4)))

  def test_a_bias_is_part_of_the_pathway(self):
    bias = jax.random.normal(jax.random.key(2), (3, 2, 4))
    got = read_prompts(experts.bias_routes(bias))
    tilted = self.read.pathways[:, 1] * jnp.exp(bias[:, 1])
    want = tilted / tilted.sum(-1, keepdims=True)
    np.testing.assert_allclose(got.pathways[:, 1], want, rtol=1e-4)

  def test_mean_embeddings_leave_padding_out(self):
    got = experts.mean_embeddings(MODEL, PARAMS, TEXTS.prompt)
    for b, length in enumerate(TEXTS.prompt_lengths):
      want = np.asarray(PARAMS['embed'])[TOKENS[b, :length]].mean(0)
      np.testing.assert_allclose(got[b], want, atol=1e-6)

  def test_losses_of_answers(self):
    log_p = jax.nn.log_softmax(
      jax.jit(models.forward, static_argnums=0)(MODEL, PARAMS, TOKENS)
    )
    for b in range(3):
      place = np.arange(TEXTS.prompt_lengths[b], TEXTS.lengths[b])
      want = -np.mean(np.asarray(log_p)[b, place - 1, TOKENS[b, place]])
      np.testing.assert_allclose(self.plain[b], want, rtol=1e-5)

  def test_where_an_override_holds(self):
    lengths = TEXTS.prompt_lengths
    both = experts.override_of(self.read.pathways, LAYERS, lengths, 8)
    last = experts.override_of(self.read.pathways, LAYERS, lengths, 8, True)
    for b, length in enumerate(lengths):
      place = np.arange(9)
      np.testing.assert_array_equal(both.positions[b, 0], place >= length - 1)
      np.testing.assert_array_equal(last.positions[b, 0], place == length - 1)
    np.testing.assert_array_equal(both.replaces[:, 0, 0], np.zeros((3, 4)))
    np.testing.assert_array_equal(both.replaces[:, 0, 1], np.ones((3, 4)))

  def test_the_routers_own_pathway_changes_nothing_where_it_is_from(self):
    own = lambda only_last: experts.override_of(
      self.read.pathways, LAYERS, TEXTS.prompt_lengths, 8, only_last
    )
    np.testing.assert_allclose(self.losses(own(True)), self.plain, atol=1e-5)
    # Behind it tokens follow the pathway of the prompt: something else.
    change = jnp.abs(self.losses(own(False)) - self.plain)
    self.assertGreater(float(change[:2].max()), 1e-4)
    self.assertLess(float(change[2]), 1e-5)  # one token: nothing is behind it

  def test_decoding_follows_the_override_as_a_pass_does(self):
    pathways = jnp.flip(self.read.pathways, axis=-1)
    prompt = Prompt(TOKENS[:, :5], TEXTS.prompt_lengths)
    routes = experts.override_of(pathways, LAYERS, prompt.lengths, 5)
    keys = jax.random.split(jax.random.key(3), 3)
    drawn = jax.jit(
      lambda keys, routes: sampling.generate(
        PARAMS, keys, prompt, 1, model=MODEL, capacity=3,
        stop=sampling.stop_rules(9), routes=routes,
      )
    )(keys, routes)  # fmt: skip

    @jax.jit
    def log_probs(text, routes):
      features, _ = models.read_routed(MODEL, PARAMS, text, None, routes)
      return jax.nn.log_softmax(MODEL.logits(PARAMS, features))

    for b, length in enumerate(prompt.lengths):
      text = jnp.concatenate([TOKENS[b, :length], drawn.tokens[b, 0]])[None]
      of_one = jax.tree.map(lambda leaf, b=b: leaf[b : b + 1], routes)
      log_p = log_probs(text, of_one)[0]
      place = int(length) - 1 + np.arange(3)
      want = log_p[place, drawn.tokens[b, 0]]
      np.testing.assert_allclose(drawn.log_probs[b, 0], want, atol=1e-4)


if __name__ == '__main__':
  absltest.main()
