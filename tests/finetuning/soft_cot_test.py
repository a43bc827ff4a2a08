"""SoftCoT++: its terms in closed form, its gradients, and decoding with it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import finetuning, models, sampling, search
from ttc.types import Prompt

V, K, L, T = 13, 3, 2, 4


def tiny(width):
  return models.transformer(
    models.TransformerConfig(
      vocab_size=V,
      num_layers=1,
      embed_dim=width,
      mlp_dim=width,
      num_heads=2,
      num_kv_heads=2,
      head_dim=width // 2,
    )
  )


PAIR = finetuning.SoftPair(tiny(8), tiny(12))


@jax.jit
def make_params(key):
  keys = jax.random.split(key, 3)
  frozen = (
    jax.jit(PAIR.assistant.init)(keys[0]),
    jax.jit(PAIR.target.init)(keys[1]),
  )
  soft = finetuning.init_soft_thoughts(keys[2], PAIR, frozen, K, spread=1.0)
  return finetuning.SoftCoTParams(*frozen, soft)


def setup_module():
  global BATCH, PARAMS
  BATCH = finetuning.SoftCoTBatch(
    Prompt(
      jax.random.randint(jax.random.key(1), (3, 5), 0, V), jnp.array([5, 2, 3])
    ),
    jax.random.randint(jax.random.key(2), (3, T), 0, V),
    jnp.array([4, 1, 3]),
    jax.random.split(jax.random.key(3), 3),
  )
  PARAMS = make_params(jax.random.key(0))


think = jax.jit(functools.partial(finetuning.think, PAIR), static_argnums=2)
loss_and_grads = jax.jit(
  jax.value_and_grad(
    lambda params, batch, weight: finetuning.soft_cot_loss(
      PAIR, params, batch, L, contrastive_weight=weight
    )
  )
)
loss = lambda *args: loss_and_grads(*args)[0]
contrast = jax.jit(finetuning.info_nce)
mean_cosine = jax.jit(finetuning.mean_cosine)
generate = jax.jit(
  functools.partial(
    finetuning.generate_with_thoughts,
    pair=PAIR,
    num_positions=L,
    capacity=T,
    stop=sampling.stop_rules(V, [0]),
  ),
  static_argnums=3,
)


def draw(params, keys, prompt, num_samples):
  ids = jnp.arange(num_samples)
  return generate(params, keys, prompt, num_samples, sample_ids=ids)


@jax.jit
def score_with_thoughts(params, prompt, ids, tokens, lengths):
  """Log-probabilities of responses after their thoughts, by the engine."""
  state = finetuning.prefill_thoughts(PAIR, params, prompt, ids, L, T)
  return sampling.score(PAIR.target, params.target, state, tokens, lengths)


def test_contrast_has_its_closed_forms():
  undropped = functools.partial(contrast, jax.random.key(0))
  # Orthogonal and of one length, each over two positions.
  apart = 3.0 * jnp.eye(4).reshape(4, 2, 2)
  for tau in (0.05, 0.5, 2.0):
    want = np.log1p(3 * np.exp(-1 / tau))
    got = undropped(apart, 0.0, tau)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-7)
  same = jnp.broadcast_to(jnp.arange(1.0, 5).reshape(2, 2), (4, 2, 2))
  np.testing.assert_allclose(undropped(same, 0.0, 0.05), np.log(4), rtol=1e-5)
  # Two pairs of opposite directions, orthogonal to each other.
  pairs = jnp.concatenate([apart[:2], -5 * apart[:2]])
  want = np.log(1 + 2 * np.exp(-2) + np.exp(-4))
  np.testing.assert_allclose(undropped(pairs, 0.0, 0.5), want, rtol=1e-5)
  np.testing.assert_allclose(mean_cosine(apart), 0, atol=1e-6)
  np.testing.assert_allclose(mean_cosine(same), 1, rtol=1e-6)
  np.testing.assert_allclose(mean_cosine(pairs), -1 / 3, rtol=1e-6)


def test_contrast_spreads_near_thoughts_also_with_dropout():
  start = 1 + 0.2 * jax.random.normal(jax.random.key(1), (4, 2, 2))

  @jax.jit
  def descend(thoughts):
    def step(thoughts, key):
      grads = jax.grad(finetuning.info_nce, argnums=1)(key, thoughts)
      return thoughts - 0.5 * grads, None

    keys = jax.random.split(jax.random.key(2), 200)
    return jax.lax.scan(step, thoughts, keys)[0]

  assert mean_cosine(start) > 0.9
  assert mean_cosine(descend(start)) < 0.5


def test_loss_is_the_engines_log_probability():
  ids = jnp.broadcast_to(jnp.arange(K), (3, K))
  tokens = jnp.broadcast_to(BATCH.responses[:, None], (3, K, T))
  lengths = jnp.broadcast_to(BATCH.lengths[:, None], (3, K))
  twice = lambda x: jnp.concatenate([x, x], axis=1)  # as many as below
  log_probs = score_with_thoughts(
    PARAMS, BATCH.prompt, twice(ids), twice(tokens), twice(lengths)
  )[:, :K]
  likelihood = -(log_probs.sum(-1) / lengths).sum(-1).mean()
  got = loss(PARAMS, BATCH, 0.0)
  np.testing.assert_allclose(got, likelihood, rtol=1e-5)
  # And the contrastive term is lambda / K times the mean of its own.
  thoughts = think(PARAMS, BATCH.prompt, L)
  assert thoughts.shape == (3, K, L, 12)
  pairs = zip(BATCH.keys, thoughts, strict=True)
  term = np.mean([contrast(key, z) for key, z in pairs])
  assert term > 0.01
  for weight in (1.0, 7.0):
    np.testing.assert_allclose(
      loss(PARAMS, BATCH, weight) - got, weight * term / K, rtol=1e-3
    )


def test_a_batch_is_the_mean_of_its_problems():
  thrice = lambda b: jax.tree.map(lambda leaf: leaf[np.full(3, b)], BATCH)
  losses = [float(loss(PARAMS, thrice(b), 5.0)) for b in range(3)]
  assert np.ptp(losses) > 0.1
  whole = loss(PARAMS, BATCH, 5.0)
  np.testing.assert_allclose(whole, np.mean(losses), rtol=1e-5)
  # What stands behind a prompt or a response does not matter.
  other = BATCH._replace(
    prompt=BATCH.prompt._replace(tokens=BATCH.prompt.tokens.at[1, 2:].set(7)),
    responses=BATCH.responses.at[1, 1:].set(7),
  )
  np.testing.assert_allclose(loss(PARAMS, other, 5.0), whole, rtol=1e-5)


def test_gradients_reach_only_what_is_trained():
  _, grads = loss_and_grads(PARAMS, BATCH, 1.0)
  for leaf in jax.tree.leaves([grads.assistant, grads.target]):
    assert not np.any(leaf)
  for leaf in grads.soft:
    assert np.all(np.abs(leaf).max(axis=1) > 0)

  # By the flag, as in the released code, the projection only.
  @jax.jit
  @jax.grad
  def through_projection(soft):
    params = PARAMS._replace(soft=soft)
    return finetuning.think(
      PAIR, params, BATCH.prompt, L, through_assistant=False
    ).sum()

  grads = through_projection(PARAMS.soft)
  assert np.any(grads.projection)
  assert not np.any(grads.initial)


@pytest.mark.slow
def test_sample_i_follows_thought_i_mod_k():
  keys = jax.random.split(jax.random.key(5), 3)
  many = draw(PARAMS, keys, BATCH.prompt, 2 * K)
  assert many.tokens.shape == (3, 2 * K, T)
  # A sample is the same wherever it stands.
  order = jnp.array([4, 1, 5, 0, 3, 2])
  moved = generate(PARAMS, keys, BATCH.prompt, 2 * K, sample_ids=order)
  np.testing.assert_array_equal(moved.tokens, many.tokens[:, order])
  # The engine says of each what its thought says of it.
  ids = jnp.broadcast_to(jnp.arange(2 * K) % K, (3, 2 * K))
  score = lambda ids: score_with_thoughts(
    PARAMS, BATCH.prompt, ids, many.tokens, many.lengths
  )
  np.testing.assert_allclose(score(ids), many.log_probs, atol=1e-5)
  assert np.abs(score((ids + 1) % K) - many.log_probs).max() > 0.01


@pytest.mark.slow
def test_samples_with_thoughts_vote_and_are_chosen_from():
  keys = jax.random.split(jax.random.key(6), 3)
  answer_fn = lambda prompt, generation: generation.tokens[..., 0]
  output = search.self_consistency(
    PARAMS, keys, BATCH.prompt, draw, answer_fn, 2 * K
  )
  for answers, winner in zip(
    output.samples.tokens[..., 0], output.answers, strict=True
  ):
    counts = np.bincount(answers, minlength=V)
    assert counts[winner] == counts.max()
  samples = search.observe(BATCH.prompt, output.samples, answer_fn)
  chosen = search.select_each(search.select_best, samples)
  best = np.argmax(samples.scores, axis=1)
  np.testing.assert_array_equal(
    chosen.answer, np.asarray(samples.answers)[np.arange(3), best]
  )


def test_thoughts_begin_close_and_as_long_as_embeddings():
  frozen = PARAMS[:2]
  init = jax.jit(
    lambda spread: finetuning.init_soft_thoughts(
      jax.random.key(7), PAIR, frozen, 50, spread=spread
    )
  )
  mean = PARAMS.assistant['embed'].mean(axis=0)
  np.testing.assert_allclose(
    init(0.0).initial, np.tile(mean, (50, 1)), atol=1e-6
  )
  spread = (init(0.5).initial - mean).std() / np.sqrt(
    np.square(PARAMS.assistant['embed']).mean()
  )
  assert abs(spread - 0.5) < 3 * 0.5 / np.sqrt(2 * 400)  # 3 standard errors
  # Final features have mean square 1, so thoughts have that of embeddings; 96
  # independent weights give it within a factor of two, by far.
  thoughts = think(PARAMS, BATCH.prompt, L)
  ratio = np.square(thoughts).mean() / np.square(PARAMS.target['embed']).mean()
  assert 0.5 < ratio < 2

  table = models.table_model(V)
  with pytest.raises(ValueError, match='token ids only'):
    finetuning.init_soft_thoughts(
      jax.random.key(0), finetuning.SoftPair(table, table), frozen, K
    )
