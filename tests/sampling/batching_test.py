"""Continuous batching: the same samples from any slots, and no step wasted."""

import dataclasses
import heapq

import chex
import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import models, sampling
from ttc.sampling import batching, first_finish
from ttc.types import FinishReason, Prompt

TABLE = models.table_model(7)
TABLE_PARAMS = jax.jit(TABLE.init)(jax.random.key(0))
CONFIG = models.TransformerConfig(
  vocab_size=32,
  num_layers=2,
  embed_dim=16,
  mlp_dim=32,
  num_heads=2,
  num_kv_heads=1,
  head_dim=8,
)


def make_problems(count, vocab_size, longest):
  rng = np.random.default_rng(0)
  return [
    sampling.Request(
      rng.integers(0, vocab_size, rng.integers(1, longest)).tolist(),
      jax.random.fold_in(jax.random.key(5), i),
      [int(x) for x in rng.permutation(9)[: 1 + i % 4]],
    )
    for i in range(count)
  ]


def alone(model, params, problems, **options):
  """Each problem by itself, all rows at once."""

  @jax.jit
  def draw(key, tokens, length, ids):
    return sampling.generate(
      params,
      key[None],
      Prompt(tokens[None], length[None]),
      len(ids),
      model=model,
      sample_ids=ids,
      **options,
    )

  for problem in problems:
    tokens = np.zeros(128, np.int32)
    tokens[: len(problem.tokens)] = problem.tokens
    ids = np.resize(np.array(problem.sample_ids), 4)
    out = draw(problem.key, tokens, np.array(len(problem.tokens)), ids)
    yield jax.tree.map(lambda x: x[0, : len(problem.sample_ids)], out)  # noqa: B023


