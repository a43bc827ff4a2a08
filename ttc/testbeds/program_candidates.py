"""List programs with common mistakes, tests that may be wrong, and a reader.

A candidate is the hidden program or one of four mistakes, which the author of
the tests makes too; the reader of programs is swayed by their length.
"""

import functools

import jax
import jax.numpy as jnp

from ttc import search
from ttc.tasks import programs

NUM_CANDIDATES, NUM_MISTAKES = 26, 4
# Tests are few, on lists of one or two digits, and may be wrong. The signal of
# the reader makes both alone about equally good, as in the paper; it was set on
# another seed, without the hybrid.
WORLD = {
  'toxic_rate': 0.3,
  'num_tests': 4,
  'max_length': 2,
  'signal': 1.75,
  'style_bias': 1.0,
  'noise': 1.0,
}
EXACT = {
  'toxic_rate': 0.0,
  'num_tests': 16,
  'max_length': 7,
  'signal': 1.0,
  'style_bias': 0.0,
  'noise': 0.0,
}


@functools.cache
def hidden_programs():
  """Programs of three operations that do what no shorter one does."""
  every = programs.enumerate_programs(3, 3)
  probes = programs.random_lists(jax.random.key(0), 24)
  distinct = programs.distinct_programs(every, probes)
  return jnp.asarray(distinct[distinct[:, -1] > 0])


def candidates(key, hidden, world, max_length):
  """Verdicts on 26 candidates of one problem, and which of them are right.

  A candidate is the hidden program or one of four mistakes, which the author of
  the tests makes too. It is written with up to three pairs of operations that
  undo each other: the style that sways the reader.
  """
  keys = iter(jax.random.split(key, 11))
  program = hidden[jax.random.randint(next(keys), (), 0, hidden.shape[0])]
  mistakes = jax.vmap(programs.mutate, in_axes=(0, None))(
    jax.random.split(next(keys), NUM_MISTAKES), program
  )
  kinds = jnp.concatenate([program[None], mistakes])

  # How often each kind is written; on average a third of them are right.
  right = jax.random.beta(next(keys), 1.0, 2.0)
  shares = jax.random.dirichlet(next(keys), jnp.ones(NUM_MISTAKES))
  law = jnp.log(jnp.append(right, (1 - right) * shares))
  kind = jax.random.categorical(next(keys), law, shape=(NUM_CANDIDATES,))
  pairs = jax.random.randint(next(keys), (NUM_CANDIDATES,), 0, 4)

  held_out = programs.run_each(kinds, programs.random_lists(next(keys), 32))
  truth = jax.tree.map(lambda x: x[0], held_out)
  is_right = jnp.all(programs.same(held_out, truth), axis=1)
  correct = is_right[kind]

  old = programs.random_lists(next(keys), 2, 1, 1)
  old = programs.run_each(kinds, old)
  regression = programs.same(old, jax.tree.map(lambda x: x[0], old))
  # The expected output of a test is that of the program, or of a mistake.
  test_key, author_key = jax.random.split(next(keys))
  tests = programs.random_lists(test_key, 16, 1, max_length)
  outputs = programs.run_each(kinds, tests)
  author = jax.random.categorical(
    author_key,
    jnp.log(jnp.append(1 - world['toxic_rate'], world['toxic_rate'] * shares)),
    shape=(16,),
  )
  expected = jax.tree.map(lambda x: x[author, jnp.arange(16)], outputs)
  passed = programs.same(outputs, expected)
  generated = search.test_votes(passed, jnp.arange(16) < world['num_tests'])

  noise = jax.random.normal(next(keys), (NUM_CANDIDATES,))
  scores = (
    world['signal'] * correct
    + world['style_bias'] * (pairs - 1.5)
    + world['noise'] * noise
  )
  verdicts = search.Verdicts(
    search.test_votes(regression)[kind], generated[kind], scores
  )
  return verdicts, correct
