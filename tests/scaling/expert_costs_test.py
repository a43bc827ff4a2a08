"""Active parameters and bytes of mixtures, against counts of real ones."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, scaling

CONFIG = models.TransformerConfig(
  vocab_size=23,
  num_layers=3,
  embed_dim=8,
  mlp_dim=12,
  num_heads=2,
  num_kv_heads=1,
  head_dim=4,
  experts=models.Experts(6, 2, 10, True, shared_mlp_dim=5, layers=(0, 2)),
)


def shape_of(config):
  init = models.transformer(config).init
  shapes = jax.eval_shape(init, jax.random.key(0))
  return scaling.model_shape(config, models.num_params(shapes)), shapes


def test_active_parameters_are_counted_leaf_by_leaf():
  shape, params = shape_of(CONFIG)
  active = 0
  for key_path, leaf in jax.tree.leaves_with_path(params):
    path = '.' + jax.tree_util.keystr(key_path, simple=True, separator='.')
    *_, parent, name = path.split('.')
    stack = parent == 'mixture' and name in ('gates', 'ups', 'downs')
    active += leaf.size * 2 // 6 if stack else leaf.size
  assert shape.num_params == active
  assert shape.expert_params == 2 * 3 * 8 * 10
  dense, _ = shape_of(dataclasses.replace(CONFIG, experts=None))
  assert (dense.expert_params, dense.num_experts, dense.top_k) == (0, 1, 1)


def test_expected_experts_by_enumeration():
  choices = list(itertools.combinations(range(4), 2))
  for tokens in (1, 2, 3):
    seen = [
      len(set(itertools.chain(*draw)))
      for draw in itertools.product(choices, repeat=tokens)
    ]
    got = scaling.distinct_experts(4, 2, tokens)
    np.testing.assert_allclose(got, np.mean(seen))
    even = np.full(4, 0.5)
    np.testing.assert_allclose(
      scaling.distinct_experts_of_use(even, tokens), got
    )


def test_uneven_use_touches_fewer():
  use = np.random.default_rng(0).dirichlet(np.ones(8), size=50)
  use = np.minimum(2 * use, 1)
  even = np.broadcast_to(use.mean(-1, keepdims=True), use.shape)
  uneven, most = (scaling.distinct_experts_of_use(x, 5) for x in (use, even))
  assert np.all(uneven <= most + 1e-9)
  assert np.min(uneven) < 0.8 * np.max(most)


def test_reads_of_a_step():
  shape, _ = shape_of(CONFIG)
  cost = lambda together: scaling.dense_cost(
    shape, 10, 100, 4, include_param_reads=together
  )
  # One sequence reads the active parameters at each of its steps.
  np.testing.assert_allclose(cost(1).param_bytes, 2 * shape.num_params * 400)
  steps, touched = 400 / 3, scaling.distinct_experts(6, 2, 3)
  rest = shape.num_params - 2 * shape.expert_params
  np.testing.assert_allclose(
    cost(3).param_bytes, 2 * steps * (rest + touched * shape.expert_params)
  )
  np.testing.assert_allclose(
    scaling.expert_bytes(shape, 3), 2 * touched * shape.expert_params
  )


def test_counts_of_a_run_follow_the_law():
  """Random routers on random tokens: their own use, and independent tokens."""
  config = dataclasses.replace(
    CONFIG, experts=models.Experts(8, 2, 4, True), num_layers=2
  )
  model = models.transformer(config)
  params = jax.jit(model.init)(jax.random.key(1))
  tokens = jax.random.randint(jax.random.key(2), (512, 6), 0, 23)
  routing = jax.jit(models.routing, static_argnums=0)(model, params, tokens)
  use = np.mean(np.asarray(routing.weights) > 0, axis=0)  # [T, L, E]
  np.testing.assert_allclose(use.sum(-1), 2, atol=1e-6)
  for size in (1, 4, 16):
    groups = routing.weights.reshape(-1, size, *routing.weights.shape[1:])
    every = np.ones(groups.shape[1:3], bool)
    counts = np.stack([scaling.touched_experts(x, every) for x in groups])
    wanted = scaling.distinct_experts_of_use(use, size)
    bound = scaling.distinct_experts(8, 2, size)
    error = 4 * counts.std(0) / np.sqrt(len(groups)) + 1e-6
    assert np.all(np.abs(counts.mean(0) - wanted) <= error)
    assert np.all(counts.mean(0) <= bound + error)
  assert wanted.mean() < bound


def test_rows_that_do_not_read_touch_nothing():
  weights = jnp.eye(3)[:, None, None]  # three rows, each an expert of its own
  is_read = np.array([[True], [False], [True]])
  np.testing.assert_array_equal(
    scaling.touched_experts(weights, is_read), [[2]]
  )
