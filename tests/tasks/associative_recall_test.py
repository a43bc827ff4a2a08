import jax
import jax.numpy as jnp
import numpy as np

from ttc import tasks


def draw(task, seed, count):
  keys = jax.random.split(jax.random.key(seed), count)
  return jax.jit(jax.vmap(task.generate))(keys)


def test_the_trace_follows_the_facts_of_the_prompt():
  task = tasks.associative_recall(6, 4, num_fillers=9)
  problems = draw(task, 0, 8)
  for b in range(8):
    words = task.to_text(problems.prompt[b]).split()
    *body, start, equals = words
    assert equals == '=' and len(body) == 15
    facts = dict(word.split('>') for word in body if '>' in word)
    assert len(facts) == 6 and len(set(facts.values())) == 6
    trace = task.to_text(problems.trace[b]).split()
    at = start
    for value in trace[:4]:
      at = facts[at]
      assert value == at
    assert trace[4] == '<eos>'


def test_the_map_is_one_cycle():
  task = tasks.associative_recall(7, 7)
  problems = draw(task, 1, 16)
  visited = np.sort(np.asarray(problems.trace[:, :7]), axis=1)
  np.testing.assert_array_equal(visited, np.tile(3 + np.arange(7), (16, 1)))


def test_noise_has_the_closed_form():
  task = tasks.associative_recall(5, 3, noise=0.2)
  problems = draw(task, 2, 4000)
  rewards = jax.jit(jax.vmap(task.reward))(
    problems, problems.trace, problems.trace_length
  )
  expected = tasks.noisy_chain_accuracy(0.2, 3, 5)
  error = float(jnp.std(rewards)) / 4000**0.5
  assert abs(float(jnp.mean(rewards)) - expected) < 4 * error
