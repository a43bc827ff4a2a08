"""LAME: its objective, its limits, and rows that do not count."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from absl.testing import absltest, parameterized
from compiled import compiled

from ttc.adaptation.lame import (
  gaussian_affinity,
  laplacian_assignments,
  laplacian_energy,
  linear_affinity,
  neighbour_affinity,
)

assignments, energy = (
  compiled(laplacian_assignments),
  compiled(laplacian_energy),
)


def problem(seed, rows=12, classes=4):
  rng = np.random.default_rng(seed)
  logits = 2 * rng.normal(size=(rows, classes))
  features = rng.normal(size=(rows, 3))
  features /= np.linalg.norm(features, axis=1, keepdims=True)
  log_p = scipy.special.log_softmax(logits, axis=1)
  return log_p.astype(np.float32), features.astype(np.float32)


class LameTest(parameterized.TestCase):
  def test_nothing_in_common_changes_nothing(self):
    log_p, _ = problem(0)
    z = assignments(log_p, np.zeros((12, 12), np.float32))
    np.testing.assert_allclose(z, np.exp(log_p), rtol=1e-6)

  def test_a_row_that_agrees_with_itself_solves_its_equation(self):
    log_p = np.log(np.array([[0.7, 0.3]], np.float32))
    z = assignments(log_p, np.full((1, 1), 1.5, np.float32), tolerance=None)
    self.assertAlmostEqual(
      float(np.asarray(z)[0, 0]), 0.8792033890212, delta=1e-6
    )

  @parameterized.parameters('gaussian', 'linear')
  def test_the_objective_never_rises(self, kind):
    log_p, features = problem(1)
    mask = np.ones(12, bool)
    # Cosines alone may be negative; both are positive semidefinite.
    make = gaussian_affinity(5) if kind == 'gaussian' else linear_affinity
    affinity = jax.jit(make)(features, mask)
    energies = [
      float(
        energy(
          assignments(log_p, affinity, num_steps=n, tolerance=None),
          log_p,
          affinity,
        )
      )
      for n in range(8)
    ]
    self.assertLess(np.diff(energies).max(), 1e-5)
    self.assertLess(energies[-1], energies[0] - 0.1)

  def test_its_end_is_a_minimum(self):
    log_p, features = problem(2)
    affinity = jax.jit(gaussian_affinity(5))(features, np.ones(12, bool))
    z = assignments(log_p, affinity)
    here = energy(z, log_p, affinity)
    for seed in range(5):
      noise = np.random.default_rng(seed).normal(size=z.shape)
      moved = scipy.special.softmax(np.log(z) + 0.05 * noise, axis=1)
      moved = moved.astype(np.float32)
      self.assertGreater(
        float(energy(moved, log_p, affinity)),
        float(here),
      )

  def test_affinities_are_what_numpy_makes_of_the_definitions(self):
    _, features = problem(3)
    mask = np.ones(12, bool)
    squared = ((features[:, None] - features) ** 2).sum(-1)
    distance = np.sort(np.sqrt(squared), axis=1)  # the image itself first
    sigma = distance[:, 4].mean()
    np.testing.assert_allclose(
      jax.jit(gaussian_affinity(5))(features, mask),
      np.exp(-squared / (2 * sigma**2)),
      atol=1e-5,
    )
    nearest = np.argsort(squared, axis=1)[:, 1:4]
    wanted = np.zeros((12, 12))
    np.put_along_axis(wanted, nearest, 1, axis=1)
    got = jax.jit(neighbour_affinity(3))(features, mask)
    np.testing.assert_array_equal(got, wanted)
    both = jax.jit(neighbour_affinity(3, symmetric=True))(features, mask)
    np.testing.assert_array_equal(both, (wanted + wanted.T) / 2)

  @parameterized.parameters(
    gaussian_affinity(), neighbour_affinity(), linear_affinity
  )
  def test_rows_that_do_not_count_do_not_matter(self, affinity):
    log_p, features = problem(4)
    mask = np.arange(12) < 7

    @jax.jit
    def run(log_p, features, mask):
      return laplacian_assignments(log_p, affinity(features, mask))

    short = run(log_p[:7], features[:7], mask[:7])
    padded = run(log_p, features, mask)
    np.testing.assert_allclose(np.asarray(padded)[:7], short, atol=1e-5)

  def test_order_of_rows_does_not_matter(self):
    log_p, features = problem(5)
    order = np.random.default_rng(0).permutation(12)
    run = jax.jit(
      lambda log_p, features: laplacian_assignments(
        log_p, gaussian_affinity()(features, jnp.ones(12, bool))
      )
    )
    np.testing.assert_allclose(
      run(log_p[order], features[order]),
      np.asarray(run(log_p, features))[order],
      atol=1e-5,
    )

  def test_equal_images_have_finite_gradients(self):
    log_p, features = problem(6)
    same = np.broadcast_to(features[:1], features.shape)
    grad = jax.jit(
      jax.grad(
        lambda f: jnp.sum(
          assignments(
            jnp.asarray(log_p),
            gaussian_affinity()(f, jnp.ones(12, bool)),
            num_steps=5,
            tolerance=None,
          )[:, 0]
        )
      )
    )(same)
    self.assertTrue(np.all(np.isfinite(grad)))

  def test_too_few_neighbours_are_refused(self):
    with self.assertRaisesRegex(ValueError, 'num_neighbours 1: at least 2'):
      gaussian_affinity(1)
    with self.assertRaisesRegex(ValueError, 'num_neighbours 0: at least 1'):
      neighbour_affinity(0)


if __name__ == '__main__':
  absltest.main()
