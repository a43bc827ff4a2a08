"""Overridden routes of a mixture of experts, through all five verbs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling
from ttc.types import Prompt

B, N, CAPACITY, V = 2, 3, 6, 23
CONFIG = models.TransformerConfig(
  vocab_size=V,
  num_layers=1,
  embed_dim=12,
  mlp_dim=8,
  num_heads=2,
  num_kv_heads=1,
  head_dim=6,
  experts=models.Experts(5, 2, 8, normalise=True),
)
MODEL = models.transformer(CONFIG)
PARAMS = jax.tree.map(lambda x: 2 * x, jax.jit(MODEL.init)(jax.random.key(0)))
PROMPT = Prompt(
  jax.random.randint(jax.random.key(1), (B, 5), 0, V), jnp.array([5, 2])
)
KEYS = jax.random.split(jax.random.key(2), B)
STOP = sampling.stop_rules(V, [0, 1, 2])
NOTHING = models.no_override(CONFIG)
BIASES = 4 * jax.random.normal(jax.random.key(3), (B, N, 1, 5))
FOLLOW = jax.random.randint(jax.random.key(4), (B, N, 4), 0, V)
COUNTS = jnp.array([[4, 1, 2], [3, 4, 0]])

prefill = jax.jit(sampling.prefill, static_argnums=(0, 3, 4))
extend = jax.jit(sampling.extend, static_argnums=0)
fork = jax.jit(sampling.fork, static_argnums=0)
score = jax.jit(sampling.score, static_argnums=0)
_generate = jax.jit(
  functools.partial(
    sampling.generate, model=MODEL, capacity=CAPACITY, stop=STOP
  ),
  static_argnums=3,
  static_argnames='num_rows',
)


def generate(routes=None, sample_ids=(0, 1, 2), num_rows=None):
  return _generate(
    PARAMS,
    KEYS,
    PROMPT,
    N,
    routes=routes,
    sample_ids=jnp.array(sample_ids),
    num_rows=num_rows,
  )


def routes_of(biases):
  """Routes with these biases `[*R, L, E]`."""
  lead = biases.shape[:-2]
  spread = lambda leaf: jnp.broadcast_to(leaf, (*lead, *leaf.shape))
  return jax.tree.map(spread, NOTHING)._replace(bias=biases)


ROUTES = routes_of(BIASES)


@functools.partial(jax.jit, static_argnums=0)
def whole(model, params, tokens, override):
  features, _ = models.read_routed(model, params, tokens, override=override)
  return jax.nn.log_softmax(model.logits(params, features))


def assert_equal(got, wanted):
  """The same draws, and log-probabilities to rounding."""
  for name in ('tokens', 'lengths', 'finish_reasons'):
    np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))
  np.testing.assert_allclose(got.log_probs, wanted.log_probs, atol=2e-5)


def test_without_routes_nothing_changes():
  wanted = generate()
  got = generate(NOTHING)
  jax.tree.map(np.testing.assert_array_equal, got, wanted)
  got = generate(routes_of(0 * BIASES))
  jax.tree.map(np.testing.assert_array_equal, got, wanted)


def test_rows_with_routes_are_as_many_separate_runs():
  together = generate(ROUTES)
  plain = generate()
  assert np.any(together.tokens != plain.tokens)
  np.testing.assert_array_equal(together.tokens[..., 0], plain.tokens[..., 0])
  for n in range(N):
    of_row = jax.tree.map(lambda x, n=n: x[:, n : n + 1], ROUTES)
    same = jax.tree.map(lambda x: jnp.repeat(x, N, axis=1), of_row)
    alone = generate(same)
    take = lambda x, n=n: x[:, n]
    assert_equal(jax.tree.map(take, together), jax.tree.map(take, alone))


def test_a_route_goes_with_the_response_and_not_with_the_row():
  wanted = generate(ROUTES)
  assert len(set(np.asarray(wanted.lengths).ravel().tolist())) > 1
  assert_equal(generate(ROUTES, num_rows=2), wanted)
  # Responses are known by their id, wherever they stand.
  order = jnp.array([2, 0, 1])
  turned = generate(jax.tree.map(lambda x: x[:, order], ROUTES), order)
  assert_equal(turned, jax.tree.map(lambda x: x[:, order], wanted))


def test_after_a_refill_the_state_has_the_routes_of_the_last_responses():
  state = prefill(MODEL, PARAMS, PROMPT, 2, CAPACITY)
  drawn, after, _ = jax.jit(sampling.sample, static_argnums=(0, 5))(
    MODEL, PARAMS, KEYS, state, STOP, N, routes=ROUTES
  )
  for b, r in np.ndindex(B, 2):
    size = int(after.lengths[b, r])
    texts = [drawn.tokens[b, n, :size].tolist() for n in range(N)]
    may_be = [
      np.array_equal(after.routes.bias[b, r], BIASES[b, n])
      for n, text in enumerate(texts)
      if text == after.tokens[b, r, :size].tolist()
      and drawn.lengths[b, n] == size
    ]
    assert sum(may_be) == 1


def test_routes_of_a_prompt_hold_for_the_prompt_too():
  of_prompt = routes_of(BIASES[:, :1])
  state = prefill(MODEL, PARAMS, PROMPT, N, CAPACITY, routes=of_prompt)
  got = score(MODEL, PARAMS, state, FOLLOW, COUNTS)
  for b in range(B):
    one = jax.tree.map(lambda x, b=b: x[b : b + 1], of_prompt)
    size = int(PROMPT.lengths[b])
    for n in range(N):
      tokens = jnp.concatenate([PROMPT.tokens[b, :size], FOLLOW[b, n]])
      log_probs = whole(MODEL, PARAMS, tokens[None], one)[0]
      count = int(COUNTS[b, n])
      wanted = log_probs[jnp.arange(size - 1, size - 1 + count)]
      wanted = jnp.take_along_axis(wanted, FOLLOW[b, n, :count, None], axis=1)[
        :, 0
      ]
      np.testing.assert_allclose(got[b, n, :count], wanted, atol=2e-5)


def test_extend_fork_and_score_keep_the_routes_of_a_row():
  state = prefill(MODEL, PARAMS, PROMPT, N, CAPACITY + 4, routes=ROUTES)
  state = extend(MODEL, PARAMS, state, FOLLOW, COUNTS)
  wanted = score(MODEL, PARAMS, state, FOLLOW[:, ::-1], COUNTS)
  parents = jnp.array([[2, 2, 0, 1], [1, 0, 0, 2]])
  forked = fork(MODEL, state, parents)
  by_parent = jax.vmap(lambda x, i: x[i])
  np.testing.assert_array_equal(forked.routes.bias, by_parent(BIASES, parents))
  got = score(
    MODEL,
    PARAMS,
    forked,
    by_parent(FOLLOW[:, ::-1], parents),
    by_parent(COUNTS, parents),
  )
  np.testing.assert_allclose(got, by_parent(wanted, parents), atol=2e-5)
  plain = score(
    MODEL, PARAMS, state._replace(routes=None), FOLLOW[:, ::-1], COUNTS
  )
  assert np.max(np.abs(plain - wanted)) > 0.1


@pytest.mark.slow
def test_a_target_with_routes_speculates_by_its_own_law():
  wanted = generate(ROUTES)
  states = [
    prefill(MODEL, PARAMS, PROMPT, N, CAPACITY, routes=routes)
    for routes in (ROUTES, ROUTES)
  ]
  got = jax.jit(sampling.speculative_sample, static_argnums=(0, 1, 8))(
    MODEL, MODEL, PARAMS, PARAMS, KEYS, *states, STOP, 2
  )
  assert_equal(got.generation, wanted)
  np.testing.assert_array_equal(got.counters.accepted, got.counters.tokens)


def test_what_cannot_be_meant_is_refused():
  two = jax.tree.map(lambda x: x[:, :2], ROUTES)
  state = prefill(MODEL, PARAMS, PROMPT, 2, CAPACITY, routes=two)
  with pytest.raises(ValueError, match='the state has routes of its 2 rows'):
    sampling.sample(MODEL, PARAMS, KEYS, state, STOP, N)
  with pytest.raises(ValueError, match=r'bias is \(2, 3, 1, 5\), not \(1, 5\)'):
    sampling.prefill(MODEL, PARAMS, PROMPT, 2, CAPACITY, routes=ROUTES)
  table = models.table_model(V, 4)
  with pytest.raises(ValueError, match='the model has no experts'):
    sampling.prefill(table, {}, PROMPT, N, CAPACITY, routes=NOTHING)
