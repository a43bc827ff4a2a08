"""What every token task must satisfy."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import tasks, types

_NUM_PROBLEMS = 32
_SLACK = 3  # tokens behind the longest trace
_TASKS = {
  's3': lambda: tasks.permutation_word_problem('s3', 5),
  's4_stride': lambda: tasks.permutation_word_problem(
    's4', 7, stride=3, min_length=2
  ),
  's5_generators': lambda: tasks.permutation_word_problem(
    's5', 6, num_generators=2
  ),
  'modular': lambda: tasks.modular_chain(11, 5, stride=2, min_length=1),
  'pointers': lambda: tasks.pointer_chasing(6, 5, stride=2),
  'countdown': lambda: tasks.countdown(3),
  'expressions': lambda: tasks.expressions.expression_task(
    tasks.expressions.Grammar(5, 5), 3
  ),
}


class _Drawn(NamedTuple):
  task: tasks.TokenTask
  generate: Callable
  calls: list
  problems: tasks.Problem
  traces: jax.Array
  verify: Callable


@functools.cache
def _drawn(name):
  """Problems, their traces with room behind, and the compiled verifier."""
  task = _TASKS[name]()
  keys = jax.random.split(jax.random.key(0), _NUM_PROBLEMS)
  calls = []

  @jax.jit
  @jax.vmap
  def generate(key):
    calls.append(key)  # one per trace
    return task.generate(key)

  problems = jax.device_get(generate(keys))
  traces = np.pad(problems.trace, ((0, 0), (0, _SLACK)))

  def verify(problem, response, length):
    return tuple(
      fn(problem, response, length)
      for fn in (
        task.answer,
        task.reward,
        task.process_rewards,
        task.consistency_rewards,
      )
    )

  return _Drawn(
    task, generate, calls, problems, traces, jax.jit(jax.vmap(verify))
  )


@pytest.fixture(params=_TASKS, name='drawn')
def _drawn_fixture(request):
  return _drawn(request.param)


def test_shapes_types_and_vocabulary(drawn):
  task, _, _, problems, _, _ = drawn
  chex.assert_shape(problems.prompt, (_NUM_PROBLEMS, task.prompt_length))
  chex.assert_shape(problems.trace, (_NUM_PROBLEMS, task.response_length))
  chex.assert_shape(problems.answer, (_NUM_PROBLEMS,))
  assert len(set(task.words)) == task.vocab_size
  for tokens, lengths in (
    (problems.prompt, problems.prompt_length),
    (problems.trace, problems.trace_length),
  ):
    assert tokens.dtype == lengths.dtype == jnp.int32
    assert int(tokens.min()) >= 0 and int(tokens.max()) < task.vocab_size
    is_padding = np.arange(tokens.shape[1]) >= np.asarray(lengths)[:, None]
    np.testing.assert_array_equal(tokens == task.pad_id, is_padding)
  assert int(problems.prompt_length.max()) <= task.prompt_length
  assert not np.any(problems.prompt == task.eos_id)
  last = problems.trace[np.arange(_NUM_PROBLEMS), problems.trace_length - 1]
  np.testing.assert_array_equal(last, task.eos_id)


def test_trace_earns_everything(drawn):
  _, _, _, problems, traces, verify = drawn
  answer, reward, process, consistency = verify(
    problems, traces, problems.trace_length
  )
  np.testing.assert_array_equal(answer, problems.answer)
  np.testing.assert_array_equal(reward, 1.0)
  is_written = (
    np.arange(traces.shape[1]) < np.asarray(problems.trace_length)[:, None]
  )
  np.testing.assert_array_equal(process, is_written)
  np.testing.assert_array_equal(consistency, is_written)
  assert reward.dtype == process.dtype == consistency.dtype == jnp.float32


def test_wrong_last_value_earns_nothing(drawn):
  _, _, _, problems, traces, verify = drawn
  rows, last = np.arange(_NUM_PROBLEMS), problems.trace_length - 2
  # Values 0 and 1 are tokens 3 and 4 everywhere: this is another value.
  wrong = traces.copy()
  wrong[rows, last] = np.where(traces[rows, last] == 4, 5, 4)
  _, reward, process, consistency = jax.device_get(
    verify(problems, wrong, problems.trace_length)
  )
  np.testing.assert_array_equal(reward, 0.0)
  np.testing.assert_array_equal(process[rows, last], 0.0)
  np.testing.assert_array_equal(consistency[rows, last], 0.0)


def test_truncated_response_has_no_answer(drawn):
  _, _, _, problems, traces, verify = drawn
  for length in (problems.trace_length - 1, problems.trace_length * 0):
    answer, reward, process, consistency = verify(problems, traces, length)
    np.testing.assert_array_equal(answer, -1)
    np.testing.assert_array_equal(reward, 0.0)
    # The steps that were written keep their marks.
    assert np.all(np.asarray(process).sum(1) <= np.asarray(length))
    np.testing.assert_array_equal(process, consistency)


def test_tokens_behind_eos_do_not_matter(drawn):
  task, _, _, problems, traces, verify = drawn
  position = np.arange(traces.shape[1], dtype=np.int32)
  junk = 3 + position % (task.vocab_size - 3)
  behind = position >= problems.trace_length[:, None]
  for length in (problems.trace_length, np.full_like(problems.answer, 99)):
    noisy = verify(problems, np.where(behind, junk, traces), length)
    plain = verify(problems, traces, problems.trace_length)
    chex.assert_trees_all_equal(noisy, plain)


def test_random_tokens_are_graded_0_or_1(drawn):
  """An answer is -1 or an id, whatever the tokens; rewards are 0 or 1."""
  task, _, _, problems, traces, verify = drawn
  rng = np.random.default_rng(1)
  tokens = rng.integers(task.vocab_size, size=traces.shape, dtype=np.int32)
  answer, reward, process, _ = jax.device_get(
    verify(problems, tokens, np.full_like(problems.answer, traces.shape[1]))
  )
  assert np.all((answer >= -1) & (answer < task.vocab_size))
  np.testing.assert_array_equal(reward, answer == problems.answer)
  assert set(np.unique(process)) <= {0.0, 1.0}


def test_text_round_trip(drawn):
  task, _, _, problems, traces, _ = drawn
  for tokens in (problems.prompt[0], traces[0], np.arange(task.vocab_size)):
    text = task.to_text(tokens)
    assert task.from_text(text) == np.asarray(tokens).tolist()
  assert task.to_text(problems.trace[0]).split()[-1] in ('<eos>', '<pad>')
  with pytest.raises(ValueError):
    task.from_text('zebra')


def test_generation_is_a_function_of_the_key_traced_once(drawn):
  generate, problems = drawn.generate, drawn.problems
  again = generate(jax.random.split(jax.random.key(0), _NUM_PROBLEMS))
  other = generate(jax.random.split(jax.random.key(1), _NUM_PROBLEMS))
  assert len(drawn.calls) == 1
  chex.assert_trees_all_equal(again, problems)
  assert np.any(other.prompt != problems.prompt)
  assert len(np.unique(problems.prompt, axis=0)) > _NUM_PROBLEMS // 2


def test_training_sequence_is_prompt_then_trace(drawn):
  _, _, _, problems, _, _ = drawn
  sequences = jax.jit(jax.vmap(tasks.training_sequence))(problems)
  sequences, problems = jax.tree.map(np.asarray, (sequences, problems))
  for i in range(_NUM_PROBLEMS):
    num_prompt = int(problems.prompt_length[i])
    num_trace = int(problems.trace_length[i])
    length = num_prompt + num_trace
    expected = [
      *problems.prompt[i, :num_prompt],
      *problems.trace[i, :num_trace],
    ]
    np.testing.assert_array_equal(sequences.tokens[i, :length], expected)
    np.testing.assert_array_equal(sequences.tokens[i, length:], 0)
    assert int(sequences.length[i]) == length
    assert np.flatnonzero(sequences.is_trace[i]).tolist() == list(
      range(num_prompt, length)
    )


def test_score_and_answer_functions_over_samples():
  """`[B, N]` from the samples of a `Generation`, sample by sample."""
  task, *_ = _drawn('s3')
  problems, traces = jax.tree.map(jnp.asarray, _drawn('s3')[3:5])
  lengths = jnp.stack([problems.trace_length, problems.trace_length - 1], 1)
  tokens = jnp.stack([traces, traces], axis=1)
  zeros = jnp.zeros(tokens.shape)
  samples = types.Generation(
    tokens, lengths, zeros, zeros, jnp.ones_like(lengths)
  )
  prompt = tasks.to_prompt(problems)
  chex.assert_trees_all_equal(
    prompt, types.Prompt(problems.prompt, problems.prompt_length)
  )
  scores = tasks.score_fn(task, problems)(prompt, samples)
  answers = tasks.answer_fn(task, problems)(prompt, samples)
  np.testing.assert_array_equal(scores, [[1.0, 0.0]] * _NUM_PROBLEMS)
  np.testing.assert_array_equal(answers[:, 0], problems.answer)
  np.testing.assert_array_equal(answers[:, 1], -1)
