"""prefill, extend, fork and score against full forward passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import models, sampling
from ttc.types import Prompt

CONFIG = models.TransformerConfig(
  vocab_size=23,
  num_layers=2,
  embed_dim=16,
  mlp_dim=32,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
)
B, R, CAPACITY = 2, 3, 12
PROMPT = Prompt(
  jax.random.randint(jax.random.key(1), (B, 6), 0, 23), jnp.array([6, 3])
)
TOKENS = jax.random.randint(jax.random.key(2), (B, R, CAPACITY), 0, 23)


forward = jax.jit(models.forward, static_argnums=0)
prefill = jax.jit(sampling.prefill, static_argnums=(0, 3, 4))
extend = jax.jit(sampling.extend, static_argnums=0)
fork = jax.jit(sampling.fork, static_argnums=0)
score = jax.jit(sampling.score, static_argnums=0)
score_stepwise = jax.jit(sampling.score_stepwise, static_argnums=0)
sample = jax.jit(sampling.sample, static_argnums=0)


def make(scan_layers):
  config = models.TransformerConfig(
    **{**vars(CONFIG), 'scan_layers': scan_layers}
  )
  model = models.transformer(config)
  return model, jax.jit(model.init)(jax.random.key(0))


def exact_log_probs(model, params, b, row, length):
  """Log-probability of each of the first `length` tokens after prompt `b`."""
  prompt = np.asarray(PROMPT.tokens[b, : PROMPT.lengths[b]])
  whole = np.zeros((1, 20), np.int32)
  whole[0, : len(prompt) + len(row)] = np.concatenate([prompt, row])
  logits = jax.nn.log_softmax(forward(model, params, jnp.asarray(whole)))
  at = len(prompt) - 1 + np.arange(length)
  return np.asarray(logits[0, at, np.asarray(row)[:length]])


class StateTest(parameterized.TestCase):
  @parameterized.parameters(False, True)
  def test_score_after_extends_is_the_forward_pass(self, scan_layers):
    self.scores_as_the_forward_pass(scan_layers, (4, 9))

  @pytest.mark.slow
  def test_score_after_one_token_is_the_forward_pass(self):
    self.scores_as_the_forward_pass(False, (1,))

  def scores_as_the_forward_pass(self, scan_layers, cuts):
    model, params = make(scan_layers)
    state = prefill(model, params, PROMPT, R, CAPACITY)
    # Rows of different lengths, appended in pieces; the rest is scored.
    ends = np.array([[12, 7, 1], [10, 2, 12]])
    start = np.zeros((B, R), int)
    for cut in cuts:
      stop = np.minimum(ends, cut)
      piece = jnp.take_along_axis(
        TOKENS, jnp.minimum(start[..., None] + np.arange(9), 11), axis=-1
      )
      state = extend(model, params, state, piece, jnp.asarray(stop - start))
      start = stop
    np.testing.assert_array_equal(state.lengths, start)
    rest = jnp.take_along_axis(
      TOKENS, jnp.minimum(start[..., None] + np.arange(12), 11), axis=-1
    )
    got = score(model, params, state, rest, jnp.asarray(ends - start))
    for b, r in np.ndindex(B, R):
      want = exact_log_probs(model, params, b, TOKENS[b, r], ends[b, r])
      count = ends[b, r] - start[b, r]
      np.testing.assert_allclose(
        got[b, r, :count], want[start[b, r] :], atol=1e-5
      )
      np.testing.assert_array_equal(got[b, r, count:], 0)

  @parameterized.parameters(False, True)
  def test_fork_cuts_and_copies(self, scan_layers):
    model, params = make(scan_layers)
    state = prefill(model, params, PROMPT, R, CAPACITY)
    lengths = jnp.array([[8, 5, 3], [6, 0, 8]])
    state = extend(model, params, state, TOKENS, lengths)
    parents = jnp.array([[2, 0, 0, 1], [0, 0, 2, 1]])
    cut = jnp.array([[9, 4, 0, 1], [2, 6, 7, 5]])
    forked = fork(model, state, parents, cut)
    kept = np.minimum(np.take_along_axis(lengths, parents, 1), cut)
    np.testing.assert_array_equal(forked.lengths, kept)
    follow = jax.random.randint(jax.random.key(9), (B, 4, 3), 0, 23)
    got = score(model, params, forked, follow, jnp.full((B, 4), 3, jnp.int32))
    for b, m in np.ndindex(B, 4):
      row = np.concatenate(
        [TOKENS[b, parents[b, m], : kept[b, m]], follow[b, m]]
      )
      want = exact_log_probs(model, params, b, row, len(row))[-3:]
      np.testing.assert_allclose(got[b, m], want, atol=1e-5)

  def test_truncating_is_forking_every_row_and_touches_no_cache(self):
    model, params = make(False)
    state = prefill(model, params, PROMPT, R, CAPACITY)
    lengths = jnp.array([[8, 5, 3], [6, 0, 8]])
    state = extend(model, params, state, TOKENS, lengths)
    cut = jnp.array([[9, 4, 0], [2, 6, 7]])
    own = jnp.broadcast_to(jnp.arange(R), (B, R))
    got = sampling.truncate(state, cut)
    assert got.suffix is state.suffix and got.tokens is state.tokens
    np.testing.assert_array_equal(got.lengths, [[8, 4, 0], [2, 0, 7]])
    for a, b in zip(
      jax.tree.leaves(got),
      jax.tree.leaves(fork(model, state, own, cut)),
      strict=True,
    ):
      np.testing.assert_array_equal(a, b)

  def test_step_by_step_is_the_same_score(self):
    model, params = make(False)
    state = prefill(model, params, PROMPT, R, CAPACITY)
    counts = jnp.array([[12, 7, 0], [10, 2, 12]])
    np.testing.assert_allclose(
      score_stepwise(model, params, state, TOKENS, counts),
      score(model, params, state, TOKENS, counts),
      atol=1e-5,
    )

  def test_sampling_in_two_parts_equals_one(self):
    model, params = make(False)
    keys = jax.random.split(jax.random.key(4), B)
    stop = sampling.stop_rules(23, [0])
    state = prefill(model, params, PROMPT, R, CAPACITY)

    def draw(state, limit, active):  # by one program
      limit = jnp.full((B, R), limit)
      return sample(
        model, params, keys, state, stop, max_new_tokens=limit, active=active
      )

    everyone = jnp.ones((B, R), bool)
    whole = draw(state, CAPACITY, everyone).generation
    first = draw(state, 4, everyone)
    unfinished = first.generation.finish_reasons == 2
    second = draw(first.state, CAPACITY, unfinished)
    np.testing.assert_array_equal(second.state.lengths, whole.lengths)
    np.testing.assert_array_equal(
      np.where(
        np.arange(CAPACITY) < np.asarray(whole.lengths)[..., None],
        second.state.tokens,
        0,
      ),
      whole.tokens,
    )
    np.testing.assert_allclose(
      first.generation.log_probs.sum(-1) + second.generation.log_probs.sum(-1),
      whole.log_probs.sum(-1),
      atol=1e-4,
    )

  def test_the_prompt_is_prefilled_once(self):
    """The tokens the model reads are counted from outside."""
    model, params = make(False)
    read = []

    def features(params, tokens, num_tokens, cache):
      read.append(tokens.shape)
      return model.features(params, tokens, num_tokens, cache)

    counted = model._replace(features=features)
    state = jax.eval_shape(
      lambda params: sampling.prefill(counted, params, PROMPT, 64, CAPACITY),
      params,
    )
    self.assertEqual(read, [(B, 1, 6)])
    # And its keys and values have no sample axis.
    for segment in state.prefix:
      self.assertEqual(segment.k.shape, (B, 2, 6, 8))


if __name__ == '__main__':
  absltest.main()
