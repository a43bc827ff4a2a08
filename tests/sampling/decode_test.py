"""The sampler against exact enumeration, full forward passes and scheduling."""

import functools
import heapq

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from absl.testing import absltest, parameterized

from ttc import models, sampling
from ttc.types import FinishReason, Prompt

CONFIG = models.TransformerConfig(
  vocab_size=31,
  num_layers=1,
  embed_dim=16,
  mlp_dim=32,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
)
MODEL = models.transformer(CONFIG)
PARAMS = jax.tree.map(lambda x: 2 * x, jax.jit(MODEL.init)(jax.random.key(0)))
PROMPT = Prompt(
  jax.random.randint(jax.random.key(1), (3, 9), 0, 31), jnp.array([9, 4, 7])
)
STATIC = (
  'model',
  'num_samples',
  'capacity',
  'num_rows',
  'policy',
)
forward = jax.jit(models.forward, static_argnums=0)
generate = jax.jit(sampling.generate, static_argnames=STATIC)
STOP = sampling.stop_rules(31, [0, 5])


@functools.partial(jax.jit, static_argnums=(0, 1))
def keys_of(problems, seed=3):
  fold = lambda i: jax.random.fold_in(jax.random.key(seed), i)
  return jax.vmap(fold)(jnp.asarray(problems))


def take(prompt, problems):
  return jax.tree.map(lambda x: np.asarray(x)[np.asarray(problems)], prompt)


def run(problems=(0, 1, 2), num_samples=8, capacity=24, **options):
  options = {'model': MODEL, 'stop': STOP, 'capacity': capacity, **options}
  prompt = take(options.pop('prompt', PROMPT), problems)
  return generate(PARAMS, keys_of(problems), prompt, num_samples, **options)


def assert_same(got, want):
  for name in ('tokens', 'lengths', 'finish_reasons'):
    np.testing.assert_array_equal(getattr(got, name), getattr(want, name), name)
  for name in ('log_probs', 'sampling_log_probs'):
    np.testing.assert_allclose(
      getattr(got, name), getattr(want, name), atol=1e-4, err_msg=name
    )


class InvarianceTest(parameterized.TestCase):
  """Sample i of problem p is the same tokens, however it is decoded."""

  def test_number_of_samples(self):
    few, many = run(num_samples=3), run(num_samples=8)
    assert_same(few, jax.tree.map(lambda x: x[:, :3], many))

  def test_batch_and_order(self):
    whole = run()
    for problems in ((1,), (2, 2, 0)):
      index = list(problems)
      assert_same(run(problems), take(whole, index))

  def test_rows_and_refill(self):
    assert_same(run(num_rows=2), run())

  @pytest.mark.slow
  @parameterized.parameters(1, 3)
  def test_other_numbers_of_rows(self, num_rows):
    assert_same(run(num_rows=num_rows), run())

  def test_padding_of_the_prompt(self):
    padded = PROMPT._replace(tokens=jnp.pad(PROMPT.tokens, ((0, 0), (0, 23))))
    assert_same(run(prompt=padded), run())

  def test_only_what_is_missing(self):
    whole = run()
    ids = jnp.array([[6, 1, 0, 0]] * 3)
    active = jnp.array([[True, True, False, False]] * 3)
    part = run(num_samples=4, sample_ids=ids, active=active, num_rows=1)
    assert_same(
      jax.tree.map(lambda x: x[:, :2], part),
      jax.tree.map(lambda x: x[:, jnp.array([6, 1])], whole),
    )
    np.testing.assert_array_equal(part.lengths[:, 2:], 0)
    np.testing.assert_array_equal(
      part.finish_reasons[:, 2:], FinishReason.CANCELLED
    )

  def test_problems_with_different_keys_differ(self):
    both = run((0, 0, 0))
    other = generate(
      PARAMS,
      keys_of((0, 1, 2)),
      take(PROMPT, (0, 0, 0)),
      8,
      model=MODEL,
      stop=STOP,
      capacity=24,
    )
    np.testing.assert_array_equal(both.tokens[0], both.tokens[1])
    self.assertFalse(np.array_equal(other.tokens[0], other.tokens[1]))

  @pytest.mark.slow
  def test_scanned_layers(self):
    model = models.transformer(
      models.TransformerConfig(**{**vars(CONFIG), 'scan_layers': True})
    )
    layers = jax.tree.map(lambda *x: jnp.stack(x), *PARAMS['layers'])
    scanned = generate(
      {**PARAMS, 'layers': layers},
      keys_of((0, 1, 2)),
      PROMPT,
      8,
      model=model,
      stop=STOP,
      capacity=24,
      num_rows=3,
    )
    assert_same(scanned, run())

  @pytest.mark.slow
  def test_vmap_over_keys_and_temperatures(self):
    def one(temperature):
      return run(
        (1,),
        num_samples=2,
        sampling=sampling.SamplingParams(temperature),
      )

    temperatures = jnp.array([0.3, 1.0])
    mapped = jax.vmap(one)(temperatures)
    for i, temperature in enumerate(temperatures):
      assert_same(jax.tree.map(lambda x, i=i: x[i], mapped), one(temperature))


