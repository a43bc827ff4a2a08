"""ATTS: enumerated laws, plain forward passes, and invariances."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling, search
from ttc.types import FinishReason, Prompt

B, V, EOS = 2, 11, 0
CONFIG = models.TransformerConfig(
  vocab_size=V,
  num_layers=1,
  embed_dim=8,
  mlp_dim=16,
  num_heads=2,
  num_kv_heads=1,
  head_dim=4,
)
MODEL = models.transformer(CONFIG)
DRAFT_PARAMS = jax.jit(MODEL.init)(jax.random.key(0))
TARGET_PARAMS = jax.jit(MODEL.init)(jax.random.key(1))
PROMPT = Prompt(
  jax.random.randint(jax.random.key(2), (B, 4), 1, V), jnp.array([4, 2])
)
KEYS = jax.random.split(jax.random.key(3), B)
K, R, T = 3, 3, 4


def calibrations(perplexities, capacity=16):
  """One for each turn, all of one score."""
  scores = jnp.array(perplexities, jnp.float32)[:, None]
  fn = functools.partial(search.calibrate, capacity=capacity)
  return jax.vmap(fn)(scores)


@functools.partial(jax.jit, static_argnames=('num_chains', 'online'))
def transformers(calibration, tau, max_takeovers, stop, num_chains, online):
  return search.atts(
    (TARGET_PARAMS, DRAFT_PARAMS),
    KEYS,
    PROMPT,
    calibration,
    num_chains,
    R,
    T,
    target=MODEL,
    draft=MODEL,
    stop=stop,
    tau=tau,
    max_takeovers=max_takeovers,
    online=online,
  )


def run(
  tau,
  perplexities=(8.0, 8.0, 8.0),
  *,
  calibration=None,
  max_takeovers=10**6,
  eos=EOS,
  num_chains=K,
  online='none',
):
  """Three turns of two transformers; most tests share one program."""
  if calibration is None:
    calibration = calibrations(perplexities)
  stop = sampling.stop_rules(V, [eos])
  return jax.device_get(
    transformers(calibration, tau, max_takeovers, stop, num_chains, online)
  )


def log_probs_by_forward(params, generation, b, k):
  """Of a response's tokens, by one plain pass over prompt and response."""
  length, start = int(generation.lengths[b, k]), int(PROMPT.lengths[b])
  response = generation.tokens[b, k]
  prompt = np.asarray(PROMPT.tokens[b])[:start]
  whole = np.concatenate([prompt, response, np.zeros(4 - start, np.int32)])
  logits = models.forward(MODEL, params, jnp.asarray(whole)[None])[0]
  log_probs = jax.nn.log_softmax(logits)[np.arange(len(whole) - 1), whole[1:]]
  return np.asarray(log_probs)[start - 1 : start - 1 + length]


@pytest.mark.slow
def test_never_rejecting_is_the_draft_alone():
  out = run(1.5)
  draft_keys = jax.vmap(jax.random.split)(KEYS)[:, 1]
  alone = jax.jit(
    functools.partial(
      sampling.generate,
      num_samples=K,
      model=MODEL,
      capacity=R * T,
      stop=sampling.stop_rules(V, [EOS]),
    )
  )(DRAFT_PARAMS, draft_keys, PROMPT)
  tokens = out.generation.tokens
  np.testing.assert_array_equal(tokens[..., : R * T], alone.tokens)
  np.testing.assert_array_equal(tokens[..., R * T :], 0)
  np.testing.assert_array_equal(out.generation.lengths, alone.lengths)
  np.testing.assert_array_equal(
    out.generation.finish_reasons, alone.finish_reasons
  )
  assert not out.turns.taken_over.any()
  assert out.turns.target_tokens.sum() == 0


@pytest.mark.slow
@pytest.mark.parametrize('tau', [0.0, 0.5])
def test_log_probs_and_scores_are_the_targets(tau):
  """One forward pass over all: no cache has missed or moved a token."""
  out = run(tau)
  turns, generation = out.turns, out.generation
  assert turns.taken_over.any()
  if tau:  # some of each
    assert (turns.tested & ~turns.taken_over).any()
  for b, k in [(0, 0), (1, 2)]:
    want = log_probs_by_forward(TARGET_PARAMS, generation, b, k)
    got = generation.log_probs[b, k]
    np.testing.assert_allclose(got[: len(want)], want, atol=1e-4)
    np.testing.assert_array_equal(got[len(want) :], 0)
    begin = 0
    for r in range(R):
      end = begin + turns.draft_tokens[r, b, k]
      score = np.exp(-want[begin:end].mean()) if end > begin else 1.0
      np.testing.assert_allclose(turns.scores[r, b, k], score, rtol=1e-4)
      begin = end + turns.target_tokens[r, b, k]
    assert begin == generation.lengths[b, k]


