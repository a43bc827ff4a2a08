"""Speculative sampling against exact laws, `sample`, and renewal theory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from ttc import models, sampling
from ttc.types import FinishReason, Prompt

B, N, CAPACITY = 2, 3, 16
CONFIG = models.TransformerConfig(
  vocab_size=23,
  num_layers=2,
  embed_dim=16,
  mlp_dim=32,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
)
TARGET = models.transformer(CONFIG)
DRAFT = models.transformer(
  models.TransformerConfig(**{**vars(CONFIG), 'num_layers': 1})
)
PARAMS = jax.jit(TARGET.init)(jax.random.key(0))
# The first layer of the target: right more often than not.
DRAFT_PARAMS = {**PARAMS, 'layers': PARAMS['layers'][:1]}
PROMPT = Prompt(
  jax.random.randint(jax.random.key(1), (B, 6), 0, 23), jnp.array([6, 3])
)
KEYS = jax.random.split(jax.random.key(2), B)
STOP = sampling.stop_rules(23, [0], [[7, 8], [4]])

sample = jax.jit(sampling.sample, static_argnums=0)
prefill = jax.jit(sampling.prefill, static_argnums=(0, 3, 4))
score = jax.jit(sampling.score, static_argnums=0)
extend = jax.jit(sampling.extend, static_argnums=0)
speculate = jax.jit(sampling.speculative_sample, static_argnums=(0, 1, 8))


def states(draft=DRAFT, draft_params=DRAFT_PARAMS):
  return (
    prefill(TARGET, PARAMS, PROMPT, N, CAPACITY),
    prefill(draft, draft_params, PROMPT, N, CAPACITY),
  )


def options_of(
  limits=CAPACITY,
  active=True,
  ids=(0, 1, 2),
  temperature=1.0,
  top_p=1.0,
):
  """As arrays of one shape and type, so that one program serves all tests."""
  spread = lambda x, dtype: jnp.broadcast_to(jnp.asarray(x, dtype), (B, N))
  return {
    'max_new_tokens': spread(limits, jnp.int32),
    'active': spread(active, bool),
    'sample_ids': spread(ids, jnp.int32),
    'sampling': sampling.SamplingParams(
      spread(temperature, jnp.float32),
      spread(0, jnp.int32),
      spread(top_p, jnp.float32),
      spread(0, jnp.float32),
    ),
  }


def run(
  num_drafted, both=None, stop=STOP, draft=(DRAFT, DRAFT_PARAMS), **options
):
  both = states(*draft) if both is None else both
  models_and_params = TARGET, draft[0], PARAMS, draft[1]
  return speculate(
    *models_and_params, KEYS, *both, stop, num_drafted, **options_of(**options)
  )


def run_alone(stop=STOP, **options):
  """What the target writes without a draft."""
  state, _ = states()
  options = options_of(**options)
  return sample(TARGET, PARAMS, KEYS, state, stop, **options).generation


def assert_same(got, want):
  for name in ('tokens', 'lengths', 'finish_reasons'):
    np.testing.assert_array_equal(getattr(got, name), getattr(want, name), name)
  for name in ('log_probs', 'sampling_log_probs'):
    np.testing.assert_allclose(
      getattr(got, name), getattr(want, name), atol=1e-4, err_msg=name
    )


def table_of(probs):
  return jnp.log(jnp.asarray(probs, jnp.float32))


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def speculate_tables(tables, key, sampling_params, shape, num_drafted, eos):
  """Rows of two tables from token 0: `shape` is `(B, N, capacity)`."""
  B, N, capacity = shape
  model = models.table_model(tables[0].shape[0])
  prompt = Prompt(jnp.zeros((B, 1), jnp.int32), jnp.ones((B,), jnp.int32))
  both = [sampling.prefill(model, t, prompt, N, capacity) for t in tables]
  return sampling.speculative_sample(
    model,
    model,
    *tables,
    jax.random.split(key, B),
    *both,
    sampling.stop_rules(model.vocab_size, eos),
    num_drafted,
    sampling=sampling_params,
  )


LAW_OPTIONS = {
  'plain': {},
  'tempered': {'temperature': 0.6},
  'top_k': {'top_k': 2},
}


class TestLaw:
  @pytest.mark.parametrize(
    'num_drafted, num_problems',
    [
      (2, 3),
      pytest.param(1, 60, marks=pytest.mark.slow),
      pytest.param(3, 60, marks=pytest.mark.slow),
    ],
  )
  @pytest.mark.parametrize('options', LAW_OPTIONS.values(), ids=LAW_OPTIONS)
  def test_sequences_have_the_law_of_the_target(
    self, options, num_drafted, num_problems
  ):
    """All responses of a table of 4 tokens; 1000 of each problem."""
    vocab, eos, length, shape = 4, 3, 4, (num_problems, 1000, 4)
    keys = jax.random.split(jax.random.key(5))
    target, draft = (1.5 * jax.random.normal(k, (vocab, vocab)) for k in keys)
    params = sampling.SamplingParams(**{**{'top_k': 0}, **options})
    out = speculate_tables(
      (target, draft), jax.random.key(6), params, shape, num_drafted, (eos,)
    )
    law = target / options.get('temperature', 1.0)
    if 'top_k' in options:
      second = jnp.sort(law, axis=1)[:, -2:-1]
      law = jnp.where(law >= second, law, -jnp.inf)
    exact = models.enumerate_sequences(law, 0, eos, length)
    digits = vocab ** np.arange(length)
    places = np.full(vocab**length, -1)
    places[exact.tokens @ digits] = np.arange(len(exact.tokens))
    rows = places[
      np.asarray(out.generation.tokens).reshape(-1, length) @ digits
    ]
    counts = np.bincount(rows, minlength=len(exact.tokens))
    probs = np.exp(np.asarray(exact.log_probs, np.float64))
    assert counts[probs == 0].sum() == 0
    expected = probs / probs.sum() * counts.sum()
    rare = expected < 5  # pooled, as the chi-square test wants
    pool = lambda x: np.append(x[~rare], x[rare].sum() + 1e-9)
    test = scipy.stats.chisquare(pool(counts), pool(expected), sum_check=False)
    assert test.pvalue > 1e-4
    np.testing.assert_allclose(
      np.asarray(out.generation.sampling_log_probs).sum(-1).ravel(),
      np.asarray(exact.log_probs)[rows],
      atol=1e-4,
    )
    # It did speculate, and the draft is another model.
    share = out.counters.accepted.sum() / out.counters.tokens.sum()
    assert 0.3 < share < 0.95

  def test_one_token_is_accepted_as_often_as_the_laws_overlap(self):
    p, q = np.array([[0.5, 0.3, 0.2, 0.0], [0.1, 0.2, 0.3, 0.4]])
    num = 20_000
    laws = table_of(p), table_of(q)

    @jax.jit
    @jax.vmap
    def one(key):
      draft_key, accept_key, redraw_key = jax.random.split(key, 3)
      token, _ = sampling.draw(draft_key, laws[1])
      accepted = sampling.accept(accept_key, token, *laws[::-1])
      other = sampling.redraw(redraw_key, *laws[::-1])
      return jnp.where(accepted, token, other), accepted

    tokens, accepted = one(jax.random.split(jax.random.key(0), num))
    overlap = np.minimum(p, q).sum()  # .5
    assert abs(accepted.mean() - overlap) < 4 * 0.5 / num**0.5
    counts = np.bincount(tokens, minlength=4)
    assert counts[3] == 0
    assert scipy.stats.chisquare(counts[:3], num * p[:3]).pvalue > 1e-4
    # And what is accepted has the law min(p, q), normalised.
    kept = np.bincount(tokens[accepted], minlength=4)[:3]
    want = np.minimum(p, q)[:3] / overlap * kept.sum()
    assert scipy.stats.chisquare(kept, want).pvalue > 1e-4


class TestCost:
  P, Q = np.array([[0.6, 0.3, 0.1], [0.35, 0.35, 0.3]])
  ALPHA = np.minimum(P, Q).sum()

  def laws_of_a_round(self, num_drafted):
    """Probability that a round yields 1, .., g + 1 tokens."""
    reach = self.ALPHA ** np.arange(num_drafted + 1)
    return reach - np.append(reach[1:], 0)

  def expected_calls(self, num_drafted, length):
    """Of a response of `length` tokens: rounds are renewals."""
    law = self.laws_of_a_round(num_drafted)
    calls = np.zeros(length + 1)
    for left in range(1, length + 1):
      rest = calls[np.maximum(left - 1 - np.arange(len(law)), 0)]
      calls[left] = 1 + law @ rest
    return calls[length]

  @pytest.mark.slow
  @pytest.mark.parametrize(
    'num_drafted', [3, pytest.param(1, marks=pytest.mark.slow)]
  )
  def test_tokens_per_target_call(self, num_drafted):
    B, N, T = shape = (4, 100, 40)
    tables = [table_of(np.tile(law, (3, 1))) for law in (self.P, self.Q)]
    out = speculate_tables(
      tables,
      jax.random.key(1),
      sampling.SamplingParams(),
      shape,
      num_drafted,
      (),
    ).counters
    np.testing.assert_array_equal(out.tokens, T)
    # The rate of acceptance, over B N T independent tokens.
    rate = out.accepted.sum() / out.tokens.sum()
    error = (self.ALPHA * (1 - self.ALPHA) / (B * N * T)) ** 0.5
    assert abs(rate - self.ALPHA) < 4 * error
    calls = np.asarray(out.target_calls)
    want = self.expected_calls(num_drafted, T)
    assert abs(calls.mean() - want) < 4 * calls.std() / calls.size**0.5
    np.testing.assert_array_equal(out.drafted, calls * (num_drafted + 1))
    assert out.rounds == calls.max()
    # In long responses that is the formula of the papers.
    formula = (1 - self.ALPHA ** (num_drafted + 1)) / (1 - self.ALPHA)
    long = 10_000
    per_call = long / self.expected_calls(num_drafted, long)
    assert per_call == pytest.approx(formula, rel=1e-3)


class TestTransformers:
  @pytest.mark.slow
  def test_greedy_is_the_targets_greedy(self):
    out = run(2, temperature=0.0)
    assert_same(out.generation, run_alone(temperature=0.0))
    calls = out.counters.target_calls
    assert calls.sum() < out.counters.tokens.sum()
    assert jnp.any(out.counters.accepted < out.counters.tokens)

  @pytest.mark.slow
  def test_a_draft_that_is_the_target_is_always_right(self):
    """All is accepted, and responses are those of `sample`."""
    out = run(3, draft=(TARGET, PARAMS))
    assert_same(out.generation, run_alone())
    np.testing.assert_array_equal(out.counters.accepted, out.counters.tokens)
    np.testing.assert_array_equal(
      out.counters.target_calls, -(-out.generation.lengths // 4)
    )

  def test_stops_and_limits_are_those_of_sample(self):
    """With the target as its own draft, so that all tokens are the same."""
    options = {
      'stop': sampling.stop_rules(23, range(4), [[9], [5, 6]], min_tokens=4),
      'limits': [3, 9, 30],
      'active': [True, False, True],
      'ids': [5, 1, 9],
      'temperature': 1.3,
      'top_p': 0.9,
    }
    out = run(3, draft=(TARGET, PARAMS), **options)
    assert_same(out.generation, run_alone(**options))

  @pytest.mark.parametrize(
    'num_drafted',
    [5, *(pytest.param(g, marks=pytest.mark.slow) for g in (0, 1))],
  )
  def test_responses_do_not_depend_on_the_drafted_tokens(self, num_drafted):
    got, want = run(num_drafted), run(2)
    assert_same(got.generation, want.generation)
    np.testing.assert_array_equal(got.counters.accepted, want.counters.accepted)
    assert (num_drafted < 2) == (got.counters.rounds > want.counters.rounds)
    ended = set(np.asarray(got.generation.finish_reasons).ravel().tolist())
    assert ended == {FinishReason.STOP, FinishReason.LENGTH}

  def test_an_interrupted_response_goes_on(self):
    """At different places in different rows."""
    whole = run(2).generation
    limits = [[1, 4, 5], [2, 6, 3]]  # rows are at different places
    first = run(2, limits=limits)
    going = first.generation.finish_reasons == FinishReason.LENGTH
    both = first.target_state, first.draft_state
    second = run(2, both, active=going)
    np.testing.assert_array_equal(second.target_state.lengths, whole.lengths)
    inside = np.arange(CAPACITY) < np.asarray(whole.lengths)[..., None]
    for state in (second.target_state, second.draft_state):
      np.testing.assert_array_equal(
        np.where(inside, state.tokens, 0), whole.tokens
      )
    np.testing.assert_allclose(
      first.generation.log_probs.sum(-1) + second.generation.log_probs.sum(-1),
      whole.log_probs.sum(-1),
      atol=1e-4,
    )

  @pytest.mark.slow
  def test_rows_that_begin_at_different_lengths(self):
    """One is empty. The log-probabilities are those of the forward pass."""
    tokens = jax.random.randint(jax.random.key(9), (B, N, 6), 0, 23)
    given = jnp.array([[0, 6, 1], [3, 2, 0]])
    target, draft = states()
    both = (
      extend(TARGET, PARAMS, target, tokens, given),
      extend(DRAFT, DRAFT_PARAMS, draft, tokens, given),
    )
    out = run(2, both)
    written = out.generation
    want = score(TARGET, PARAMS, both[0], written.tokens, written.lengths)
    np.testing.assert_allclose(written.log_probs, want, atol=1e-4)
    np.testing.assert_allclose(
      written.sampling_log_probs, want, atol=1e-4
    )  # nothing is filtered here
    np.testing.assert_array_equal(
      out.target_state.lengths, given + written.lengths
    )
    # Of the row that began empty nothing was said of the others.
    np.testing.assert_array_equal(
      written.tokens[0, 0], run(2).generation.tokens[0, 0]
    )

  @pytest.mark.slow
  def test_a_pair_of_models_is_a_sample_fn(self):
    sample_fn = functools.partial(
      sampling.speculative_generate,
      target=TARGET,
      draft=DRAFT,
      capacity=CAPACITY,
      stop=STOP,
      num_drafted=2,
    )
    got = jax.jit(sample_fn, static_argnums=3)(
      (PARAMS, DRAFT_PARAMS), KEYS, PROMPT, N
    )
    assert_same(got, run(2).generation)

  def test_vocabularies_must_agree(self):
    other = DRAFT._replace(vocab_size=24)
    with pytest.raises(ValueError, match='share a vocabulary'):
      sampling.speculative_sample(
        TARGET, other, PARAMS, DRAFT_PARAMS, KEYS, *states(), STOP, 2
      )
    short = prefill(DRAFT, DRAFT_PARAMS, PROMPT, N, CAPACITY - 1)
    with pytest.raises(ValueError, match='same shape'):
      run(2, (states()[0], short))
