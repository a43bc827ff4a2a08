"""Generative verifiers on tables, whose verdicts have exact probabilities.

An order-1 table sees the last token only, so what it says after the question
does not depend on the response; a transformer shows that it can.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, verifiers
from ttc.types import Generation, Prompt

V = 6
EOS, ASK, YES, NO = 2, 3, 4, 5
QUESTION = verifiers.Question((ASK,), YES, NO, (EOS,))
PROMPT = Prompt(jnp.array([[1, 2, 0], [2, 1, 1]]), jnp.array([2, 3]))
KEYS = jax.random.split(jax.random.key(0), 2)
MODEL = models.table_model(V)


def generation(tokens, lengths):
  tokens, lengths = jnp.asarray(tokens), jnp.asarray(lengths)
  zeros = jnp.zeros(tokens.shape)
  return Generation(tokens, lengths, zeros, zeros, jnp.ones_like(lengths))


RESPONSES = generation(
  [[[1, 1, EOS], [1, EOS, 0], [0, 0, 0]]] * 2, [[3, 2, 0]] * 2
)


def table_after(law):
  """A table whose row `token` is a given law, others uniform."""
  table = np.zeros((V, V), np.float32)
  for token, probs in law.items():
    table[token] = np.log(np.maximum(probs, 1e-30))
  return jnp.asarray(table)


score = jax.jit(functools.partial(verifiers.yes_score, MODEL), static_argnums=1)


def test_yes_probability_is_the_softmax_over_yes_and_no():
  probs = np.array([0.1, 0.2, 0.1, 0.2, 0.3, 0.1])
  got = score(table_after({ASK: probs}), QUESTION, PROMPT, RESPONSES)
  np.testing.assert_allclose(got, [[0.75, 0.75, 0]] * 2, rtol=1e-5)
  probs[YES], probs[NO] = probs[NO], probs[YES]
  got = score(table_after({ASK: probs}), QUESTION, PROMPT, RESPONSES)
  np.testing.assert_allclose(got, [[0.25, 0.25, 0]] * 2, rtol=1e-5)
  # As good as no probability of a yes: 1 - p(no) among the two.
  probs[YES] = 0
  got = score(table_after({ASK: probs}), QUESTION, PROMPT, RESPONSES)
  np.testing.assert_allclose(got, 0, atol=1e-6)


LIMIT = 4  # tokens of a verification


@jax.jit
def many_verdicts(params):
  state = verifiers.read_responses(MODEL, params, PROMPT, RESPONSES, 5)
  state = verifiers.ask(MODEL, params, state, QUESTION)
  return verifiers.sample_verdicts(
    MODEL, params, KEYS, state, QUESTION, 500, max_new_tokens=LIMIT
  )


@jax.jit
def mean_of_four(params):
  return verifiers.verdict_score(
    MODEL, params, QUESTION, KEYS, 4, LIMIT, PROMPT, RESPONSES
  )


THINK = np.array([0.2, 0.3, 0.1, 0.0, 0.3, 0.1])  # of 0, 1, EOS, ASK, yes, no
THINKER = table_after({t: THINK for t in range(V)})


def test_verdicts_after_thoughts_have_their_exact_law():
  """Of tokens drawn alike, yes comes first with .3 / (.3 + .1 + .1), and so on.

  Four tokens at most: with probability .5^4 no verdict falls. 6 rows x 500
  verdicts; 4 standard errors.
  """
  verdicts, tokens = many_verdicts(THINKER)
  ended = 1 - 0.5**LIMIT
  expected = {1.0: 0.6 * ended, 0.0: 0.2 * ended}
  for value, prob in expected.items():
    error = np.sqrt(prob * (1 - prob) / verdicts.size)
    assert abs(np.mean(verdicts == value) - prob) < 4 * error
  error = np.sqrt(0.25 * 0.75 / verdicts.size)
  none = np.isnan(verdicts)
  assert abs(none.mean() - (0.2 * ended + 0.5**LIMIT)) < 4 * error
  # Those that ran into the limit are four tokens long and say nothing.
  assert tokens.max() == LIMIT
  mean_length = sum(0.5**t for t in range(LIMIT))
  assert abs(tokens.mean() - mean_length) < 4 * 1.1 / np.sqrt(verdicts.size)


@pytest.mark.slow
def test_a_score_is_the_mean_of_the_first_verdicts():
  """Verdict `v` is the same however many there are; rows have their own."""
  many, _ = many_verdicts(THINKER)
  expected = verifiers.mean_verdicts(many[..., :4])
  got = mean_of_four(THINKER)
  np.testing.assert_allclose(got[:, :2], expected[:, :2], rtol=1e-6)
  assert not np.array_equal(many[:, 0], many[:, 1], equal_nan=True)
  assert not np.array_equal(many[0], many[1], equal_nan=True)


def test_scores_are_means_of_the_verdicts_that_exist():
  nan = jnp.nan
  verdicts = jnp.array([[1, 0, 1, 1], [nan, 1, nan, 0], [nan] * 4])
  np.testing.assert_allclose(verifiers.mean_verdicts(verdicts), [0.75, 0.5, 0])


def test_a_score_has_no_nan():
  """Never a verdict: EOS at once. The empty response scores 0 in any case."""
  never = mean_of_four(table_after({ASK: np.eye(V)[EOS]}))
  np.testing.assert_array_equal(never, 0)
  always = mean_of_four(table_after({ASK: np.eye(V)[YES]}))
  np.testing.assert_array_equal(always, [[1, 1, 0]] * 2)


@pytest.mark.slow
def test_a_transformer_is_asked_as_if_all_were_one_sequence():
  """Prompt, response and question joined give the same next-token law."""
  config = models.TransformerConfig(
    vocab_size=V,
    num_layers=1,
    embed_dim=16,
    mlp_dim=16,
    num_heads=2,
    num_kv_heads=1,
    head_dim=8,
  )
  model = models.transformer(config)
  params = model.init(jax.random.key(1))
  question = QUESTION._replace(tokens=(ASK, 1, ASK))
  run = jax.jit(functools.partial(verifiers.yes_score, model), static_argnums=1)
  got = run(params, question, PROMPT, RESPONSES)
  forward = jax.jit(functools.partial(models.forward, model))
  for b, n in np.ndindex(2, 2):
    parts = (
      PROMPT.tokens[b, : PROMPT.lengths[b]],
      RESPONSES.tokens[b, n, : RESPONSES.lengths[b, n]],
      jnp.array(question.tokens),
    )
    joined = jnp.concatenate(parts)
    padded = jnp.pad(joined, (0, 9 - joined.size))
    logits = forward(params, padded[None])[0, joined.size - 1]
    expected = jax.nn.sigmoid(logits[YES] - logits[NO])
    np.testing.assert_allclose(got[b, n], expected, atol=1e-4)
  assert abs(got[0, 0] - got[0, 1]) > 1e-4  # it has read the response
