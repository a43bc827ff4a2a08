"""Calibrated noise: the closed form, exactly and in the generators."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import tasks
from ttc.tasks import permutations


@pytest.mark.parametrize('noise', [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize('num_steps', [1, 2, 3])
def test_closed_form_equals_enumeration_of_all_errors(noise, num_steps):
  """Sums over every pattern of errors in S3, along one word."""
  table = permutations.group_table('s3')
  order = len(table)
  word = [4, 1, 3][:num_steps]
  truth = 0
  for g in word:
    truth = table[truth, g]
  total = 0.0
  for errors in itertools.product(range(order), repeat=num_steps):
    value, weight = 0, 1.0
    for g, error in zip(word, errors, strict=True):
      value = (table[value, g] + error) % order
      weight *= noise / (order - 1) if error else 1 - noise
    total += weight * (value == truth)
  expected = tasks.noisy_chain_accuracy(noise, num_steps, order)
  np.testing.assert_allclose(total, expected, rtol=0, atol=1e-12)


def test_closed_form_at_its_ends():
  assert tasks.noisy_chain_accuracy(0.0, 50, 6) == 1.0
  # Noise (Q - 1) / Q makes each value uniform.
  assert tasks.noisy_chain_accuracy(5 / 6, 1, 6) == pytest.approx(1 / 6)
  # The numbers of the calibrated base: S3, eight steps, noise 0.1.
  assert tasks.noisy_chain_accuracy(0.1, 8, 6) == pytest.approx(0.466, abs=5e-4)


@pytest.mark.parametrize('accuracy', [0.2, 0.5, 0.9, 1.0])
def test_noise_for_accuracy_inverts_the_closed_form(accuracy):
  noise = tasks.noise_for_accuracy(accuracy, 8, 7)
  assert tasks.noisy_chain_accuracy(noise, 8, 7) == pytest.approx(accuracy)


@pytest.mark.parametrize(
  ('task', 'num_steps', 'num_values'),
  [
    (tasks.permutation_word_problem('s3', 8, noise=0.1), 8, 6),
    (tasks.modular_chain(5, 7, stride=2, noise=0.2), 4, 5),
  ],
  ids=lambda x: getattr(x, 'name', str(x)),
)
def test_noisy_traces_are_right_as_often_as_computed(
  task, num_steps, num_values
):
  num_problems = 4096

  @jax.jit
  def draw(keys):
    problems = jax.jit(jax.vmap(task.generate))(keys)
    arguments = (problems, problems.trace, problems.trace_length)
    return (
      problems,
      jax.vmap(task.reward)(*arguments),
      jax.vmap(task.answer)(*arguments),
      jax.vmap(task.consistency_rewards)(*arguments),
    )

  keys = jax.random.split(jax.random.key(0), num_problems)
  problems, reward, answer, consistency = draw(keys)
  noise = 0.1 if num_steps == 8 else 0.2
  accuracy = tasks.noisy_chain_accuracy(noise, num_steps, num_values)
  # Three standard errors of a share.
  band = lambda p, n: 3 * np.sqrt(p * (1 - p) / n)
  error = abs(float(reward.mean()) - accuracy)
  assert error < band(accuracy, num_problems)
  # Each step departs from the one before as often as the noise says.
  departed = 1 - np.asarray(consistency)[:, :num_steps].mean()
  assert abs(departed - noise) < band(noise, num_problems * num_steps)
  # The wrong answers are equally frequent: each offset from the truth.
  offset = (answer - problems.answer) % num_values
  counts = np.bincount(offset, minlength=num_values) / num_problems
  share = (1 - accuracy) / (num_values - 1)
  # 3.5 instead of 3: up to five shares are compared at once.
  assert np.abs(counts[1:] - share).max() < 3.5 / 3 * band(share, num_problems)


def test_noise_changes_the_trace_and_nothing_else():
  clean = tasks.permutation_word_problem('s3', 6)
  noisy = tasks.permutation_word_problem('s3', 6, noise=0.5)
  both = jax.vmap(lambda key: (clean.generate(key), noisy.generate(key)))
  a, b = jax.jit(both)(jax.random.split(jax.random.key(3), 16))
  np.testing.assert_array_equal(a.prompt, b.prompt)
  np.testing.assert_array_equal(a.answer, b.answer)
  assert np.any(a.trace != b.trace)


def test_step_rewards_after_a_slip():
  """Truth 1 2 3 4; written 1 5 6 7: the later steps agree with the slip."""
  task = tasks.modular_chain(11, 4, '+')
  prompt = '0 + 1 + 1 + 1 + 1 ='
  # A problem of our choice, from the data of a generated one.
  problem = jax.jit(task.generate)(jax.random.key(0))
  add_one = (jnp.arange(11) + 1) % 11
  problem = problem._replace(
    prompt=jnp.array(task.from_text(prompt)),
    answer=jnp.int32(4),
    data=problem.data._replace(
      start=jnp.int32(0),
      steps=jnp.broadcast_to(add_one, (4, 11)),
      values=jnp.arange(1, 5),
    ),
  )

  @jax.jit
  def verify(response, length):
    return (
      task.process_rewards(problem, response, length),
      task.consistency_rewards(problem, response, length),
    )

  def marks(text):
    response = task.from_text(text)
    length = len(response)
    response += [task.pad_id] * (5 - length)
    both = verify(jnp.array(response), jnp.int32(length))
    return tuple(x[:length].tolist() for x in both)

  assert marks('1 2 3 4 <eos>') == ([1, 1, 1, 1, 1], [1, 1, 1, 1, 1])
  assert marks('1 5 6 7 <eos>') == ([1, 0, 0, 0, 1], [1, 0, 1, 1, 1])
  # A slip that is undone, a token that is no value, an early end.
  assert marks('1 5 3 4 <eos>') == ([1, 0, 1, 1, 1], [1, 0, 0, 1, 1])
  assert marks('1 + 3 4 <eos>') == ([1, 0, 1, 1, 1], [1, 0, 0, 1, 1])
  assert marks('1 4 <eos>') == ([1, 0, 0], [1, 0, 0])
  # Nothing counts behind an EOS.
  assert marks('1 <eos> 3 4 <eos>') == ([1, 0, 0, 0, 0], [1, 0, 0, 0, 0])
