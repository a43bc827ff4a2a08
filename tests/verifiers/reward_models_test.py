"""Reward models: where scores are read, what they learn from, what values are.

On the identity table the feature at a token is the one-hot of that very token,
so a score tells which token it was read at.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling, verifiers
from ttc.types import Generation, Prompt

V, EOS, STEP = 5, 4, 3
TABLE_MODEL = models.table_model(V)


def generation(tokens):
  """Responses that end at their first 0."""
  tokens = jnp.asarray(tokens)
  zeros = jnp.zeros(tokens.shape)
  lengths = jnp.argmax(jnp.pad(tokens, [(0, 0)] * 2 + [(0, 1)]) == 0, axis=-1)
  return Generation(tokens, lengths, zeros, zeros, jnp.ones_like(lengths))


step_scores = jax.jit(verifiers.step_scores, static_argnums=0)
last_score = jax.jit(verifiers.last_score, static_argnums=0)

RESPONSES = generation([[[1, STEP, 2, 2, EOS, 0], [2, 1, STEP, 1, 0, 0]]])
PROMPT = Prompt(jnp.array([[1, 2]]), jnp.array([2]))
DELIMITER = jnp.arange(V) == STEP


def identity_reward_model():
  params = verifiers.init_reward_model(
    TABLE_MODEL, jax.random.key(0), jnp.eye(V)
  )
  weights = jnp.array([9.0, 1.0, 2.0, 3.0, 4.0])
  return TABLE_MODEL, {
    'model': params['model'],
    'head': {'kernel': weights, 'bias': jnp.float32(0.5)},
  }


def small_transformer(vocab_size=8):
  config = models.TransformerConfig(
    vocab_size=vocab_size,
    num_layers=1,
    embed_dim=16,
    mlp_dim=16,
    num_heads=2,
    num_kv_heads=1,
    head_dim=8,
  )
  model = models.transformer(config)
  params = verifiers.init_reward_model(model, jax.random.key(1))
  kernel = jax.random.normal(jax.random.key(2), (16,))
  params['head']['kernel'] += kernel
  return model, params


def test_steps_end_at_delimiters_and_with_the_response():
  ends = verifiers.step_ends(RESPONSES.tokens, RESPONSES.lengths, DELIMITER)
  np.testing.assert_array_equal(
    ends[0], [[0, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 0]]
  )
  closed = generation([[[1, STEP, 0]]])
  ends = verifiers.step_ends(closed.tokens, closed.lengths, DELIMITER)
  np.testing.assert_array_equal(ends[0, 0], [0, 1, 0])


def test_scores_are_read_at_the_last_token_of_the_step():
  """Not at the token before, which has not seen the step's end."""
  model, params = identity_reward_model()
  ends = verifiers.step_ends(RESPONSES.tokens, RESPONSES.lengths, DELIMITER)
  scores = step_scores(model, params, PROMPT, RESPONSES, ends)
  at = lambda token: jax.nn.sigmoid(token + 0.5)
  expected = [
    [0, at(STEP), 0, 0, at(EOS), 0],
    [0, 0, at(STEP), at(1), 0, 0],
  ]
  np.testing.assert_allclose(scores[0], expected, rtol=1e-6)
  last = last_score(model, params, PROMPT, RESPONSES)
  np.testing.assert_allclose(last[0], [at(EOS), at(1)], rtol=1e-6)


@pytest.mark.slow
def test_a_transformer_reads_the_same_through_the_shared_prompt():
  """As from the plain pass over prompt and response, at every token."""
  model, params = small_transformer()
  prompt = Prompt(jnp.array([[1, 2, 0], [2, 5, 1]]), jnp.array([2, 3]))
  responses = generation([[[1, 3, 2], [2, 1, 3]], [[3, 3, 1], [7, 6, 0]]])
  read = jax.jit(functools.partial(verifiers.token_logits, model))
  got = read(params, prompt, responses.tokens, responses.lengths)

  @jax.jit
  def plain(joined):
    lengths = jnp.full((1, 2), joined.shape[-1])
    cache = models.Cache(None, jnp.zeros((1,), int), None, 0 * lengths)
    return model.features(params['model'], joined[None], lengths, cache)[0][0]

  for b, length in enumerate([2, 3]):
    given = jnp.broadcast_to(prompt.tokens[b, :length], (2, length))
    features = plain(jnp.concatenate([given, responses.tokens[b]], axis=1))
    expected = (features @ params['head']['kernel'])[:, length:]
    inside = np.arange(3) < np.asarray(responses.lengths[b])[:, None]
    np.testing.assert_allclose(got[b][inside], expected[inside], atol=1e-4)


def touched_rows(grads):
  return set(np.flatnonzero(np.abs(grads).sum(axis=1)).tolist())


def test_the_outcome_reaches_the_last_token_only():
  model, params = identity_reward_model()
  loss = functools.partial(verifiers.outcome_loss, model)
  rewards = jnp.array([[1.0, 0.0]])
  grads = jax.jit(jax.grad(loss))(params, PROMPT, RESPONSES, rewards)
  assert touched_rows(grads['model']) == {EOS, 1}
  assert set(np.flatnonzero(grads['head']['kernel'])) == {EOS, 1}
  first = jnp.array([[True, False]])
  grads = jax.jit(jax.grad(loss))(params, PROMPT, RESPONSES, rewards, first)
  assert touched_rows(grads['model']) == {EOS}
  # More of what is right: the logit of a right response rises.
  assert grads['head']['kernel'][EOS] < 0


