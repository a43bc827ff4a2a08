"""Forms against exact assignments, and closed forms of reliabilities."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc.benchmarks import item_response, parallel_forms

RNG = np.random.default_rng(0)
COST = jnp.asarray(RNG.uniform(size=(4, 7)), jnp.float32)


def test_the_assignment_is_the_cheapest_of_all():
  best = min(
    sum(float(COST[i, j]) for i, j in enumerate(columns))
    for columns in itertools.permutations(range(7), 4)
  )
  columns = parallel_forms.assign(COST)
  assert len(set(columns.tolist())) == 4
  np.testing.assert_allclose(
    parallel_forms.total_cost(COST, columns), best, 1e-6
  )
  assert parallel_forms.total_cost(COST, parallel_forms.greedy(COST)) >= best
  # Both rows are nearest to the first column; greedy gives it to the first.
  trap = jnp.array([[0.0, 1.0], [0.1, 9.0]], jnp.float32)
  assert parallel_forms.greedy(trap).tolist() == [0, 1]
  assert parallel_forms.assign(trap).tolist() == [1, 0]
  with pytest.raises(ValueError, match=r'shape \(7, 4\)'):
    parallel_forms.assign(COST.T)


def test_sinkhorn_keeps_its_margins_and_finds_the_assignment():
  plan = parallel_forms.sinkhorn(COST)
  np.testing.assert_allclose(plan.sum(axis=1), 1, atol=1e-4)
  assert plan.sum(axis=0).max() <= 1 + 1e-4 and plan.min() >= 0
  tight = parallel_forms.sinkhorn(COST, epsilon=0.002)
  best = parallel_forms.assign(COST)
  assert parallel_forms.round_plan(tight).tolist() == best.tolist()
  np.testing.assert_allclose(tight[jnp.arange(4), best], 1, atol=0.02)
  # The first-order condition: a plan is diagonal times kernel times diagonal.
  scaled = np.log(np.asarray(plan)) + np.asarray(COST) / (
    0.05 * np.median(COST)
  )
  parts = scaled - scaled.mean(0) - scaled.mean(1)[:, None] + scaled.mean()
  np.testing.assert_allclose(parts, 0, atol=1e-3)
  square = parallel_forms.sinkhorn(COST[:, :4])
  np.testing.assert_allclose(square.sum(axis=0), 1, atol=1e-4)
  gradient = jax.jit(
    jax.vmap(lambda e: parallel_forms.sinkhorn(COST, epsilon=e))
  )
  np.testing.assert_allclose(gradient(jnp.array([0.002, 0.01]))[0], tight, 1e-3)


def test_a_pool_with_the_reference_itself_gives_it_back():
  reference = jnp.asarray(RNG.normal(size=(6, 2)), jnp.float32)
  other = jnp.asarray(RNG.normal(size=(9, 2)), jnp.float32)
  pool = jnp.concatenate([other, reference])
  cost = parallel_forms.matching_cost(reference, pool)
  columns = parallel_forms.assign(cost)
  assert columns.tolist() == list(range(9, 15))
  assert parallel_forms.total_cost(cost, columns) == 0
  plan = parallel_forms.sinkhorn(cost, epsilon=1e-3)
  np.testing.assert_allclose(plan[:, 9:], np.eye(6), atol=1e-2)
  two = parallel_forms.disjoint_forms(cost, 2)
  assert two.shape == (2, 6) and len(set(two.ravel().tolist())) == 12
  form = parallel_forms.random_form(jax.random.key(0), 6, 15)
  assert len(set(form.tolist())) == 6


def test_reliabilities_have_closed_forms():
  ones = jnp.ones((1, 5), jnp.float32)
  totals = jnp.arange(4, dtype=jnp.float32)[:, None]
  np.testing.assert_allclose(parallel_forms.cronbach_alpha(totals * ones), 1)
  np.testing.assert_allclose(
    parallel_forms.split_half(totals * jnp.ones((1, 4))), 1
  )
  np.testing.assert_allclose(
    parallel_forms.spearman_brown(jnp.float32(0.5)), 2 / 3
  )
  # Independent items of equal variance: the total's is their sum.
  cube = jnp.array(list(itertools.product([0.0, 1.0], repeat=4)), jnp.float32)
  np.testing.assert_allclose(parallel_forms.cronbach_alpha(cube), 0, atol=1e-6)
  x = jnp.array([1.0, 2.0, 3.0])
  np.testing.assert_allclose(parallel_forms.pearson(x, -2 * x + 1), -1)
  np.testing.assert_allclose(
    parallel_forms.pearson(COST[0], COST[1]),
    np.corrcoef(COST[0], COST[1])[0, 1],
    rtol=1e-5,
  )


def test_the_model_is_recovered_and_its_posterior_has_no_slope():
  keys = jax.random.split(jax.random.key(1), 4)
  truth = item_response.ItemResponseModel(
    jax.random.normal(keys[0], (400,)),
    jnp.exp(0.3 * jax.random.normal(keys[1], (30,))),
    jax.random.normal(keys[2], (30,)),
  )
  chance = jax.nn.sigmoid(item_response.response_logits(truth))
  responses = jax.random.bernoulli(keys[3], chance).astype(jnp.float32)
  fit = jax.jit(item_response.fit_item_response)
  model = fit(responses)
  for name, least in (('difficulty', 0.97), ('ability', 0.85)):
    r = parallel_forms.pearson(getattr(model, name), getattr(truth, name))
    assert r > least, (name, r)
  seen = jnp.ones(responses.shape, bool)
  slope = jax.jit(jax.grad(item_response.log_posterior))(model, responses, seen)
  assert max(float(jnp.abs(x).max()) for x in slope) < 0.5  # of 400 students
  ability = item_response.estimate_ability(model, responses)
  np.testing.assert_allclose(ability, model.ability, atol=0.02)

  # What was not seen does not matter, whatever stands there.
  seen = (
    jnp.arange(30)[None, :] < jnp.where(jnp.arange(400) < 200, 30, 20)[:, None]
  )
  holes = jnp.where(seen, responses, jnp.nan)
  np.testing.assert_allclose(
    fit(holes, seen).difficulty, fit(responses * seen, seen).difficulty, 1e-5
  )
  few = item_response.estimate_ability(model, responses, jnp.zeros_like(seen))
  np.testing.assert_allclose(few, 0)


def test_statistics_of_items():
  responses = jnp.array(
    [[1, 1, 0], [1, 0, 1], [1, 0, 0], [0, 0, 0]], jnp.float32
  )
  seconds = jnp.exp(jnp.arange(12, dtype=jnp.float32).reshape(4, 3))
  found = item_response.item_statistics(responses, seconds, 0.5)
  np.testing.assert_allclose(found.accuracy, [0.75, 0.25, 0.25])
  np.testing.assert_allclose(found.log_time, [4.5, 5.5, 6.5], rtol=1e-6)
  np.testing.assert_allclose(found.ambiguity, [0, 1, 1])
