import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import verifiers

SCORES = jnp.array([0.5, 0.9, 0.2, 0.8])
HOW = ('last', 'min', 'mean', 'prod', 'max')


@pytest.mark.parametrize(
  ('mask', 'expected'),
  [
    ([1, 1, 1, 1], {'last': 0.8, 'min': 0.2, 'mean': 0.6, 'max': 0.9}),
    ([1, 1, 0, 0], {'last': 0.9, 'min': 0.5, 'prod': 0.45, 'mean': 0.7}),
    ([1, 0, 1, 0], {'last': 0.2, 'prod': 0.1, 'max': 0.5, 'mean': 0.35}),
    ([1, 0, 0, 0], dict.fromkeys(HOW, 0.5)),
    ([0, 0, 0, 0], dict.fromkeys(HOW, -1.0)),
  ],
)
def test_by_hand(mask, expected):
  mask = jnp.array(mask, bool)
  for how, value in expected.items():
    got = verifiers.aggregate_steps(SCORES, mask, how)
    np.testing.assert_allclose(got, value, atol=1e-6, err_msg=how)


def test_scores_may_lie_beyond_zero_and_one():
  mask = jnp.array([True, False, True, True])
  scores = jnp.array([-0.5, 9.0, -2.0, -0.75])
  wants = {'last': -0.75, 'min': -2.0, 'mean': -3.25 / 3, 'max': -0.5}
  for how, want in wants.items():
    got = verifiers.aggregate_steps(scores, mask, how)
    np.testing.assert_allclose(got, want, err_msg=how)
  positive = verifiers.aggregate_steps(-4 * scores, mask, 'min')
  np.testing.assert_allclose(positive, 2.0)


@pytest.mark.parametrize('how', HOW)
def test_steps_that_do_not_exist_never_matter(how):
  key, noise_key = jax.random.split(jax.random.key(0))
  scores = jax.random.uniform(key, (5, 3, 8))
  mask = jax.random.bernoulli(noise_key, 0.5, scores.shape)
  spoiled = jnp.where(mask, scores, jnp.nan)
  np.testing.assert_array_equal(
    verifiers.aggregate_steps(scores, mask, how),
    verifiers.aggregate_steps(spoiled, mask, how),
  )


def test_product_is_at_most_minimum_is_at_most_mean_is_at_most_maximum():
  scores = jax.random.uniform(jax.random.key(1), (50, 6))
  mask = jnp.ones(scores.shape, bool)
  prod, low, mean, high = (
    verifiers.aggregate_steps(scores, mask, how)
    for how in ('prod', 'min', 'mean', 'max')
  )
  assert jnp.all((prod <= low) & (low <= mean) & (mean <= high))


def test_order_matters_to_the_last_only():
  mask = jnp.ones(4, bool)
  for how in HOW:
    ahead = verifiers.aggregate_steps(SCORES, mask, how)
    back = verifiers.aggregate_steps(SCORES[::-1], mask, how)
    assert (abs(float(ahead - back)) > 0.1) == (how == 'last')
