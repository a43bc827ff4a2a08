import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import models
from ttc.types import Prompt

TINY = models.TransformerConfig(
  vocab_size=13,
  num_layers=1,
  embed_dim=8,
  mlp_dim=12,
  num_heads=2,
  num_kv_heads=1,
  head_dim=4,
)


class WithoutCacheTest(parameterized.TestCase):
  @parameterized.parameters(64, 10)
  def test_every_step_equals_that_of_the_cached_model(self, max_length):
    cached = models.transformer(TINY)
    params = jax.jit(cached.init)(jax.random.key(0))
    plain = models.without_cache(
      lambda params, tokens: models.forward(cached, params, tokens),
      TINY.vocab_size,
      max_length,
    )
    B, N, P = 2, 3, 4
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.integers(13, size=shape), jnp.int32)
    prompt = Prompt(draw(B, P), jnp.array([4, 1]))
    encode = jax.jit(models.encode_prompt, static_argnums=0)
    states = []
    for model in (cached, plain):
      prefix, logits = encode(model, params, prompt)
      cache = models.Cache(
        prefix,
        prompt.lengths,
        model.make_suffix(B, N, 7),
        jnp.zeros((B, N), jnp.int32),
      )
      states.append([model, jax.jit(model.features), logits, cache])
    np.testing.assert_allclose(states[0][2], states[1][2], atol=1e-5)

    for count in (
      [[1] * 3] * 2,
      [[0, 1, 2], [2, 2, 1]],
      [[1, 0, 3], [3, 2, 0]],
    ):
      count = jnp.array(count)
      tokens = draw(B, N, int(count.max()))
      seen = np.arange(tokens.shape[-1]) < count[..., None]
      logits = []
      for state in states:
        model, features, _, cache = state
        output, state[3] = features(params, tokens, count, cache)
        logits.append(
          np.where(seen[..., None], model.logits(params, output), 0)
        )
      np.testing.assert_allclose(*logits, atol=1e-5)
    np.testing.assert_array_equal(
      states[0][3].suffix_lengths, states[1][3].suffix_lengths
    )

  def test_forward(self):
    table = jax.random.normal(jax.random.key(0), (5, 5))
    model = models.without_cache(lambda table, tokens: table[tokens], 5, 8)
    tokens = jnp.array([[0, 3, 1]])
    np.testing.assert_array_equal(
      models.forward(model, table, tokens), table[tokens]
    )

  def test_init(self):
    model = models.without_cache(lambda params, tokens: tokens, 5, 8)
    with self.assertRaisesRegex(ValueError, 'no init'):
      model.init(jax.random.key(0))


class FromNnxTest(absltest.TestCase):
  def test_is_the_module_and_a_pure_function(self):
    nnx = pytest.importorskip('flax.nnx')
    module = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    params, apply_fn = models.from_nnx(module)
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(
      jax.jit(apply_fn)(params, x), module(x), rtol=1e-6
    )

    gradient = jax.jit(jax.grad(lambda params: apply_fn(params, x).sum()))(
      params
    )
    np.testing.assert_allclose(jax.tree.leaves(gradient)[0].shape, (2,))
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    outputs = jax.jit(jax.vmap(apply_fn, in_axes=(0, None)))(many, x)
    np.testing.assert_allclose(outputs[1], 2 * outputs[0], rtol=1e-5)


if __name__ == '__main__':
  absltest.main()