@pytest.mark.slow
def test_the_draft_reads_what_the_target_wrote():
  """Its own log-probabilities after a takeover, by one forward pass."""
  out = run(0.0, eos=V - 1)
  generation, turns = out.generation, out.turns
  compared = 0
  for b, k in [(0, 1), (1, 1)]:
    draft = log_probs_by_forward(DRAFT_PARAMS, generation, b, k)
    target = log_probs_by_forward(TARGET_PARAMS, generation, b, k)
    drawn = generation.sampling_log_probs[b, k]
    begin = 0
    for r in range(R):
      middle = begin + turns.draft_tokens[r, b, k]
      end = middle + turns.target_tokens[r, b, k]
      np.testing.assert_allclose(
        drawn[begin:middle], draft[begin:middle], atol=1e-4
      )
      np.testing.assert_allclose(
        drawn[middle:end], target[middle:end], atol=1e-4
      )
      compared += (r > 0) * (middle - begin)
      begin = end
  assert compared > 0


@pytest.mark.slow
def test_a_turn_is_rejected_where_its_score_is_above_its_own_calibration():
  thresholds = np.array([7.0, np.inf, 12.0])
  turns = run(1.0, thresholds).turns
  want = turns.tested & (turns.scores > thresholds[:, None, None])
  np.testing.assert_array_equal(turns.taken_over, want)
  assert turns.taken_over[0].any() and not turns.taken_over[1].any()


@pytest.mark.slow
def test_the_last_calibration_serves_all_later_turns():
  short, long = run(1.0, [7.0, 9.0]), run(1.0, [7.0, 9.0, 9.0])
  jax.tree.map(np.testing.assert_array_equal, short.turns, long.turns)


@pytest.mark.slow
def test_a_problem_may_have_its_own_calibration():
  each = jax.tree.map(
    lambda *x: jnp.stack(x), calibrations([7.0] * 3), calibrations([12.0] * 3)
  )
  own = run(1.0, calibration=each)
  for b, threshold in enumerate((7.0, 12.0)):
    shared = run(1.0, [threshold] * 3)
    np.testing.assert_array_equal(
      own.generation.tokens[b], shared.generation.tokens[b]
    )


@pytest.mark.slow
def test_chains_do_not_see_each_other():
  """No barrier: a chain is the same whatever stands beside it."""
  few, many = run(0.5, num_chains=2), run(0.5, num_chains=K)
  np.testing.assert_array_equal(
    few.generation.tokens, many.generation.tokens[:, :2]
  )
  np.testing.assert_array_equal(few.turns.tested, many.turns.tested[..., :2])


@pytest.mark.slow
def test_ended_chains_write_nothing_more():
  out = run(0.0)
  lengths, turns = out.generation.lengths, out.turns
  written = turns.draft_tokens + turns.target_tokens
  np.testing.assert_array_equal(written.sum(axis=0), lengths)
  stopped = out.generation.finish_reasons == FinishReason.STOP
  assert stopped.any()
  for b, k in np.ndindex(B, K):
    ends = np.flatnonzero(
      out.generation.tokens[b, k, : lengths[b, k]] == EOS
    ).tolist()
    assert ends == ([lengths[b, k] - 1] if stopped[b, k] else [])
  assert not turns.tested[written == 0].any()


@pytest.mark.parametrize(
  'budget', [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 4))]
)
def test_a_budget_takes_over_the_first_that_come(budget):
  """All turns are rejected: by turn, then by chain, until it is spent."""
  turns = run(0.0, max_takeovers=budget).turns
  for b in range(B):
    tested = turns.tested[:, b].ravel()
    want = tested & (np.cumsum(tested) <= budget)
    np.testing.assert_array_equal(turns.taken_over[:, b].ravel(), want)


@pytest.mark.slow
@pytest.mark.parametrize('online', ['none', 'accepted', 'all'])
def test_online_it_appends_what_was_tested(online):
  out = run(0.5, [8.0], online=online)
  for b in range(B):
    tested, taken = out.turns.tested[:, b], out.turns.taken_over[:, b]
    keep = {'none': tested & False, 'accepted': tested & ~taken, 'all': tested}
    want = sorted([8.0, *out.turns.scores[:, b][keep[online]].tolist()])
    got = out.calibration.scores[b, 0]
    np.testing.assert_allclose(got[: len(want)], want, rtol=1e-6)
    assert np.all(np.isinf(got[len(want) :]))


def test_vocabularies_must_agree():
  with pytest.raises(ValueError, match='share a vocabulary'):
    search.atts(
      (DRAFT_PARAMS, TARGET_PARAMS),
      KEYS,
      PROMPT,
      calibrations([1.0]),
      1,
      1,
      1,
      target=MODEL,
      draft=models.table_model(3),
      stop=sampling.stop_rules(V),
    )


