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


def test_the_bias_of_an_answer_has_its_scale():
  keys = jax.random.split(jax.random.key(6), 20_000)
  answers, zeros = jnp.array([3, 3, 5]), jnp.zeros(3)
  draw = lambda key: verifiers.bias_by_answer(key, zeros, answers, 2.0)
  bias = np.asarray(jax.jit(jax.vmap(draw))(keys))
  assert abs(bias.mean()) < 4 * 2 / 40_000**0.5
  assert abs(bias[:, 1:].std() - 2) < 4 * 2 / 80_000**0.5
  assert abs(np.corrcoef(bias[:, 0], bias[:, 2])[0, 1]) < 4 / 20_000**0.5


def test_a_proxy_says_two_of_those_that_fool_it():
  correct = jnp.arange(1000) % 3 == 0
  proxy = verifiers.over_optimized(jax.random.key(7), correct, 0.5)
  assert np.all(proxy[correct] == 1)
  assert set(np.asarray(proxy[~correct]).tolist()) == {0.0, 2.0}


def test_a_response_is_judged_alike_wherever_it_stands():
  """By the hash in plain Python, 32-bit FNV-1a over token + 1, and 0 behind."""
  key = jax.random.key(8)
  tokens = np.array([[0, 4, 9, 9], [4, 0, 2, 5], [0, 4, 0, 0]], np.int32)
  lengths = np.array([2, 3, 2], np.int32)
  judge = jax.jit(verifiers.response_uniform)
  got = judge(key, tokens, lengths)
  for i in range(3):
    number = 0x811C9DC5
    for place, token in enumerate(tokens[i].tolist()):
      word = token + 1 if place < lengths[i] else 0
      number = ((number ^ word) * 0x01000193) % 2**32
    folded = jax.random.fold_in(key, jnp.uint32(number))
    assert got[i] == jax.random.uniform(folded)
  assert got[0] == got[2] != got[1]
  # A token 0 at the end is another response.
  longer = judge(key, tokens, lengths + np.int32(1))
  assert len({*np.asarray(longer).tolist(), *np.asarray(got).tolist()}) == 5


def test_numbers_of_responses_are_uniform():
  tokens = np.stack([np.arange(20_000) % 100, np.arange(20_000) // 100], 1)
  lengths = np.full(20_000, 2, np.int32)
  draw = jax.jit(verifiers.response_uniform)
  found = np.sort(draw(jax.random.key(9), tokens.astype(np.int32), lengths))
  gap = np.abs(found - np.arange(20_000) / 20_000).max()
  assert gap < 1.63 / 20_000**0.5  # Kolmogorov and Smirnov, 1%
