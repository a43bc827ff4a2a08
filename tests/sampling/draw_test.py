import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from absl.testing import absltest, parameterized

from ttc.sampling import draw


def draws(logits, num, seed=0):
  keys = jax.random.split(jax.random.key(seed), num)
  run = jax.jit(jax.vmap(lambda key: draw(key, logits)))
  return run(keys)


class DrawTest(parameterized.TestCase):
  def test_frequencies_are_the_softmax(self):
    vocab = 257  # a block holds 256
    logits = 2 * jax.random.normal(jax.random.key(vocab), (vocab,))
    num = 100_000
    tokens, _ = draws(logits, num)
    probs = np.asarray(jax.nn.softmax(logits), np.float64)
    counts = np.bincount(tokens, minlength=vocab)
    rare = probs * num < 5  # pooled, as the chi-square test wants
    pool = lambda x: np.append(x[~rare], x[rare].sum())
    expected = pool(probs) * num / probs.sum()
    keep = expected > 0
    p_value = scipy.stats.chisquare(pool(counts)[keep], expected[keep]).pvalue
    self.assertGreater(p_value, 1e-4)

  def test_masked_tokens_are_never_drawn(self):
    logits = jnp.full((700,), -jnp.inf).at[jnp.array([0, 299, 650])].set(0.0)
    tokens, log_probs = draws(logits, 3000)
    self.assertEqual(set(np.unique(tokens)), {0, 299, 650})
    np.testing.assert_allclose(log_probs, -np.log(3), rtol=1e-6)

  def test_log_prob_is_of_the_drawn_token(self):
    logits = jax.random.normal(jax.random.key(1), (300,))
    tokens, log_probs = draws(logits, 50)
    np.testing.assert_allclose(
      log_probs, jax.nn.log_softmax(logits)[tokens], atol=1e-5
    )

  def test_without_mass_there_is_no_token(self):
    good = jnp.zeros((300,))
    for bad in (
      jnp.full((300,), jnp.nan),
      jnp.full((300,), -jnp.inf),
      good.at[7].set(jnp.inf),
      good.at[299].set(jnp.nan),
    ):
      np.testing.assert_array_equal(draws(bad, 3)[0], -1)
    self.assertGreaterEqual(draws(good, 3)[0].min(), 0)


if __name__ == '__main__':
  absltest.main()
