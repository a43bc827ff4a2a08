"""Evolution strategies: shaping, the estimate, chunks and devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest, parameterized

from ttc import metarl

IDENTITY = lambda fitness: fitness  # no shaping


def estimate(fitness_fn, params, num_pairs, shaping=IDENTITY, **options):
  """The estimate of one generation: an optimiser of rate 1 steps along it."""
  es = metarl.evolution(
    fitness_fn, optax.sgd(1.0), num_pairs, shaping=shaping, **options
  )
  state, fitness = es.update(es.init(params, jax.random.key(1)))
  return jax.tree.map(lambda a, b: a - b, state.params, params), fitness


class ShapingTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.fitness = jax.random.normal(jax.random.key(0), (20, 2))

  @parameterized.parameters(metarl.centered_ranks, metarl.pair_wins)
  def test_increasing_transforms_change_nothing(self, shaping):
    shaped = shaping(self.fitness)
    for transform in (jnp.exp, lambda x: 5 * x - 3, lambda x: x**3):
      np.testing.assert_allclose(shaping(transform(self.fitness)), shaped)
    self.assertTrue(np.any(shaping(-self.fitness) != shaped))

  def test_ranks(self):
    got = metarl.centered_ranks(jnp.array([[3.0, 1.0], [1.0, jnp.nan]]))
    np.testing.assert_allclose(got, [[0.5, 0.0], [0.0, -0.5]], atol=1e-6)

  def test_wins(self):
    got = metarl.pair_wins(jnp.array([[3.0, 1.0], [1.0, 1.0], [jnp.nan, -9.0]]))
    np.testing.assert_array_equal(got, [[1, 0], [0.5, 0.5], [0, 1]])

  def test_a_pair_is_compared_with_itself_only(self):
    offset = jnp.arange(20.0)[:, None] * 100
    np.testing.assert_array_equal(
      metarl.pair_wins(self.fitness + offset), metarl.pair_wins(self.fitness)
    )

  def test_z_scores(self):
    got = metarl.z_scores(self.fitness)
    self.assertAlmostEqual(float(got.mean()), 0.0, delta=1e-5)
    self.assertAlmostEqual(float(got.std()), 1.0, delta=1e-4)


class EstimateTest(absltest.TestCase):
  def test_linear(self):
    """The estimate of a slope is right on average, its error as it should."""
    slope = jnp.arange(1.0, 6.0)
    params = {'a': jnp.zeros(2), 'b': jnp.ones(3)}
    flat = lambda p: jnp.concatenate([p['a'], p['b']])
    got, _ = estimate(lambda p, key: slope @ flat(p), params, 4000)
    # The variance of e (s . e) is s^2 + |s|^2 in each coordinate.
    error = np.sqrt((slope**2 + slope @ slope) / 4000)
    self.assertTrue(np.all(np.abs(flat(got) - slope) < 4 * error))

  def test_pairs_cancel_what_is_even(self):
    got, _ = estimate(lambda p, key: jnp.sum(p**2), jnp.zeros(4), 50)
    np.testing.assert_allclose(got, 0, atol=1e-6)

  def test_pairs_share_their_random_numbers(self):
    _, fitness = estimate(
      lambda p, key: jax.random.normal(key), jnp.zeros(4), 50
    )
    np.testing.assert_array_equal(fitness[:, 0], fitness[:, 1])
    self.assertEqual(len(np.unique(fitness)), 50)

  def test_chunks_change_nothing(self):
    fitness_fn = lambda p, key: jnp.sum(jnp.sin(p)) + jax.random.normal(key)
    whole, a = estimate(fitness_fn, jnp.ones(4), 24, metarl.centered_ranks)
    parts, b = estimate(
      fitness_fn, jnp.ones(4), 24, metarl.centered_ranks, chunk_size=6
    )
    np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(whole, parts, atol=1e-5)

  def test_pairs_that_do_not_come_out_even(self):
    with self.assertRaisesRegex(ValueError, 'num_pairs=10 is no multiple'):
      estimate(lambda p, key: 0.0, jnp.zeros(2), 10, chunk_size=4)

  def test_sphere(self):
    """From a squared norm of 40 to near the floor of ten variances, 0.1."""
    es = metarl.evolution(
      lambda p, key: -jnp.sum(p**2),
      optax.adam(0.05),
      64,
      shaping=metarl.centered_ranks,
    )
    state = es.init(jnp.full(10, 2.0), jax.random.key(0))
    run = jax.jit(
      lambda s: jax.lax.scan(lambda s, _: es.update(s), s, length=200)
    )
    _, fitness = run(state)
    self.assertLess(-fitness[-1].mean(), 0.15)


_DEVICES = """
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import AxisType
from ttc import metarl
ends = []
for n in (1, 4):
  mesh = jax.make_mesh((n,), ('data',), axis_types=(AxisType.Auto,),
                       devices=jax.devices()[:n])
  es = metarl.evolution(
    lambda p, key: -jnp.sum(p**2) + jax.random.normal(key),
    optax.adam(0.05), 16, shaping=metarl.centered_ranks, chunk_size=2,
    mesh=mesh)
  state = es.init(jnp.ones(5), jax.random.key(0))
  for _ in range(3):
    state, fitness = jax.jit(es.update)(state)
  ends.append((state.params, fitness))
for a, b in zip(*ends):
  np.testing.assert_allclose(a, b, atol=1e-5)
print('equal')
"""


@pytest.mark.slow
def test_one_device_is_four(on_four_devices):
  assert on_four_devices(_DEVICES) == 'equal'


if __name__ == '__main__':
  absltest.main()
