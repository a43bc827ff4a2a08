"""The other chains, against twins that read the prompts as text."""

import jax
import numpy as np
import pytest

from ttc import tasks


def _written(running, stride):
  written = running[stride - 1 :: stride]
  return written if len(running) % stride == 0 else [*written, running[-1]]


def _modular_twin(words, modulus, stride):
  value, running = int(words[0]), []
  for op, operand in zip(words[1::2], words[2::2], strict=False):
    value = eval(f'{value} {op} {operand}') % modulus
    running.append(value)
  return _written(running, stride)


def _pointer_twin(words, num_hops, stride):
  *function, node = map(int, words)
  running = []
  for _ in range(num_hops):
    node = function[node]
    running.append(node)
  return _written(running, stride)


def _check(task, twin, num_problems=100):
  """Compares traces and answers with the twin; returns the problems."""
  keys = jax.random.split(jax.random.key(0), num_problems)
  problems = jax.tree.map(np.asarray, jax.jit(jax.vmap(task.generate))(keys))
  for i in range(num_problems):
    prompt = problems.prompt[i, : problems.prompt_length[i]]
    *words, equals = task.to_text(prompt).split()
    assert equals == '='
    trace = problems.trace[i, : problems.trace_length[i]]
    expected = twin(words)
    assert task.to_text(trace) == ' '.join([*map(str, expected), '<eos>'])
    assert problems.answer[i] == expected[-1]
  return problems


def test_modular_chain_equals_the_twin():
  task = tasks.modular_chain(5, 7, '*-+', stride=3, min_length=2)
  problems = _check(task, lambda words: _modular_twin(words, 5, 3))
  # All lengths, numbers and operations occur, and no operand is 0.
  prompts = problems.prompt
  assert set(problems.prompt_length) == {2 * n + 2 for n in range(2, 8)}
  assert set(prompts[:, 0]) == {3, 4, 5, 6, 7}
  assert set(prompts[:, 1:5:2].flat) == {8, 9, 10}
  assert set(prompts[:, 2:5:2].flat) == {4, 5, 6, 7}


def test_pointer_chasing_equals_the_twin():
  task = tasks.pointer_chasing(9, 5, stride=2)
  problems = _check(task, lambda words: _pointer_twin(words, 5, 2))
  assert set(problems.prompt[:, :10].flat) == set(range(3, 12))


def test_cycles_come_home_after_every_node():
  task = tasks.pointer_chasing(7, 7, is_cycle=True)
  problems = _check(task, lambda words: _pointer_twin(words, 7, 1))
  np.testing.assert_array_equal(problems.answer, problems.prompt[:, 7] - 3)
  nodes = np.sort(problems.trace[:, :7], axis=1)
  np.testing.assert_array_equal(nodes, np.tile(np.arange(3, 10), (100, 1)))


@pytest.mark.parametrize(
  'make',
  [
    lambda: tasks.modular_chain(9, 4),
    lambda: tasks.modular_chain(7, 4, '+/'),
    lambda: tasks.modular_chain(7, 4, '++'),
    lambda: tasks.modular_chain(7, 4, min_length=0),
  ],
)
def test_arguments_are_checked(make):
  with pytest.raises(ValueError):
    make()