class DecodeStreamTest(parameterized.TestCase):
  def check(self, model, params, problems, num_slots, num_rows, **options):
    wanted = list(alone(model, params, problems, **options))
    seen = []
    for index, got, _ in sampling.decode_stream(
      params,
      problems,
      model=model,
      num_slots=num_slots,
      num_rows=num_rows,
      **options,
    ):
      seen.append(index)
      want = wanted[index]
      for name in ('tokens', 'lengths', 'finish_reasons'):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
      np.testing.assert_allclose(got.log_probs, want.log_probs, atol=1e-4)
    self.assertEqual(sorted(seen), list(range(len(problems))))
    return seen

  @parameterized.parameters((3, 2), (20, None))
  def test_samples_do_not_depend_on_slots(self, num_slots, num_rows):
    problems = make_problems(13, 7, longest=60)  # two widths
    options = dict(capacity=8, stop=sampling.stop_rules(7, [0]))
    seen = self.check(
      TABLE, TABLE_PARAMS, problems, num_slots, num_rows, **options
    )
    if num_slots == 3:
      self.assertNotEqual(seen, sorted(seen))  # whatever is finished first

  def test_nothing_is_left_of_the_problem_before(self):
    self.check_transformer(models.transformer(CONFIG))

  @pytest.mark.slow
  def test_nor_in_stacked_layers_or_summaries(self):
    stacked = dataclasses.replace(CONFIG, scan_layers=True)
    self.check_transformer(models.transformer(stacked))
    sparse = models.SparseAttention(block_size=4, budget=8, sink=1, local=1)
    self.check_transformer(models.transformer(CONFIG, sparse))

  def check_transformer(self, model):
    params = jax.tree.map(
      lambda x: 2 * x, jax.jit(model.init)(jax.random.key(1))
    )
    problems = [
      problem._replace(sample_ids=[0, 1])
      for problem in make_problems(6, 32, longest=32)
    ]
    stop = sampling.stop_rules(32, [3])
    self.check(model, params, problems, 2, 1, capacity=6, stop=stop)

  def test_limits_policies_and_samples_without_room(self):
    problems = [
      problem._replace(
        sample_ids=[0, 1, 2], max_new_tokens=[i % 3, 5, 1 + 7 * (i % 2)]
      )
      for i, problem in enumerate(make_problems(7, 7, longest=30))
    ]
    stop = sampling.stop_rules(7, [0])
    for index, got, _ in sampling.decode_stream(
      TABLE_PARAMS, problems, model=TABLE, capacity=8, stop=stop, num_slots=2
    ):
      limits = problems[index].max_new_tokens
      np.testing.assert_array_less(got.lengths, np.array(limits) + 1)
      ends = got.finish_reasons == FinishReason.LENGTH
      np.testing.assert_array_equal(got.lengths[ends], np.array(limits)[ends])
    for _, got, _ in sampling.decode_stream(
      TABLE_PARAMS,
      [problem._replace(max_new_tokens=None) for problem in problems],
      model=TABLE,
      capacity=40,
      stop=stop,
      num_slots=2,
      policy=first_finish(1),
    ):
      self.assertIn(FinishReason.STOP, got.finish_reasons)
      self.assertIn(FinishReason.CANCELLED, got.finish_reasons)

  def test_no_stop_sequence_begins_in_the_response_before(self):
    problems = [
      sampling.Request([1], jax.random.key(i), range(12)) for i in range(3)
    ]
    pairs = [[a, b] for a in range(7) for b in range(7)]
    for _, got, _ in sampling.decode_stream(
      TABLE_PARAMS,
      problems,
      model=TABLE,
      capacity=1,
      stop=sampling.stop_rules(7, sequences=pairs),
      num_slots=1,
      num_rows=1,
    ):
      self.assertTrue(np.all(got.finish_reasons == FinishReason.LENGTH))

  def test_steps_are_those_of_list_scheduling(self):
    rng = np.random.default_rng(1)
    lengths = rng.geometric(0.1, size=(40, 3)).clip(1, 64)
    problems = [
      sampling.Request([1], jax.random.key(i), range(3), row)
      for i, row in enumerate(lengths.tolist())
    ]
    *_, last = sampling.decode_stream(
      TABLE_PARAMS,
      problems,
      model=TABLE,
      capacity=64,
      stop=sampling.stop_rules(7),
      num_slots=4,
      num_rows=3,
    )
    ends = [0] * 4
    for length in lengths.max(1):
      heapq.heappush(ends, heapq.heappop(ends) + int(length))
    self.assertEqual(last.row_steps, max(ends) * 4 * 3)
    in_batches = lengths.max(1).reshape(-1, 4).max(1).sum() * 4 * 3
    self.assertLess(last.row_steps, 0.8 * in_batches)

  def test_steps_of_all_widths_are_counted(self):
    problems = [
      sampling.Request([1] * size, jax.random.key(0), [0], [tokens])
      for size, tokens in ((9, 1), (9, 3), (9, 2), (9, 5), (40, 4), (80, 2))
    ]
    stream = sampling.decode_stream(
      TABLE_PARAMS,
      problems,
      model=TABLE,
      capacity=8,
      stop=sampling.stop_rules(7),
      num_slots=1,
    )
    got = [(decoded.problem_index, decoded.row_steps) for decoded in stream]
    self.assertEqual(got, [(0, 1), (1, 4), (2, 6), (3, 11), (4, 15), (5, 17)])

  def test_hundreds_of_prompts_compile_a_handful_of_programs(self):
    rng = np.random.default_rng(0)
    problems = [
      sampling.Request(rng.integers(0, 10, n).tolist(), jax.random.key(0), [0])
      for n in rng.integers(20, 129, 400)
    ]
    traced = []

    def features(params, inputs, num_tokens, cache):
      traced.append(inputs.shape)
      return TABLE.features(params, inputs, num_tokens, cache)

    for _ in sampling.decode_stream(
      TABLE_PARAMS,
      problems,
      model=TABLE._replace(features=features),
      capacity=2,
      stop=sampling.stop_rules(7, [0]),
      num_slots=16,
    ):
      pass
    # A program that fills, one that reads a prompt into a slot and one that
    # runs for each width, of which there are at most 32, 64 and 128.
    self.assertLessEqual(len(traced), 9)

  def test_what_means_nothing_is_refused(self):
    problems = [sampling.Request([1] * 9, jax.random.key(0), [0])]
    draw = lambda problems, **options: next(
      sampling.decode_stream(
        TABLE_PARAMS,
        problems,
        **{
          'model': TABLE._replace(max_length=10),
          'capacity': 2,
          'stop': sampling.stop_rules(7),
          'num_slots': 1,
          **options,
        },
      )
    )
    with self.assertRaisesRegex(ValueError, 'prompt 0 has 9 tokens; 1 to 8'):
      draw(problems)
    with self.assertRaisesRegex(ValueError, 'num_slots=0'):
      draw(problems, num_slots=0)
    limited = [problems[0]._replace(tokens=[1], max_new_tokens=[1, 2])]
    with self.assertRaisesRegex(ValueError, 'problem 0 has 2 .* for 1 samples'):
      draw(limited)

  def test_nothing_is_drawn_of_nothing(self):
    stream = sampling.decode_stream(
      TABLE_PARAMS,
      [],
      model=TABLE,
      capacity=2,
      stop=sampling.stop_rules(7),
      num_slots=1,
    )
    self.assertEqual(list(stream), [])

  def test_problems_of_which_no_sample_is_wanted(self):
    problem = sampling.Request([1, 2], jax.random.key(0), [])
    (got,) = sampling.decode_stream(
      TABLE_PARAMS,
      [problem],
      model=TABLE,
      capacity=2,
      stop=sampling.stop_rules(7),
      num_slots=2,
    )
    self.assertEqual(got.generation.tokens.shape, (0, 2))
    self.assertEqual(got.row_steps, 0)


class PlanStreamsTest(absltest.TestCase):
  def test_few_short_prompts_join_the_wider(self):
    lengths = [10] * 9 + [40] * 3 + [200] * 2
    chex.assert_equal(
      batching.plan_streams(lengths, 2),
      [(32, list(range(9))), (256, list(range(9, 14)))],
    )
    self.assertEqual(batching.plan_streams([], 2), [])


if __name__ == '__main__':
  absltest.main()
