import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import evaluation

ACCURACIES = jnp.array([[0.0, 1, 1], [1, 0, 1], [0, 0, 0]])
TOKENS = jnp.array([[100.0, 400, 800], [100, 200, 800], [50, 100, 150]])


@pytest.mark.parametrize(
  ('accuracy', 'tokens', 'expected'),
  [
    ((0, 1, 1), (100, 200, 400), 0.5),
    ((1, 0, 1), (100, 200, 400), -1.5),
    ((0.2, 0.6, 0.5), (100, 150, 300), 0.0666666667),
    ((0, 1), (200, 100), 2.0),  # a gain with fewer tokens counts more
    ((1, 0), (200, 100), -0.5),
    ((0, 1, 0), (100, 0, 100), 0.0),  # no tokens, no term
  ],
)
def test_oracles(accuracy, tokens, expected):
  row = lambda x: jnp.array([x], jnp.float32)
  got = evaluation.arise(row(accuracy), row(tokens))
  np.testing.assert_allclose(got, [expected], atol=1e-6)


def test_a_lost_item_counts_where_the_slope_sees_none():
  got = evaluation.arise(ACCURACIES, TOKENS)
  np.testing.assert_allclose(got, [0.25, -1.75, 0], atol=1e-6)
  slope = evaluation.accuracy_slope(ACCURACIES, TOKENS)
  np.testing.assert_allclose(slope, (1 / 3) / (1750 / 3 - 250 / 3), 1e-5)
  assert float(evaluation.accuracy_slope(ACCURACIES, TOKENS[:, ::-1])) == 0


def test_invariances():
  keys = jax.random.split(jax.random.key(0), 3)
  accuracies = jax.random.uniform(keys[0], (40, 5))
  tokens = 10 + jnp.cumsum(jax.random.uniform(keys[1], (40, 5)), axis=1)
  got = evaluation.arise(accuracies, tokens)
  order = jax.random.permutation(keys[2], 40)
  np.testing.assert_array_equal(
    evaluation.arise(accuracies[order], tokens[order]), got[order]
  )
  scaled = evaluation.arise(accuracies, 7 * tokens)
  np.testing.assert_allclose(scaled, got, atol=1e-5)
  flat = evaluation.arise(0 * accuracies + 0.4, tokens)
  np.testing.assert_array_equal(flat, 0)
  assert jnp.all(got < accuracies[:, -1] - accuracies[:, 0])


def test_chance_alone_makes_it_negative():
  """Fair coins at 1 and 2 tokens: .25 * .5 - .25 * 2, by enumeration."""
  runs = jnp.array(list(itertools.product((0.0, 1.0), repeat=2)))
  tokens = jnp.broadcast_to(jnp.array([1.0, 2.0]), runs.shape)
  np.testing.assert_allclose(evaluation.arise(runs, tokens).mean(), -0.375)


def test_variation_is_of_the_population():
  values = jnp.array([1.0, 0.0, 1.0, 5.0])
  np.testing.assert_allclose(
    evaluation.variation(values, 3), np.std([1, 0, 1]) / (2 / 3), rtol=1e-5
  )
  assert float(evaluation.variation(jnp.zeros(4), 4)) == 0


class TestAdaptiveRuns:
  def run_fn(self, key):
    right = jax.random.bernoulli(key, 0.85)
    return right, 100.0 + 5 * jax.random.normal(key)

  def test_is_its_python_twin(self):
    keys = jax.random.split(jax.random.key(1), 40)
    sample = lambda key: evaluation.adaptive_runs(key, self.run_fn)
    got = jax.jit(jax.vmap(sample))(keys)
    all_runs = jax.jit(
      jax.vmap(
        lambda key: jax.vmap(
          lambda k: jnp.stack(self.run_fn(jax.random.fold_in(key, k)))
        )(jnp.arange(10))
      )
    )(keys)
    all_runs = np.asarray(all_runs, np.float64)
    counts = set()
    for i, runs in enumerate(all_runs):
      cv = lambda m, runs=runs: sum(
        np.std(x[:m]) / (np.mean(x[:m]) + 1e-8) for x in runs.T
      )
      used = next((m for m in range(3, 10) if cv(m) <= 0.5), 10)
      counts.add(used)
      assert int(got.num_runs[i]) == used
      np.testing.assert_allclose(
        [got.accuracy[i], got.tokens[i]], runs[:used].mean(axis=0), rtol=1e-5
      )
    assert {3, 10} < counts

  def test_agreeing_runs_stop_and_the_threshold_decides(self):
    key = jax.random.key(2)
    same = evaluation.adaptive_runs(key, lambda key: (1.0, 50))
    assert int(same.num_runs) == 3
    noisy = lambda t: evaluation.adaptive_runs(key, self.run_fn, threshold=t)
    assert int(noisy(100.0).num_runs) == 3
    assert int(noisy(0.0).num_runs) == 10


def test_runs_are_allocated_by_variation():
  got = evaluation.allocate_runs(jnp.array([0.0, 1.0, 3.0]), 9 + 9)
  np.testing.assert_array_equal(got, [3, 5, 9])  # 9 / 4 and 27 / 4, down
  capped = evaluation.allocate_runs(jnp.array([0.0, 1.0, 3.0]), 100)
  np.testing.assert_array_equal(capped, [3, 10, 10])
  np.testing.assert_array_equal(
    evaluation.allocate_runs(jnp.zeros((2, 2)), 100), 3
  )
