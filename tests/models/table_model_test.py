import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import models
from ttc.types import Prompt


class TableModelTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.table = jax.random.normal(jax.random.key(0), (3, 3))

  @parameterized.product(eos_id=(None, 0, 2), max_length=(1, 4), start=(0, 1))
  def test_probabilities_sum_to_one(self, eos_id, max_length, start):
    got = models.enumerate_sequences(self.table, start, eos_id, max_length)
    np.testing.assert_allclose(np.exp(got.log_probs).sum(), 1, rtol=1e-5)
    self.assertLen(set(map(tuple, got.tokens)), len(got.tokens))

  def test_every_legal_response_is_there(self):
    # One of length t < T for each of the 2^(t - 1) ways not to stop before,
    # and all 2^(T - 1) 3 of length T.
    got = models.enumerate_sequences(self.table, 0, 2, 4)
    np.testing.assert_array_equal(np.bincount(got.lengths), [0, 1, 2, 4, 24])

  def test_log_probs_are_those_of_the_model(self):
    start, eos_id, T = 1, 2, 4
    model = models.table_model(3)
    sequences = models.enumerate_sequences(self.table, start, eos_id, T)
    whole = np.concatenate(
      [np.full((len(sequences.tokens), 1), start), sequences.tokens], axis=1
    )
    logits = models.forward(model, self.table, jnp.asarray(whole))
    log_probs = jax.nn.log_softmax(logits)[:, :-1]
    steps = np.take_along_axis(log_probs, whole[:, 1:, None], 2)[..., 0]
    expected = np.where(np.arange(T) < sequences.lengths[:, None], steps, 0)
    np.testing.assert_allclose(
      sequences.log_probs, expected.sum(axis=1), rtol=1e-5
    )

  def test_last_token_of_a_prompt_selects_the_row(self):
    model = models.table_model(3)
    prompt = Prompt(jnp.array([[0, 1, 2], [2, 0, 0]]), jnp.array([2, 1]))
    prefix, logits = models.encode_prompt(model, self.table, prompt)
    self.assertEqual(prefix, ())
    np.testing.assert_array_equal(logits, self.table[np.array([1, 2])])

  def test_gradient_of_an_expectation(self):
    # d/dW E[number of tokens 1], against finite differences.
    def expected_ones(table):
      got = models.enumerate_sequences(table, 0, 2, 3)
      ones = (got.tokens == 1).sum(axis=1)
      return (jnp.exp(got.log_probs) * ones).sum()

    gradient = jax.jit(jax.grad(expected_ones))(self.table)
    for i, j in itertools.product(range(2), range(3)):
      h = 1e-2
      up = expected_ones(self.table.at[i, j].add(h))
      down = expected_ones(self.table.at[i, j].add(-h))
      self.assertAlmostEqual(
        float(gradient[i, j]), float(up - down) / (2 * h), delta=1e-3
      )


if __name__ == '__main__':
  absltest.main()