class LawTest(parameterized.TestCase):
  """Sequence frequencies of an enumerable model."""

  def test_frequencies_are_exact_tempered_top_k_refilled(self):
    self.are_exact({'temperature': 0.6, 'top_k': 2}, 5)

  @pytest.mark.slow
  def test_frequencies_are_exact_plain(self):
    self.are_exact({}, 64)

  def are_exact(self, params, num_rows):
    vocab, eos, length, num = 4, 3, 4, 8_000
    model = models.table_model(vocab)
    table = 1.5 * jax.random.normal(jax.random.key(5), (vocab, vocab))
    output = generate(
      table,
      keys_of(range(num // 1000)),
      Prompt(
        jnp.zeros((num // 1000, 1), jnp.int32), jnp.ones(num // 1000, int)
      ),
      1000,
      model=model,
      capacity=length,
      stop=sampling.stop_rules(vocab, [eos]),
      num_rows=num_rows,
      sampling=sampling.SamplingParams(**params),
    )
    law = table / params.get('temperature', 1.0)
    if 'top_k' in params:
      second = jnp.sort(law, axis=1)[:, -2:-1]
      law = jnp.where(law >= second, law, -jnp.inf)
    exact = models.enumerate_sequences(law, 0, eos, length)
    code = vocab ** np.arange(length)
    index = {int(t @ code): i for i, t in enumerate(exact.tokens)}
    seen = np.asarray(output.tokens).reshape(-1, length) @ code
    counts = np.bincount(
      [index[int(s)] for s in seen], minlength=len(exact.tokens)
    )
    probs = np.exp(np.asarray(exact.log_probs, np.float64))
    possible = probs > 0
    self.assertEqual(counts[~possible].sum(), 0)
    expected = probs[possible] / probs.sum() * seen.size
    rare = expected < 5
    pool = lambda x: np.append(x[~rare], x[rare].sum() + 1e-9)
    p_value = scipy.stats.chisquare(
      pool(counts[possible]), pool(expected), sum_check=False
    ).pvalue
    self.assertGreater(p_value, 1e-4)
    # Both log-probabilities, summed, are those of the enumeration.
    rows = [index[int(s)] for s in seen]
    np.testing.assert_allclose(
      np.asarray(output.sampling_log_probs).sum(-1).ravel(),
      np.asarray(exact.log_probs)[rows],
      atol=1e-5,
    )
    raw = models.enumerate_sequences(table, 0, eos, length)
    raw_index = {int(t @ code): i for i, t in enumerate(raw.tokens)}
    np.testing.assert_allclose(
      np.asarray(output.log_probs).sum(-1).ravel(),
      np.asarray(raw.log_probs)[[raw_index[int(s)] for s in seen]],
      atol=1e-5,
    )


class LoopTest(parameterized.TestCase):
  def test_greedy_is_the_argmax_rollout_of_the_forward_pass(self):
    got = run(sampling=sampling.SamplingParams(0.0))
    for b in range(3):
      tokens = list(np.asarray(PROMPT.tokens[b, : PROMPT.lengths[b]]))
      for t in range(int(got.lengths[b, 0])):
        padded = jnp.array([tokens + [0] * (33 - len(tokens))])
        logits = forward(MODEL, PARAMS, padded)[0, len(tokens) - 1]
        tokens.append(int(jnp.argmax(logits)))
        self.assertEqual(tokens[-1], int(got.tokens[b, 0, t]))
        log_prob = jax.nn.log_softmax(logits)[tokens[-1]]
        self.assertAlmostEqual(
          float(log_prob), float(got.log_probs[b, 0, t]), delta=1e-4
        )

  def test_finished_rows_write_nothing(self):
    got = run()
    behind = np.arange(24) >= np.asarray(got.lengths)[..., None]
    for array in (got.tokens, got.log_probs, got.sampling_log_probs):
      np.testing.assert_array_equal(np.asarray(array)[behind], 0)
    last = np.take_along_axis(
      np.asarray(got.tokens), np.asarray(got.lengths)[..., None] - 1, -1
    )[..., 0]
    stopped = np.asarray(got.finish_reasons) == FinishReason.STOP
    np.testing.assert_array_equal(np.isin(last, [0, 5]), stopped)
    cut = np.asarray(got.finish_reasons) == FinishReason.LENGTH
    np.testing.assert_array_equal(np.asarray(got.lengths)[cut], 24)

  def test_limits_per_response(self):
    limits = np.array([[1, 2, 3, 24, 24, 5, 6, 7]])
    free, limited = run(), run(max_new_tokens=limits, num_rows=2)
    want = np.minimum(free.lengths, limits)
    np.testing.assert_array_equal(limited.lengths, want)

  @pytest.mark.slow
  def test_steps_are_the_longest_response(self):
    state = sampling.prefill(MODEL, PARAMS, PROMPT, 8, 24)
    sample = jax.jit(sampling.sample, static_argnums=0)
    output = sample(MODEL, PARAMS, keys_of(range(3)), state, STOP)
    lengths = output.generation.lengths
    self.assertEqual(int(output.counters.steps), int(lengths.max()))
    self.assertEqual(int(output.counters.tokens), int(lengths.sum()))
    self.assertEqual(
      int(output.counters.row_steps), 24 * (int(lengths.max()) - 1)
    )

  def test_refill_reaches_the_list_scheduling_bound(self):
    self.reaches_the_list_scheduling_bound(8)

  @pytest.mark.slow
  def test_refill_of_many_rows_reaches_it_too(self):
    self.reaches_the_list_scheduling_bound(16)

  def reaches_the_list_scheduling_bound(self, num_rows):
    # Geometric lengths, mean 32, cap 256: a table that stops with chance 1/32.
    num, cap = 64, 256
    table = jnp.log(jnp.array([[31.0, 1.0], [1.0, 1.0]]))
    model = models.table_model(2)
    prompt = Prompt(jnp.zeros((1, 1), jnp.int32), jnp.ones((1,), jnp.int32))
    stop = sampling.stop_rules(2, [1])
    state = sampling.prefill(model, table, prompt, num_rows, cap)
    output = jax.jit(sampling.sample, static_argnums=(0, 5))(
      model, table, keys_of((0,)), state, stop, num
    )
    rows = [0] * num_rows
    for length in np.asarray(output.generation.lengths[0]):
      heapq.heappush(rows, heapq.heappop(rows) + int(length))
    bound = max(rows) * num_rows
    self.assertLessEqual(int(output.counters.row_steps), bound)
    self.assertGreaterEqual(int(output.counters.row_steps), 0.95 * bound)
    naive = num * int(output.generation.lengths.max())
    self.assertLess(int(output.counters.row_steps), 0.4 * naive)

  def test_stop_sequences_need_all_their_tokens_in_the_response(self):
    free = run(stop=sampling.stop_rules(31))
    tokens = np.asarray(free.tokens)
    pair = tokens[0, 0, 3:5].tolist()
    single = [tokens[1, 2, 6].item()]
    stop = sampling.stop_rules(31, sequences=[pair, single])
    stopped = run(stop=stop)
    for b, n in np.ndindex(3, 8):
      ends = [
        t + 1
        for t in range(24)
        if tokens[b, n, t : t + 1].tolist() == single
        or (t > 0 and tokens[b, n, t - 1 : t + 1].tolist() == pair)
      ]
      self.assertEqual(int(stopped.lengths[b, n]), min(ends, default=24))

  def test_minimum_length(self):
    stop = sampling.stop_rules(31, range(0, 31, 2), min_tokens=6)
    got = run(stop=stop)
    self.assertGreaterEqual(int(got.lengths.min()), 7)
    before = np.asarray(got.tokens)[..., :6]
    self.assertTrue(np.all(before % 2 == 1))

  def test_values_do_not_recompile(self):
    traces = 0

    @functools.partial(jax.jit, static_argnames=STATIC)
    def counted(*args, **kwargs):
      nonlocal traces
      traces += 1
      return sampling.generate(*args, **kwargs)

    model = models.table_model(31)
    for value in (0.3, 0.9):
      params = sampling.SamplingParams(value, int(10 * value), value, value / 2)
      counted(
        jnp.zeros((31, 31)),
        keys_of((0, 1, 2)),
        PROMPT,
        num_samples=4,
        model=model,
        capacity=8,
        stop=sampling.stop_rules(31, [int(10 * value)]),
        sampling=jax.tree.map(jnp.asarray, params),
        max_new_tokens=jnp.int32(10 * value),
      )
    self.assertEqual(traces, 1)


class PolicyTest(absltest.TestCase):
  def test_first_finish_cancels_at_the_kth_end(self):
    free = run()
    lengths = np.asarray(free.lengths)
    stopped = np.asarray(free.finish_reasons) == FinishReason.STOP
    got = jax.device_get(run(policy=sampling.first_finish(3)))
    for b in range(3):
      ends = np.sort(lengths[b][stopped[b]])
      at = ends[2] if len(ends) >= 3 else 24
      np.testing.assert_array_equal(got.lengths[b], np.minimum(lengths[b], at))
      cancelled = got.finish_reasons[b] == FinishReason.CANCELLED
      np.testing.assert_array_equal(cancelled, lengths[b] > at)

  def test_token_budget_ends_at_the_first_step_above_it(self):
    got = run(policy=sampling.token_budget(40))
    totals = np.asarray(got.lengths).sum(axis=1)
    free = np.asarray(run().lengths).sum(axis=1)
    for total, unlimited in zip(totals, free, strict=True):
      self.assertLess(total, 48)
      self.assertGreaterEqual(total, min(40, unlimited))

  def test_refill_under_a_policy_starts_no_more(self):
    got = run(num_rows=2, policy=sampling.first_finish(1))
    stopped = np.asarray(got.finish_reasons) == FinishReason.STOP
    self.assertTrue(np.all(stopped.sum(axis=1) <= 2))
    idle = np.asarray(got.lengths) == 0
    np.testing.assert_array_equal(
      np.asarray(got.finish_reasons)[idle], FinishReason.CANCELLED
    )


if __name__ == '__main__':
  absltest.main()