# Two tables: responses of one turn can be enumerated.


@functools.partial(jax.jit, static_argnames=('shape', 'on_reject'))
def tables(key, pair, calibration, tau, shape, on_reject='continue'):
  """Responses to the prompt of token 0; `shape` is `(B, K, R, T)`."""
  size, chains, turns, length = shape
  vocab_size = pair[0].shape[0]
  model = models.table_model(vocab_size)
  return search.atts(
    pair,
    jax.random.split(key, size),
    Prompt(jnp.zeros((size, 1), jnp.int32), jnp.ones((size,), jnp.int32)),
    calibration,
    chains,
    turns,
    length,
    target=model,
    draft=model,
    stop=sampling.stop_rules(vocab_size),
    tau=tau,
    on_reject=on_reject,
  )


def many_chains(size, threshold, trials, num_turns, **how):
  """Chains of turns of two tokens, and the laws of target and draft."""
  pair = tuple(jax.random.normal(jax.random.key(5), (2, size, size)))
  shape = trials, 1, num_turns, 2
  calibration = calibrations([threshold])
  out = tables(jax.random.key(6), pair, calibration, 1.0, shape, **how)
  return out, *(np.asarray(jax.nn.softmax(x)) for x in pair)


def test_the_law_of_a_turn():
  """Two drafted tokens, kept or followed by two of the target's: all cases."""
  size, threshold, trials = 3, 2.6, 8_000
  out, p, q = many_chains(size, threshold, trials, 1)
  law, digits = {}, itertools.product(range(size), repeat=4)
  for w, x, y, z in digits:
    drafted = q[0, w] * q[w, x]
    if 1 / np.sqrt(p[0, w] * p[w, x]) > threshold:
      law[(w, x, y, z)] = drafted * p[x, y] * p[y, z]
    else:
      law[(w, x)] = drafted
  assert sum(law.values()) == pytest.approx(1, abs=1e-5)
  assert 0.2 < sum(v for k, v in law.items() if len(k) == 2) < 0.8
  tokens = np.asarray(out.generation.tokens)[:, 0]
  lengths = np.asarray(out.generation.lengths)[:, 0]
  seen = {}
  for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True):
    response = tuple(row[:length])
    seen[response] = seen.get(response, 0) + 1 / trials
  assert set(seen) <= set(law)
  for response, chance in law.items():
    # Four standard errors: some fifty are compared.
    error = 4 * np.sqrt(chance * (1 - chance) / trials) + 1e-4
    assert abs(seen.get(response, 0) - chance) < error, response


def test_the_law_of_two_turns_whose_rejected_are_replaced():
  """Behind `w`: drafted and kept, or, after a rejection, the target's own."""
  size, threshold, trials = 3, 2.6, 8_000
  out, p, q = many_chains(size, threshold, trials, 2, on_reject='replace')
  both = lambda law: law[:, :, None] * law  # of two tokens behind one
  rejected = 1 / np.sqrt(both(p)) > threshold
  chance = (both(q) * rejected).sum(axis=(1, 2), keepdims=True)
  turn = both(q) * ~rejected + chance * both(p)
  law = (turn[0][..., None, None] * turn).ravel()
  assert 0.2 < chance[0] < 0.8
  np.testing.assert_array_equal(out.generation.lengths, 4)
  tokens = np.asarray(out.generation.tokens)[:, 0, :4]
  codes = tokens @ size ** np.arange(3, -1, -1)
  seen = np.bincount(codes, minlength=size**4) / trials
  # Four standard errors: eighty are compared.
  error = 4 * np.sqrt(law * (1 - law) / trials) + 1e-4
  assert np.all(np.abs(seen - law) < error)
  replaced = out.turns.taken_over[..., 0]
  np.testing.assert_array_equal(out.turns.target_tokens[..., 0], 2 * replaced)


@pytest.mark.slow
def test_the_rate_of_rejection_is_the_conformal_one():
  """First turns of 15 chains calibrate the 16th, in each of many problems."""
  n, trials, tau = 15, 1000, 0.6
  pair = tuple(jax.random.normal(jax.random.key(7), (2, 40, 40)))
  keys = jax.random.split(jax.random.key(8))
  first = tables(keys[0], pair, calibrations([1.0]), 2.0, (trials, n, 1, 8))
  own = jax.vmap(search.calibrate)(first.turns.scores[0])
  own = jax.tree.map(lambda x: x[:, None], own)
  out = tables(keys[1], pair, own, tau, (trials, 1, 1, 8))
  rate = float(out.turns.taken_over.mean())
  want = float(search.rank_test_rate(n, tau))
  assert want == pytest.approx(7 / 16)
  # Three standard errors.
  assert abs(rate - want) < 3 * np.sqrt(want * (1 - want) / trials)
