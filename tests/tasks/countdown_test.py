"""Countdown, against a twin that plays with a list of numbers."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import tasks


def _result(a, op, b, max_value):
  if op == '/':
    value = a // b if b and a % b == 0 else 0
  else:
    value = {'+': a + b, '-': a - b, '*': a * b}[op]
  return value if 1 <= value <= max_value else None


def _twin(numbers, words, max_value):
  """Returns the value a response ends with, -1 if it breaks a rule."""
  numbers = list(numbers)
  if '<eos>' not in words:
    return -1
  words = words[: words.index('<eos>')]
  if len(words) != 5 * (len(numbers) - 1):
    return -1
  for i in range(0, len(words), 5):
    a, op, b, equals, c = words[i : i + 5]
    if not (a.isdigit() and b.isdigit() and c.isdigit()):
      return -1
    if op not in tuple('+-*/') or equals != '=':
      return -1
    for number in (int(a), int(b)):
      if number not in numbers:
        return -1
      numbers.remove(number)
    if _result(int(a), op, int(b), max_value) != int(c):
      return -1
    numbers.append(int(c))
  return numbers[0]


def _verify(task):
  def verify(problem, response, length):
    return (
      task.answer(problem, response, length),
      task.reward(problem, response, length),
      task.process_rewards(problem, response, length),
      task.consistency_rewards(problem, response, length),
    )

  return verify


def test_every_equation_of_two_numbers():
  """All `a op b = c` over the vocabulary, for four problems."""
  task = tasks.countdown(2, 4, 8)
  keys = jax.random.split(jax.random.key(0), 4)
  problems = jax.jit(jax.vmap(task.generate))(keys)
  value, op = list(range(3, 12)), list(range(12, 16))
  responses = np.array(
    [
      (a, o, b, 2, c, 1)
      for a, o, b, c in itertools.product(value, op, value, value)
    ]
  )
  over = jax.vmap(_verify(task), in_axes=(None, 0, None))
  answers, rewards, _, _ = jax.jit(jax.vmap(over, in_axes=(0, None, None)))(
    problems, jnp.asarray(responses), jnp.int32(6)
  )
  answers, rewards = np.asarray(answers), np.asarray(rewards)
  for i in range(4):
    numbers = np.asarray(problems.data)[i].tolist()
    target = int(problems.answer[i])
    for j, response in enumerate(responses):
      expected = _twin(numbers, task.to_text(response).split(), 8)
      assert answers[i, j] == expected
      assert rewards[i, j] == (expected == target)
  # Sums and products in either order: more ways than one.
  assert np.all((rewards == 1).sum(axis=1) >= 1)
  assert np.any((rewards == 1).sum(axis=1) >= 2)


def _check_rules(task, problems):
  """The prompts say what the data hold; everything that may occur does."""
  prompt = np.asarray(problems.prompt) - 3
  np.testing.assert_array_equal(prompt[:, :4], problems.data)
  np.testing.assert_array_equal(prompt[:, 5], problems.answer)
  assert set(prompt[:, :4].flat) == set(range(1, 11))
  assert prompt[:, 5].min() >= 1 and prompt[:, 5].max() <= 50
  ops = np.asarray(problems.trace)[:, 1:15:5]
  assert {task.words[op] for op in ops.flat} == set('+-*/')


def test_mutated_traces_equal_the_twin():
  task = tasks.countdown(4, 10, 50)
  num = 400
  key = jax.random.key(0)
  problem_key, where_key, what_key, count_key = jax.random.split(key, 4)
  problems = jax.jit(jax.vmap(task.generate))(
    jax.random.split(problem_key, num)
  )
  # Up to two tokens replaced by any other.
  where = jax.random.randint(where_key, (num, 2), 0, task.response_length)
  what = jax.random.randint(what_key, (num, 2), 0, task.vocab_size)
  use = jax.random.bernoulli(count_key, 0.5, (num, 2))
  rows = jnp.arange(num)
  responses = problems.trace
  for i in range(2):
    new = jnp.where(use[:, i], what[:, i], responses[rows, where[:, i]])
    responses = responses.at[rows, where[:, i]].set(new)
  answers, rewards, process, consistency = jax.jit(jax.vmap(_verify(task)))(
    problems, responses, problems.trace_length
  )
  answers, rewards, responses, numbers, targets = map(
    np.asarray, (answers, rewards, responses, problems.data, problems.answer)
  )
  kept = 0
  for i in range(num):
    words = task.to_text(responses[i]).split()
    expected = _twin(numbers[i].tolist(), words, 50)
    assert answers[i] == expected
    assert rewards[i] == float(expected == targets[i])
    kept += rewards[i]
  assert 0 < kept < num
  _check_rules(task, problems)
  # What is right given the truth is consistent with what was written.
  assert np.all(np.asarray(process) <= np.asarray(consistency))
  # A right answer and right steps are the same thing.
  np.testing.assert_array_equal(np.asarray(process).min(axis=1), rewards)


@pytest.mark.parametrize(
  ('response', 'answer', 'process', 'consistency'),
  [
    # Two right ways, one wrong value, one number used twice.
    ('7 * 3 = 21 21 + 2 = 23 <eos>', 23, '11', '11'),
    ('3 * 7 = 21 2 + 21 = 23 <eos>', 23, '11', '11'),
    ('7 + 3 = 10 10 * 2 = 20 <eos>', 20, '11', '11'),
    ('7 * 3 = 22 22 + 1 = 23 <eos>', -1, '00', '00'),
    ('7 * 3 = 22 22 + 2 = 24 <eos>', -1, '00', '01'),
    ('7 * 7 = 49 49 + 2 = 51 <eos>', -1, '00', '01'),
    ('2 - 3 = 1 7 * 1 = 7 <eos>', -1, '00', '01'),
    ('7 * 3 = 21 <eos>', -1, '10', '10'),
    ('7 * 3 = 21 21 + 2 = <eos>', -1, '10', '10'),
  ],
)
def test_marks_of_equations(response, answer, process, consistency):
  task, verify = _two_three_seven()
  tokens = task.from_text(response)
  length = len(tokens)
  tokens += [task.pad_id] * (11 - length)
  got = jax.tree.map(np.asarray, verify(jnp.array(tokens), jnp.int32(length)))
  assert got[0] == answer
  assert got[1] == float(answer == 23)
  assert got[2][length - 1] == got[1]  # on EOS

  def marks(rewards):
    steps = [rewards[0:5].tolist(), rewards[5:10].tolist()]
    return ''.join('1' if step == [1] * 5 else '0' for step in steps)

  assert marks(got[2]) == process
  assert marks(got[3]) == consistency


def test_equation_that_breaks_off_earns_nothing():
  task, verify = _two_three_seven()
  tokens = jnp.array(task.from_text('7 * 3 = 21 21 + 2 = 23 <eos>'))
  for length in range(12):
    _, _, process, consistency = verify(tokens, jnp.int32(length))
    # Whole equations count five each; EOS counts one.
    expected = {10: 10, 11: 11}.get(length, 5 * (length >= 5))
    assert process.sum() == consistency.sum() == expected


@functools.cache
def _two_three_seven():
  task = tasks.countdown(3, 10, 60)
  problem = jax.jit(task.generate)(jax.random.key(0))
  problem = problem._replace(
    prompt=jnp.array(task.from_text('2 3 7 = 23')),
    answer=jnp.int32(23),
    data=jnp.array([2, 3, 7]),
  )
  verify = _verify(task)
  return task, jax.jit(lambda *response: verify(problem, *response))


def test_arguments_are_checked():
  with pytest.raises(ValueError):
    tasks.countdown(1)
  with pytest.raises(ValueError):
    tasks.countdown(3, 10, 9)
