"""The word problem, against a twin that moves points about."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import tasks
from ttc.tasks import permutations


def _twin(task, problem, stride=1):
  """Reads the prompt as text; applies the permutations one after another."""
  words = task.to_text(problem.prompt[: int(problem.prompt_length)]).split()
  assert words[-1] == '='
  state = sorted(words[0])  # where each point is now
  running = []
  for word in words[:-1]:
    state = [word[int(place)] for place in state]
    running.append(''.join(state))
  written = running[stride - 1 :: stride]
  if len(running) % stride:
    written.append(running[-1])
  return ' '.join([*written, '<eos>'])


@pytest.mark.parametrize(('group', 'order'), [('s3', 6), ('s4', 24)])
def test_table_is_a_group(group, order):
  table = permutations.group_table(group)
  np.testing.assert_array_equal(table[0], np.arange(order))
  np.testing.assert_array_equal(table[:, 0], np.arange(order))
  np.testing.assert_array_equal(np.sort(table, axis=0).T, np.sort(table))
  # (ab)c = a(bc) for all triples.
  np.testing.assert_array_equal(table[table], table[:, table])


def test_products_compose_from_left_to_right():
  rows = permutations.elements('s3')
  table = permutations.group_table('s3')
  for a, b in itertools.product(range(6), repeat=2):
    for x in range(3):
      assert rows[table[a, b]][x] == rows[b][rows[a][x]]
  assert not np.array_equal(table, table.T)


def test_s5_is_not_solvable():
  """The commutators of A5 generate A5: what makes the problem hard."""
  table = permutations.group_table('s5')
  inverse = np.argmin(table, axis=1)  # the identity is 0
  elements = np.arange(120)
  for expected in (60, 60):
    a, b = np.meshgrid(elements, elements)
    commutators = table[table[a, b], table[inverse[a], inverse[b]]]
    elements = _closure(table, np.unique(commutators))
    assert len(elements) == expected


@pytest.mark.parametrize('group', ['s3', 's4', 's5'])
def test_two_generators_suffice(group):
  table = permutations.group_table(group)
  pair = permutations._generators(group)[:2]
  assert len(_closure(table, pair)) == len(table)
  everything = permutations._generators(group)
  np.testing.assert_array_equal(np.sort(everything), np.arange(len(table)))


def _closure(table, elements):
  while True:
    grown = np.unique(
      np.append(elements, table[elements[:, None], elements[None]])
    )
    if len(grown) == len(elements):
      return grown
    elements = grown


@pytest.mark.parametrize(
  ('group', 'length', 'arguments'),
  [
    ('s3', 2, {}),
    ('s5', 7, {'num_generators': 3, 'stride': 3, 'min_length': 2}),
  ],
)
def test_traces_equal_the_twin(group, length, arguments):
  task = tasks.permutation_word_problem(group, length, **arguments)
  keys = jax.random.split(jax.random.key(0), 300)
  problems = jax.tree.map(np.asarray, jax.jit(jax.vmap(task.generate))(keys))
  for i in range(300):
    problem = jax.tree.map(lambda x, i=i: x[i], problems)
    trace = task.to_text(problem.trace[: problem.trace_length])
    assert trace == _twin(task, problem, arguments.get('stride', 1))
  # Every word of S3 of length 2 is drawn (each missed 300 times: 0.02%).
  if (group, length) == ('s3', 2):
    assert len(np.unique(problems.prompt, axis=0)) == 36
  # Lengths and factors stay in their ranges, and fill them.
  num_factors = problems.prompt_length - 1
  assert num_factors.min() == arguments.get('min_length', length)
  assert num_factors.max() == length
  factors = np.unique(problems.prompt[:, : num_factors.min()])
  assert len(factors) == arguments.get('num_generators', len(task.words) - 3)


def test_every_response_to_a_word_of_s3():
  """All 9^3 responses of three tokens to one word of two factors."""
  task = tasks.permutation_word_problem('s3', 2)
  problem = jax.jit(task.generate)(jax.random.key(5))
  responses = np.array(list(itertools.product(range(9), repeat=3)))

  @jax.jit
  @jax.vmap
  def verify(response):
    length = jnp.int32(3)
    return (
      task.answer(problem, response, length),
      task.reward(problem, response, length),
      task.process_rewards(problem, response, length),
      task.consistency_rewards(problem, response, length),
    )

  answers, rewards, process, consistency = verify(jnp.asarray(responses))
  word = (np.asarray(problem.prompt)[:2] - 3).tolist()
  table = permutations.group_table('s3')
  truth = [word[0], table[word[0], word[1]]]
  for i, response in enumerate(responses.tolist()):
    answer, marks, local = -1, [0, 0, 0], [0, 0, 0]
    for t, token in enumerate(response):
      value = token - 3
      before = 0 if t == 0 else response[t - 1] - 3
      if token == 1:
        marks[t] = local[t] = int(t == 2)
        answer = before if t > 0 and before >= 0 else -1
        break
      if t < 2:
        marks[t] = int(value == truth[t])
        local[t] = int(before >= 0 and value == table[before, word[t]])
    assert int(answers[i]) == answer
    assert float(rewards[i]) == float(answer == truth[1])
    assert process[i].tolist() == marks, response
    assert consistency[i].tolist() == local, response


def test_arguments_are_checked():
  with pytest.raises(ValueError, match='num_generators'):
    tasks.permutation_word_problem('s3', 4, num_generators=1)
  with pytest.raises(ValueError, match='min_length'):
    tasks.permutation_word_problem('s3', 4, min_length=5)
