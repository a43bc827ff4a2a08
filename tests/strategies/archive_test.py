"""The law of parents by hand, and runs whose end is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import strategies
from ttc.strategies import archive

SIZES = jnp.array([2, 3, 1, 4])


def test_the_law_of_parents_by_hand():
  """s = .047426, .5, .182426; h = 1/3, 1, 1/2."""
  law = strategies.parent_law(
    jnp.array([0.2, 0.5, 0.35, 1.0, -jnp.inf]), jnp.array([2, 0, 1, 0, 0])
  )
  np.testing.assert_allclose(
    law, [0.026043, 0.823694, 0.150263, 0.0, 0.0], atol=1e-6
  )
  none = strategies.parent_law(jnp.array([1.0, -jnp.inf]), jnp.array([0, 0]))
  np.testing.assert_array_equal(none, 0)


@functools.cache
def children(rate):
  genome = jnp.array([1, 2, 0, 3])
  make = lambda key: strategies.mutate(key, genome, rate, SIZES, 0.0)
  keys = jax.random.split(jax.random.key(0), 3000)
  return np.asarray(jax.jit(jax.vmap(make))(keys)[0]), np.asarray(genome)


def test_mutations_follow_their_rate():
  """Rate .5, three free genes: each changes with 1/2 + 1/8 * 1/3 = .5417.

  Four standard errors are .037. A changed gene is uniform over the others.
  """
  made, genome = children(0.5)
  changed = made != genome
  np.testing.assert_allclose(
    changed.mean(axis=0), [0.5417, 0.5417, 0.0, 0.5417], atol=0.037
  )
  assert changed.any(axis=1).all()
  assert np.all((made >= 0) & (made < SIZES))
  others = (
    np.bincount(made[changed[:, 3], 3], minlength=4) / changed[:, 3].sum()
  )
  np.testing.assert_allclose(others, [1 / 3, 1 / 3, 1 / 3, 0], atol=0.05)


@functools.partial(jax.jit, static_argnums=0)
def grow(rule, rate_step):
  """40 generations of 3; a genome's score is how many genes are not 0."""
  score = lambda genome: jnp.mean(genome > 0) * 0.8
  first = jnp.zeros(4, jnp.int32)
  run = lambda key: strategies.evolve(
    key, first, SIZES, score, 40, 3, parents=rule, rate_step=rate_step
  )
  return jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(1), 5))


def run(rule, rate_step=0.5):
  return jax.device_get(grow(rule, rate_step))


@pytest.mark.parametrize('rule', ['archive', 'best', 'latest'])
def test_an_archive_keeps_its_books(rule):
  grown = run(rule)
  assert grown.genomes.shape == (5, 121, 4)
  np.testing.assert_allclose(
    grown.scores, 0.8 * (grown.genomes > 0).mean(axis=2), atol=1e-6
  )
  np.testing.assert_array_equal(grown.children.sum(axis=1), 120)
  assert not grown.genomes[:, 0].any()
  assert np.all(grown.children[:, -1] == 0)
  if rule == 'latest':  # the third child of each generation is a parent
    np.testing.assert_array_equal(np.unique(grown.children[:, 3:-1:3]), [3])
  if rule == 'best':
    for scores, born in zip(grown.scores, grown.children, strict=True):
      seen = np.maximum.accumulate(scores)
      assert set(np.flatnonzero(born)) <= {
        int(np.argmax(scores[: i + 1])) for i in range(len(seen))
      }
    assert np.all(grown.scores.max(axis=1) > 0.59)  # gene 2 has one choice


def test_the_modifier_evolves_unless_told_not_to():
  np.testing.assert_allclose(run('archive', 0.0).rates, 0.1, rtol=1e-6)
  rates = run('archive').rates
  assert rates.std() > 0.02
  assert rates.min() >= archive.MIN_RATE
  assert rates.max() <= archive.MAX_RATE


def test_wrong_input_is_refused():
  with pytest.raises(ValueError, match="got 'worst'"):
    strategies.evolve(
      jax.random.key(0), jnp.zeros(4, int), SIZES, jnp.mean, parents='worst'
    )
