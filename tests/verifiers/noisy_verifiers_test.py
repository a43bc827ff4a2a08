import jax
import jax.numpy as jnp
import numpy as np

from ttc import scaling, verifiers


def test_flipped_verdicts_have_their_rates():
  correct = jnp.arange(20_000) % 2 == 0
  verdicts = verifiers.flip_verdicts(jax.random.key(0), correct, 0.8, 0.3, 2)
  assert verdicts.shape == (20_000, 2)
  for of, rate in ((correct, 0.8), (~correct, 0.3)):
    # Four standard errors of 20 000 coin flips.
    error = 4 * (rate * (1 - rate) / 20_000) ** 0.5
    assert abs(float(verdicts[of].mean()) - rate) < error
  both = verdicts[correct].all(axis=1).mean()  # independent of each other
  assert abs(float(both) - 0.64) < 4 * (0.64 * 0.36 / 10_000) ** 0.5


def test_rates_one_and_zero_are_the_exact_verifier():
  correct = jnp.array([True, False, True])
  verdicts = verifiers.flip_verdicts(jax.random.key(1), correct, 1.0, 0.0)
  np.testing.assert_array_equal(verdicts[:, 0], correct)


def test_noise_has_its_scale_and_no_bias():
  scores = jnp.linspace(-1, 1, 10_000)
  noise = verifiers.add_noise(jax.random.key(2), scores, 0.5) - scores
  assert abs(float(noise.mean())) < 4 * 0.5 / 100
  assert abs(float(noise.std()) - 0.5) < 4 * 0.5 / 20_000**0.5


def test_bias_is_shared_by_an_answer():
  answers = jnp.array([4, 2, 4, 4, 2, 9])
  bias = verifiers.bias_by_answer(jax.random.key(3), jnp.zeros(6), answers, 2.0)
  assert len(np.unique(bias)) == 3
  np.testing.assert_array_equal(bias[0], bias[jnp.array([2, 3])].mean())
  assert bias[1] == bias[4] and bias[0] != bias[5]


def test_best_of_n_under_the_proxy_rises_and_falls_as_its_law():
  accuracy, exploit_rate = 0.3, 0.02
  fooled = (1 - accuracy) * exploit_rate
  correct = jax.random.bernoulli(jax.random.key(4), accuracy, (20_000, 64))
  proxy = verifiers.over_optimized(jax.random.key(5), correct, exploit_rate)
  laws = []
  for n in (1, 4, 64):
    law = (1 - fooled) ** n - (1 - fooled - accuracy) ** n
    exact = scaling.best_of_n_law(
      jnp.array([fooled, accuracy, 1 - fooled - accuracy]),
      jnp.array([2.0, 1.0, 0.0]),
      n,
    )
    np.testing.assert_allclose(exact[1], law, atol=1e-6)
    best = jnp.argmax(proxy[:, :n], axis=1)[:, None]
    got = jnp.take_along_axis(correct, best, axis=1).mean()
    assert abs(float(got) - law) < 4 * (law * (1 - law) / 20_000) ** 0.5
    laws.append(law)
  assert laws[0] < laws[1] > laws[2]
