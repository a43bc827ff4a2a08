"""Rows without room, logits without mass, values that mean nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling
from ttc.types import FinishReason, Prompt

V, CAPACITY = 6, 4
MODEL = models.table_model(V)
TABLE = jax.random.normal(jax.random.key(0), (V, V))
KEYS = jax.random.split(jax.random.key(1), 2)
PROMPT = Prompt(jnp.array([[1], [2]]), jnp.ones(2, jnp.int32))
NO_STOP = sampling.stop_rules(V)


def decode(table, state, speculative, stop=NO_STOP, **options):
  """By `sample`, or by speculation with another table as the draft."""
  if not speculative:
    return sampling.sample(
      MODEL, table, KEYS, state, stop, **options
    ).generation
  return sampling.speculative_sample(
    MODEL, MODEL, table, TABLE.T, KEYS, state, state, stop, 2, **options
  ).generation


def state_of(lengths, table=TABLE):
  """Rows that hold so many tokens already."""
  lengths = jnp.asarray(lengths)
  tokens = jnp.ones((*lengths.shape, CAPACITY), jnp.int32)
  empty = sampling.prefill(MODEL, table, PROMPT, lengths.shape[1], CAPACITY)
  return sampling.extend(MODEL, table, empty, tokens, lengths)


@pytest.mark.parametrize('speculative', [False, True])
class TestLimits:
  def test_a_full_row_draws_nothing(self, speculative):
    state = state_of([[4, 3], [0, 4]])
    out = decode(TABLE, state, speculative)
    np.testing.assert_array_equal(out.lengths, [[0, 1], [4, 0]])
    np.testing.assert_array_equal(out.finish_reasons, FinishReason.LENGTH)
    np.testing.assert_array_equal(out.tokens[0, 0], 0)

  def test_a_full_row_does_not_stop_at_a_token_it_has_no_room_for(
    self, speculative
  ):
    every_token_stops = sampling.stop_rules(V, range(V))
    out = decode(TABLE, state_of([[4, 3]] * 2), speculative, every_token_stops)
    np.testing.assert_array_equal(out.finish_reasons, [[2, 1]] * 2)
    np.testing.assert_array_equal(out.lengths, [[0, 1]] * 2)

  def test_no_new_tokens(self, speculative):
    limits = jnp.array([[0, 2], [1, 0]])
    state = state_of([[1, 1], [0, 0]])
    out = decode(TABLE, state, speculative, max_new_tokens=limits)
    np.testing.assert_array_equal(out.lengths, limits)
    np.testing.assert_array_equal(out.finish_reasons, FinishReason.LENGTH)

  def test_the_context_of_the_model_ends_a_response(self, speculative):
    short = models.table_model(V, max_length=3)
    prompt = Prompt(jnp.ones((2, 3), jnp.int32), jnp.array([3, 1]))
    state = sampling.prefill(short, TABLE, prompt, 1, CAPACITY)
    if speculative:
      out = sampling.speculative_sample(
        short, MODEL, TABLE, TABLE.T, KEYS, state, state, NO_STOP, 2
      )
    else:
      out = sampling.sample(short, TABLE, KEYS, state, NO_STOP)
    np.testing.assert_array_equal(out.generation.lengths, [[0], [2]])
    np.testing.assert_array_equal(
      out.generation.finish_reasons, FinishReason.LENGTH
    )

  @pytest.mark.parametrize('temperature', [0.0, 1.0])
  @pytest.mark.parametrize('bad', [np.nan, -np.inf, np.inf])
  def test_logits_without_mass_end_the_response(
    self, speculative, bad, temperature
  ):
    """Token 3 leads to bad logits: nothing is written behind the first 3."""
    table = TABLE.at[3].set(bad)
    out = decode(
      table,
      state_of([[0, 1]] * 2, table),
      speculative,
      sampling=sampling.SamplingParams(temperature),
    )
    limits = [CAPACITY, CAPACITY - 1]
    for tokens, length, reason, limit in zip(
      out.tokens.reshape(4, -1),
      out.lengths.ravel(),
      out.finish_reasons.ravel(),
      limits * 2,
      strict=True,
    ):
      written = tokens[:length].tolist()
      assert all(0 <= token < V for token in written)
      if length < limit:
        assert reason == FinishReason.INVALID and written[-1] == 3
      else:
        assert reason == FinishReason.LENGTH and 3 not in written[:-1]
    assert np.all(np.isfinite(out.sampling_log_probs))
    assert np.any(out.finish_reasons == FinishReason.INVALID) or not temperature

  def test_a_row_that_is_masked_whole_is_invalid(self, speculative):
    only_stops = sampling.stop_rules(V, range(V), min_tokens=2)
    out = decode(TABLE, state_of([[0, 1]] * 2), speculative, only_stops)
    np.testing.assert_array_equal(out.finish_reasons, FinishReason.INVALID)
    np.testing.assert_array_equal(out.lengths, 0)


def test_an_invalid_response_frees_its_row():
  """Refill goes on: the bad table ends every response at once."""
  run = functools.partial(
    sampling.generate, model=MODEL, capacity=CAPACITY, stop=NO_STOP, num_rows=1
  )
  out = run(jnp.full_like(TABLE, jnp.nan), KEYS, PROMPT, 3)
  np.testing.assert_array_equal(out.finish_reasons, FinishReason.INVALID)
  limits = jnp.array([[0, 2, 0], [1, 0, 3]])
  out = run(TABLE, KEYS, PROMPT, 3, max_new_tokens=limits)
  np.testing.assert_array_equal(out.lengths, limits)
  assert FinishReason.NAMES[FinishReason.INVALID] == 'invalid'


class TestBadInput:
  run = functools.partial(
    sampling.generate, model=MODEL, capacity=CAPACITY, stop=NO_STOP
  )

  @pytest.mark.parametrize(
    'values, message',
    [
      ({'temperature': -1.0}, 'temperature=-1.0 must be >= 0'),
      ({'top_p': 1.5}, r'top_p=1.5 must be in \(0, 1\]'),
      ({'min_p': 2.0}, r'min_p=2.0 must be in \[0, 1\)'),
      ({'min_p': 0.1, 'preset': 'tunix'}, 'min_p=0.1 must be 0 with preset'),
    ],
  )
  def test_a_law_that_means_nothing(self, values, message):
    law = sampling.SamplingParams(**values)
    with pytest.raises(ValueError, match=message):
      self.run(TABLE, KEYS, PROMPT, 1, sampling=law)
    with pytest.raises(ValueError, match=message):
      jax.jit(lambda table: self.run(table, KEYS, PROMPT, 1, sampling=law))(
        TABLE
      )

  def test_tunix_has_no_law_with_min_p(self):
    """Where the value is traced it cannot be refused before."""
    run = jax.jit(self.run, static_argnums=3)
    law = lambda min_p: sampling.SamplingParams(min_p=min_p, preset='tunix')
    out = run(TABLE, KEYS, PROMPT, 1, sampling=law(0.1))
    np.testing.assert_array_equal(out.finish_reasons, FinishReason.INVALID)
    out = run(TABLE, KEYS, PROMPT, 1, sampling=law(0.0))
    np.testing.assert_array_equal(out.lengths, CAPACITY)

  def test_prompt_ids_outside_the_vocabulary(self):
    for bad in (V, -1):
      prompt = PROMPT._replace(tokens=jnp.array([[1], [bad]]))
      with pytest.raises(
        ValueError, match=rf'prompt ids \[{bad}\] are outside'
      ):
        self.run(TABLE, KEYS, prompt, 1)
      out = jax.jit(self.run, static_argnums=3)(TABLE, KEYS, prompt, 1)
      np.testing.assert_array_equal(out.finish_reasons, [[2], [4]])
    padded = Prompt(jnp.array([[1, -1], [2, V]]), PROMPT.lengths)
    self.run(TABLE, KEYS, padded, 1)  # padding is not read
    with pytest.raises(ValueError, match=r'prompt lengths \[2, 1\] must be'):
      self.run(TABLE, KEYS, PROMPT._replace(lengths=jnp.array([2, 1])), 1)


@pytest.mark.parametrize('speculative', [False, True])
def test_a_second_call_compiles_nothing(speculative):
  """Nor is one made for other values, with no `jit` around the calls."""

  def call(seed):
    keys = jax.random.split(jax.random.key(seed), 2)
    options = {'capacity': CAPACITY, 'stop': NO_STOP}
    if not speculative:
      return sampling.generate(TABLE, keys, PROMPT, 2, model=MODEL, **options)
    return sampling.speculative_generate(
      (TABLE, TABLE.T),
      keys,
      PROMPT,
      2,
      target=MODEL,
      draft=MODEL,
      num_drafted=2,
      **options,
    )

  assert count_compilations(lambda: call(0)) < 30  # warm or not
  assert count_compilations(lambda: call(1)) == 0


def count_compilations(fn):
  """How often XLA compiles while `fn` runs."""
  events = []
  listen = lambda event, *_, **__: events.append(event)
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    jax.block_until_ready(fn())
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  return sum('backend_compile' in event for event in events)
