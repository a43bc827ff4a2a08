"""Expressions: what they come to, how they are drawn, written, contracted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc.tasks import expressions

GRAMMAR = expressions.Grammar(modulus=5, num_places=6)
TASK = expressions.expression_task(GRAMMAR, 3, 2)
COUNT, NUM_OPS = 2048, 4


@functools.cache
def drawn():
  """Expressions of four definitions, how they read, and problems of a task."""

  @jax.jit
  @jax.vmap
  def draw(key):
    shared, tree = (
      expressions.random_expression(key, GRAMMAR, jnp.int32(NUM_OPS), share)
      for share in (0.5, 0.0)
    )
    tokens = expressions.render(GRAMMAR, shared)
    return (
      shared,
      tree,
      tokens,
      expressions.parse(GRAMMAR, tokens),
      expressions.evaluate(GRAMMAR, shared),
      TASK.generate(key),
    )

  return jax.device_get(draw(jax.random.split(jax.random.key(0), COUNT)))


def value_of(text):
  """What a question comes to, read by Python."""
  words = text.split()
  definitions = {
    words[i]: words[i + 2 : i + 5]
    for i in range(0, len(words) - 2, 5)
    if words[i] != '.'
  }

  def value(word):
    if word not in definitions:
      return int(word)
    x, op, y = definitions[word]
    x, y = value(x), value(y)
    return {'+': x + y, '-': x - y, '*': x * y}[op] % GRAMMAR.modulus

  return value(words[-2])


def needed_by_root(expression, i):
  """Places that the root of expression `i` needs, itself included."""
  n = GRAMMAR.num_places
  found, todo = set(), [int(expression.root[i])]
  while todo:
    place = todo.pop()
    if place < n and place not in found:
      found.add(place)
      todo += expression.operands[i, place].tolist()
  return found


def test_the_value_is_what_the_text_comes_to():
  _, _, tokens, _, values, _ = drawn()
  texts = [TASK.to_text(row) for row in tokens[:300]]
  assert [value_of(text) for text in texts] == values[:300].tolist()
  assert len(set(texts)) == 300


def test_a_known_question():
  text = '. . . . . b = 3 - 4 . . . . . d = b * b . . . . . f = d + b f ='

  @jax.jit
  def run(tokens):
    x = expressions.parse(GRAMMAR, tokens)
    put = lambda x, mask, value: expressions.substitute(
      x, mask, jnp.full(6, value)
    )
    smaller = put(x, jnp.arange(6) == 1, 4)
    value = put(smaller, jnp.arange(6) < 6, 2)
    write = functools.partial(expressions.render, GRAMMAR)
    return (
      expressions.evaluate(GRAMMAR, x),
      expressions.evaluate(GRAMMAR, x, jnp.array([0, 1, 0, 0, 0, 0])),
      expressions.dependencies(x),
      write(smaller),
      jax.vmap(write)(expressions.definitions(smaller)),
      write(value),
      expressions.evaluate(GRAMMAR, value),
    )

  exact, off, needs, smaller, own, written, value = jax.device_get(
    run(jnp.array(TASK.from_text(text)))
  )
  assert exact == (16 + 4) % 5
  assert off == 0  # an error of 1 makes b 0
  assert np.argwhere(needs).tolist() == [[3, 1], [5, 1], [5, 3]]
  dots = lambda count: '. ' * 5 * count
  assert TASK.to_text(smaller) == (
    dots(3) + 'd = 4 * 4 ' + dots(1) + 'f = d + 4 f ='
  )
  assert TASK.to_text(own[3]) == dots(3) + 'd = 4 * 4 ' + dots(2) + 'd ='
  assert TASK.to_text(written) == dots(6) + '2 ='
  assert value == 2


def test_reading_inverts_writing():
  shared, _, _, read, *_ = drawn()
  jax.tree.map(np.testing.assert_array_equal, read, shared)


def test_the_root_needs_every_definition_and_nothing_stands_in_a_circle():
  shared, tree, *_ = drawn()
  for expression in (shared, tree):
    used = expression.ops >= 0
    np.testing.assert_array_equal(used.sum(1), NUM_OPS)
    for i in range(200):
      assert needed_by_root(expression, i) == set(np.flatnonzero(used[i]))
    # Operands that are names stand earlier.
    names = expression.operands < GRAMMAR.num_places
    place = np.arange(GRAMMAR.num_places)[:, None]
    assert np.all(np.where(names, expression.operands, -1) < place)
  names = lambda expression: np.sum(
    expression.operands < GRAMMAR.num_places, axis=(1, 2)
  )
  np.testing.assert_array_equal(names(tree), NUM_OPS - 1)  # each used once
  assert np.any(names(shared) >= NUM_OPS)


def test_places_operations_and_shapes_are_as_likely_as_they_should_be():
  """Within four standard errors."""
  _, tree, *_ = drawn()
  used = tree.ops >= 0

  def near(share, law, count):
    error = np.sqrt(law * (1 - law) / count)
    np.testing.assert_array_less(np.abs(share - law), 4 * error)

  near(used.mean(0), NUM_OPS / GRAMMAR.num_places, COUNT)
  counts = np.bincount(tree.ops[used], minlength=3) / used.sum()
  near(counts, 1 / 3, used.sum())
  # Each of the last definition's sides takes the one before it with half a
  # chance, and the third from the end hangs on either of two with half.
  places = np.sort(np.argsort(~used, axis=1, kind='stable')[:, :NUM_OPS])
  at = lambda j: np.take_along_axis(
    tree.operands, places[:, j, None, None], axis=1
  )[:, 0]
  root = at(NUM_OPS - 1)
  near(np.mean(root[:, 0] == places[:, -2]), 0.5, COUNT)
  on_root = np.any(root == places[:, -3, None], axis=1)
  near(on_root.mean(), 1 / 3, COUNT)  # one free side of three


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda: expressions.Grammar(4, 3), 'modulus=4'),
    (lambda: expressions.Grammar(5, 27), 'num_places=27'),
    (lambda: expressions.Grammar(5, 3, '+/'), "ops='\\+/'"),
    (lambda: expressions.expression_task(GRAMMAR, 7), 'max_ops=7'),
    (lambda: expressions.expression_task(GRAMMAR, 2, 3), 'min_ops=3'),
  ],
)
def test_bad_values_are_named(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_task_answers_at_once():
  """The family of token tasks is tested elsewhere."""
  _, _, _, _, _, problems = drawn()
  for i in range(50):
    text = TASK.to_text(problems.prompt[i])
    assert TASK.to_text(problems.trace[i]) == f'{value_of(text)} <eos>'
    assert len(text.split()) == TASK.prompt_length == problems.prompt_length[i]
  num_ops = np.sum(problems.data.ops >= 0, axis=1)
  assert set(num_ops.tolist()) == {2, 3}
