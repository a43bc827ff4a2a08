"""Revisions and post-editing: what an attempt sees, and who is chosen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling, search
from ttc.types import Generation, Prompt, Samples

V, EOS, AGAIN, WELL = 6, 3, 4, 5  # words 0 to 2
CAPACITY, CONTEXT, DEPTH = 4, 2, 5
MODEL = models.transformer(
  models.TransformerConfig(
    vocab_size=V,
    num_layers=1,
    embed_dim=16,
    mlp_dim=16,
    num_heads=2,
    num_kv_heads=1,
    head_dim=8,
    max_length=32,
  )
)
PARAMS = jax.jit(MODEL.init)(jax.random.key(0))
PROMPT = Prompt(jnp.array([[1, 2, 0], [2, 1, 1]]), jnp.array([2, 3]))
STOP = sampling.stop_rules(V, [EOS])
WARM = sampling.SamplingParams(temperature=4.0)


def keys_of(seed, count):
  return jax.random.split(jax.random.key(seed), count)


def quality(prompt, attempts):
  """Attempts that begin with word 1 are good."""
  del prompt
  return (attempts.tokens[..., 0] == 1) * 1.0


FEEDBACK = search.quality_feedback(quality, [[AGAIN], [WELL, AGAIN]], [0.5])


@functools.partial(jax.jit, static_argnums=(1, 2))
def revise(keys, num_chains, depth):
  return search.revisions(
    PARAMS,
    keys,
    PROMPT,
    num_chains,
    depth,
    FEEDBACK,
    model=MODEL,
    capacity=CAPACITY,
    stop=STOP,
    num_context=CONTEXT,
    sampling=WARM,
  )


def test_an_attempt_sees_the_recent_ones_and_their_quality():
  """Log-probabilities are those of the forward pass over that context."""
  chains = 3
  attempts = jax.device_get(revise(keys_of(0, 2), chains, DEPTH))
  prompt = jax.device_get(PROMPT)
  sequences, places = [], []
  for b in range(2):
    for i in range(chains * DEPTH):
      turn, context = i % DEPTH, prompt.tokens[b, : prompt.lengths[b]].tolist()
      for j in range(i - min(turn, CONTEXT), i):
        earlier = attempts.tokens[b, j, : attempts.lengths[b, j]].tolist()
        good = earlier[0] == 1
        context += earlier + ([WELL, AGAIN] if good else [AGAIN])
      own = attempts.tokens[b, i, : attempts.lengths[b, i]].tolist()
      sequences.append(context + own)
      places.append((b, i, len(context), len(own)))
  padded = np.zeros((len(sequences), 32), np.int32)
  for row, sequence in zip(padded, sequences, strict=True):
    row[: len(sequence)] = sequence
  logits = jax.jit(functools.partial(models.forward, MODEL))(PARAMS, padded)
  law = np.asarray(jax.nn.log_softmax(logits))
  for row, (b, i, start, length) in enumerate(places):
    at = np.arange(start, start + length)
    want = law[row, at - 1, padded[row, at]]
    got = attempts.log_probs[b, i]
    np.testing.assert_allclose(got[:length], want, atol=1e-5)
    np.testing.assert_array_equal(got[length:], 0)
  lengths = np.unique(attempts.lengths)
  assert len(lengths) > 2
  # No random number is used twice: the attempts of a chain differ.
  by_chain = attempts.tokens.reshape(2 * chains, DEPTH, -1)
  assert min(len(np.unique(chain, axis=0)) for chain in by_chain) > 2


def test_first_attempts_are_plain_samples_and_later_ones_go_on_from_them():
  keys = keys_of(0, 2)
  attempts = revise(keys, 3, DEPTH)
  draw = lambda keys: sampling.generate(
    PARAMS,
    keys,
    PROMPT,
    3,
    model=MODEL,
    capacity=CAPACITY,
    stop=STOP,
    sampling=WARM,
  )
  plain = jax.jit(draw)(keys)
  first = jax.tree.map(lambda x: x[:, ::DEPTH], attempts)
  np.testing.assert_array_equal(first.tokens, plain.tokens)
  np.testing.assert_array_equal(first.finish_reasons, plain.finish_reasons)


# One word and the end; the word depends on what stands before it.
TABLE = (
  models.table_model(V)
  .init(jax.random.key(1))
  .at[:3, EOS]
  .add(60.0)
  .at[:, jnp.array([AGAIN, WELL])]
  .set(-jnp.inf)
)
METHODS = {m.name: m for m in search.METHODS}


def setting_of(revise=(AGAIN,)):
  return search.Setting(
    model=models.table_model(V),
    params=TABLE,
    answer_fn=lambda prompt, samples: samples.tokens[..., 0],
    score_fn=quality,
    eos_ids=(EOS,),
    capacity=CAPACITY,
    max_steps=CAPACITY,
    revise=revise,
  )


@functools.partial(jax.jit, static_argnums=(1, 2))
def solve(keys, name, n):
  prompt = Prompt(
    jnp.full((len(keys), 1), WELL), jnp.ones((len(keys),), jnp.int32)
  )
  return search.solve(METHODS[name], setting_of(), keys, prompt, n)


@pytest.mark.slow
def test_an_edit_has_the_law_of_its_context():
  """In a table it depends on the feedback alone."""
  trials = 4000
  chosen = solve(keys_of(2, trials), 'post_editing', 2)
  law = np.asarray(jax.nn.softmax(TABLE[AGAIN]))
  share = np.bincount(chosen.answer, minlength=V) / trials
  # Four standard errors.
  error = np.sqrt(np.maximum(law * (1 - law), 1 / trials) / trials)
  np.testing.assert_array_less(np.abs(share - law), 4 * error)
  assert np.abs(law - np.asarray(jax.nn.softmax(TABLE[WELL]))).max() > 0.1
  # The feedback counts, as forced tokens do: `w EOS AGAIN w EOS`.
  np.testing.assert_array_equal(chosen.depth, chosen.tokens)
  starts = [float(jax.nn.softmax(TABLE[row])[EOS]) for row in (WELL, AGAIN)]
  error = np.std(chosen.tokens) / trials**0.5
  assert abs(np.mean(chosen.tokens) - (5 - sum(starts))) < 4 * error


def test_the_loop_stops_at_the_first_accepted():
  """Right with probability `1 - (1 - p)(1 - f)^(N - 1)`, as the closed form."""
  trials, n = 4000, 3
  chosen = solve(keys_of(3, trials), 'verifier_refinement', n)
  p, f = (float(jax.nn.softmax(TABLE[row])[1]) for row in (WELL, AGAIN))
  accepted = 1 - (1 - p) * (1 - f) ** (n - 1)
  error = np.sqrt(accepted * (1 - accepted) / trials)
  assert abs(np.mean(chosen.answer == 1) - accepted) < 4 * error
  calls = 1 + (1 - p) + (1 - p) * (1 - f)
  assert abs(np.mean(chosen.verifier_calls) - calls) < 4 / trials**0.5
  assert 0.05 < p < 0.9 and 0.05 < f < 0.9


def test_policies_that_do_not_revise_are_refused():
  prompt = Prompt(jnp.zeros((1, 1), jnp.int32), jnp.ones((1,), jnp.int32))
  for name in ('revisions', 'post_editing', 'verifier_refinement'):
    assert METHODS[name].needs == 'revise'
    with pytest.raises(ValueError, match='revise is None'):
      search.solve(METHODS[name], setting_of(None), keys_of(0, 1), prompt, 4)


def test_chains_must_fit_the_context():
  with pytest.raises(ValueError, match='exceed the context'):
    search.revisions(
      PARAMS,
      keys_of(0, 2),
      PROMPT,
      1,
      DEPTH,
      FEEDBACK,
      model=MODEL._replace(max_length=18),
      capacity=CAPACITY,
      stop=STOP,
      num_context=CONTEXT,
    )


def test_qualities_need_texts():
  with pytest.raises(ValueError, match='1 thresholds need 2 texts, got 1'):
    search.quality_feedback(quality, [[AGAIN]], [0.5])


class TestChainVote:
  # Two chains of three: the first turns its right answer 7 into a wrong one.
  SAMPLES = Samples(
    answers=jnp.array([7, 7, 8, 9, -1, 8]),
    scores=jnp.array([0.5, 0.4, 0.8, 0.7, 0.9, 0.1]),
    log_probs=jnp.zeros(6),
    lengths=jnp.array([2, 3, 4, 1, 1, 1]),
    finished=jnp.ones(6, bool),
  )

  def choose(self, n=6, **options):
    chosen = search.chain_vote(3, **options)(self.SAMPLES, jnp.int32(n))
    return int(chosen.answer), int(chosen.tokens), int(chosen.depth)

  def test_within_chains_then_across(self):
    """.9 for 7 in the first chain, .7 for 9 in the second."""
    assert self.choose() == (7, 12, 9)

  def test_flat_totals_would_say_otherwise(self):
    samples = self.SAMPLES._replace(
      answers=jnp.array([7, 7, 8, 9, 8, 9]),
      scores=jnp.array([0.5, 0.4, 0.8, 0.3, 0.5, 0.3]),
    )
    flat = search.weighted_best_of_n(samples, jnp.int32(6))
    assert int(flat.answer) == 8  # .8 + .5
    chosen = search.chain_vote(3)(samples, jnp.int32(6))
    assert int(chosen.answer) == 7  # .9 against .6 for 9

  def test_majority_of_all(self):
    assert self.choose(weighted=False)[0] == 7

  def test_the_last_only(self):
    assert self.choose(last_only=True)[0] == 8
    assert self.choose(last_only=True, weighted=False) == (8, 12, 9)

  def test_of_the_first_attempts_only(self):
    assert self.choose(n=4) == (7, 10, 9)
    assert self.choose(n=0) == (-1, 0, 0)

  def test_depth_one_is_the_flat_vote(self):
    rng = np.random.default_rng(0)
    for _ in range(20):
      samples = self.SAMPLES._replace(
        answers=jnp.asarray(rng.integers(-1, 3, 6)),
        scores=jnp.asarray(rng.random(6), jnp.float32),
      )
      flat = search.weighted_best_of_n(samples, jnp.int32(6))
      chains = search.chain_vote(1)(samples, jnp.int32(6))
      assert int(flat.answer) == int(chains.answer)


def test_feedback_is_padded_to_one_width():
  tokens = jnp.array([[[1], [0]]])
  one = jnp.ones((1, 2), jnp.int32)
  zeros = jnp.zeros((1, 2, 1))
  attempts = Generation(tokens, one, zeros, zeros, one)
  written, count = FEEDBACK(PROMPT, attempts)
  assert written.tolist() == [[[WELL, AGAIN], [AGAIN, 0]]]
  assert count.tolist() == [[2, 1]]
  fixed, count = search.fixed_feedback([AGAIN, WELL])(PROMPT, attempts)
  assert fixed.tolist() == [[[AGAIN, WELL]] * 2]
  assert count.tolist() == [[2, 2]]