def test_the_process_reaches_steps_and_nothing_behind_them():
  model, params = identity_reward_model()
  ends = verifiers.step_ends(RESPONSES.tokens, RESPONSES.lengths, DELIMITER)
  ends = ends.at[0, 0, 4].set(False)  # this step has no target
  loss = functools.partial(verifiers.process_loss, model)
  targets = jnp.full(ends.shape, 0.3)
  grads = jax.jit(jax.grad(loss))(params, PROMPT, RESPONSES, targets, ends)
  assert touched_rows(grads['model']) == {STEP, 1}

  model, params = small_transformer()
  responses = generation([[[3, 4, 5, 6]]])
  ends = jnp.array([[[False, True, False, False]]])
  loss = jax.jit(jax.grad(functools.partial(verifiers.process_loss, model)))
  grads = loss(params, PROMPT, responses, jnp.full((1, 1, 4), 0.3), ends)
  assert touched_rows(grads['model']['embed']) == {1, 2, 3, 4}


def test_soft_targets_are_learned_as_they_are():
  q = jnp.array([0.1, 0.5, 0.8])
  logits = jnp.log(q / (1 - q))
  mask = jnp.array([True, True, False])
  loss, grads = jax.jit(jax.value_and_grad(verifiers.cross_entropy))(
    logits, q, mask
  )
  entropy = -(q * jnp.log(q) + (1 - q) * jnp.log(1 - q))
  np.testing.assert_allclose(loss, entropy[:2].mean(), rtol=1e-6)
  np.testing.assert_allclose(grads, 0.0, atol=1e-7)
  # A share of rollouts says the same as the rollouts one by one.
  hard = jnp.array([1.0, 1.0, 0.0, 1.0])
  one_by_one = verifiers.cross_entropy(
    jnp.full((4,), 0.7), hard, jnp.ones((4,), bool)
  )
  share = verifiers.cross_entropy(
    jnp.full((1,), 0.7), jnp.array([0.75]), jnp.array([True])
  )
  np.testing.assert_allclose(share, one_by_one, rtol=1e-6)
  assert verifiers.cross_entropy(logits, q, mask & False) == 0


def has_even_ones(prompt, responses):
  del prompt
  return (jnp.sum(responses.tokens == 1, axis=-1) % 2 == 0).astype(jnp.float32)


def exact_value(table, prefix, capacity):
  """By enumeration of what may follow the prefix."""
  rest = capacity - len(prefix)
  world = models.enumerate_sequences(table, prefix[-1], EOS, rest)
  ones = (world.tokens == 1).sum(axis=1) + prefix.count(1)
  return float(jnp.sum(jnp.exp(world.log_probs) * (ones % 2 == 0)))


@pytest.mark.slow
def test_rollouts_have_the_exact_values():
  """Within 4 standard errors, `sqrt(V (1 - V) / K)`, of the enumeration."""
  K, capacity = 1000, 6
  table = models.table_model(V).init(jax.random.key(3))
  values = jax.jit(
    lambda ends: verifiers.step_values(
      models.table_model(V),
      table,
      jax.random.split(jax.random.key(4), 1),
      PROMPT,
      RESPONSES.tokens,
      RESPONSES.lengths,
      ends,
      has_even_ones,
      sampling.stop_rules(V, [EOS]),
      K,
      capacity=capacity,
    )
  )(jnp.ones((1, 2, 6), bool).at[0, 0, 2].set(False))
  for n, length in enumerate(np.asarray(RESPONSES.lengths[0])):
    response = RESPONSES.tokens[0, n].tolist()
    for t in range(length):
      if (n, t) == (0, 2):
        assert values[0, n, t] == 0
      elif response[t] == EOS:  # nothing is left to chance
        assert values[0, n, t] == (response.count(1) % 2 == 0)
      else:
        exact = exact_value(table, response[: t + 1], capacity)
        error = np.sqrt(exact * (1 - exact) / K)
        assert 0.05 < exact < 0.95
        assert abs(values[0, n, t] - exact) < 4 * error, (n, t)


@pytest.mark.slow
def test_rollouts_of_a_step_do_not_see_what_followed_it():
  """Prefixes are cut out of one pass over whole responses."""
  model, params = small_transformer(V)
  run = jax.jit(
    lambda responses: verifiers.step_values(
      model,
      params['model'],
      jax.random.split(jax.random.key(4), 1),
      PROMPT,
      responses.tokens,
      responses.lengths,
      jnp.ones((1, 1, 4), bool),
      has_even_ones,
      sampling.stop_rules(V, [EOS]),
      256,
      capacity=6,
    )
  )
  one = run(generation([[[1, 2, 3, 2]]]))
  two = run(generation([[[1, 2, 1, 3]]]))
  np.testing.assert_array_equal(one[..., :2], two[..., :2])
  assert not np.array_equal(one[..., 2:], two[..., 2:])


@pytest.mark.parametrize('by_text', [False, True])
def test_a_response_without_room_is_valued_as_it_is(by_text):
  """It ends at the capacity without a stop: nothing is drawn behind it."""
  table = models.table_model(V).init(jax.random.key(3))
  tokens = jnp.array([[[1, 2, 1, 2]]])
  reward = lambda prompt, responses: jnp.any(
    responses.tokens == EOS, axis=-1
  ).astype(jnp.float32)
  stop = sampling.stop_rules(V, [] if by_text else [EOS], [[2, 1]] * by_text)
  values = verifiers.step_values(
    models.table_model(V),
    table,
    jax.random.split(jax.random.key(4), 1),
    PROMPT,
    tokens,
    jnp.array([[4]]),
    jnp.ones((1, 1, 4), bool),
    reward,
    stop,
    32,
    capacity=4,
  )
  assert values[0, 0, 3] == 0
  if by_text:  # the response has stopped behind `1 2 1`
    assert values[0, 0, 2] == 0
