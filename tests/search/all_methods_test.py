"""What holds of every method that answers problems, on a table model."""

import functools
import importlib.util
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

from ttc import models, sampling, search, strategies, tasks, verifiers

TASK = tasks.permutation_word_problem('s3', 2)
B, N, CAPACITY = 4, 4, 5


@jax.jit
def start():
  keys = jax.random.split(jax.random.key(0), B)
  problems = jax.vmap(TASK.generate)(jax.random.split(jax.random.key(1), B))
  table = jax.random.normal(jax.random.key(2), (TASK.vocab_size,) * 2)
  table = table.at[:, TASK.pad_id].set(-jnp.inf)
  return keys, problems, table, table.at[:, TASK.eos_id].set(-jnp.inf)


KEYS, PROBLEMS, TABLE, NEVER_ENDS = start()
EVERYTHING = (*search.METHODS, *strategies.METHODS)
METHODS = [m for m in EVERYTHING if m.select or m.decode]
# One of each kind; the others are slow. Selections have tests of their own.
QUICK = (
  'best_of_n',
  'beam_search',
  'mcts',
  'qalign',
  'budget_forcing',
  'revisions',
)
CASES = [
  pytest.param(m, id=m.name, marks=[] if m.name in QUICK else pytest.mark.slow)
  for m in METHODS
]


READ = []  # tokens of responses that the model has read, call by call


def counting_model():
  """The table model, with a counter of what it reads of responses."""
  model = models.table_model(TASK.vocab_size)

  def features(params, tokens, num_tokens, cache):
    if cache.prefix is not None:
      io_callback(READ.append, None, jnp.sum(num_tokens))
    return model.features(params, tokens, num_tokens, cache)

  return model._replace(features=features)


MODEL = counting_model()


ATOMS = search.Atoms(  # a word asks for its first factor, once
  decompose=lambda prompt: search.QuestionGraph(
    jnp.broadcast_to(jnp.eye(2, k=-1, dtype=bool), (B, 2, 2)),
    jnp.stack([prompt.tokens[:, 0] != 2, prompt.tokens[:, 0] > 0], axis=1),
  ),
  subquestions=lambda prompt: jax.tree.map(
    lambda x: jnp.repeat(x[:, None], 2, axis=1), prompt
  ),
  contract=lambda prompt, mask, answers: prompt._replace(
    tokens=jnp.where(mask[:, :1] & (jnp.arange(3) == 0), 2, prompt.tokens)
  ),
)


def setting_of(table, problems, answers_exist, temperature):
  def answer_fn(prompt, responses):
    """Careless: reads an answer from what has not ended, too."""
    del prompt
    last = jnp.maximum(responses.lengths - 2, 0)[..., None]
    value = jnp.take_along_axis(responses.tokens, last, axis=-1)[..., 0]
    return jnp.where(answers_exist, value, -1)

  return search.Setting(
    model=MODEL,
    params=table,
    answer_fn=answer_fn,
    score_fn=tasks.score_fn(TASK, problems),
    eos_ids=(TASK.eos_id,),
    capacity=CAPACITY,
    max_steps=CAPACITY,
    max_step_tokens=1,
    sampling=sampling.SamplingParams(temperature),
    thinking=search.Thinking(6, [6], [4], answer_tokens=2),
    revise=(5,),
    question=verifiers.Question([3], 4, 5, [TASK.eos_id]),
    atoms=ATOMS,
  )


@functools.cache
def compiled(method, num_samples):
  """One program for all tests of a method and a number of samples."""

  @jax.jit
  def run(table, keys, problems, answers_exist, temperature):
    setting = setting_of(table, problems, answers_exist, temperature)
    prompt = tasks.to_prompt(problems)
    return search.solve(method, setting, keys, prompt, num_samples)

  return run


@functools.cache
def plain_sample():
  """The answer and the length of the first sample of each problem."""
  setting = setting_of(TABLE, PROBLEMS, True, 1.0)
  prompt = tasks.to_prompt(PROBLEMS)
  plain = jax.jit(setting.sample_fn, static_argnums=3)(TABLE, KEYS, prompt, 1)
  answers = setting.finished_answer_fn(prompt, plain)
  return np.asarray(answers)[:, 0], np.asarray(plain.lengths)[:, 0]


def solve(
  method,
  num_samples=N,
  table=TABLE,
  keys=KEYS,
  problems=PROBLEMS,
  answers_exist=True,
  temperature=1.0,
):
  READ.clear()
  run = compiled(method, num_samples)
  arguments = table, keys, problems, answers_exist, jnp.float32(temperature)
  output = jax.device_get(run(*arguments))
  jax.effects_barrier()
  assert run._cache_size() == 1, 'compiled again although only numbers changed'
  full = lambda x: np.broadcast_to(np.asarray(x), (B,))
  return jax.tree.map(full, output)


@pytest.mark.parametrize('method', CASES)
class TestAllMethods:
  def test_equal_seeds_and_any_batch(self, method):
    """Nothing depends on the place in the batch, or on the others in it."""
    first = solve(method)
    again = solve(method)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    order = np.array([2, 0, 3, 2])
    take = lambda x: x[order]
    moved = solve(
      method, keys=KEYS[order], problems=jax.tree.map(take, PROBLEMS)
    )
    jax.tree.map(
      np.testing.assert_array_equal, moved, jax.tree.map(take, first)
    )
    other = solve(method, keys=jax.random.split(jax.random.key(9), B))
    assert any(np.any(a != b) for a, b in zip(other, first, strict=True))

  def test_one_sample_is_plain_sampling(self, method):
    selection = solve(method, 1)
    answer, length = plain_sample()
    np.testing.assert_array_equal(selection.answer, answer)
    np.testing.assert_array_equal(selection.tokens, length)
    np.testing.assert_array_equal(selection.depth, length)

  def test_costs_agree_with_a_counter_round_the_model(self, method):
    """All tokens are read but the last of each row, which nothing follows."""
    selection = solve(method)
    read = int(np.sum(READ))
    tokens = int(selection.tokens.sum())
    assert tokens - 2 * B * N <= read <= tokens
    assert np.all(selection.tokens >= selection.depth)
    assert np.all(selection.depth >= 1)
    assert np.all(selection.tokens <= 1.5 * N * CAPACITY)
    calls = 'verification' in method.how
    assert np.all((selection.verifier_calls > 0) == calls)

  def test_what_has_not_ended_is_no_answer(self, method):
    selection = solve(method, table=NEVER_ENDS)
    np.testing.assert_array_equal(selection.answer, -1)

  def test_no_valid_answer_is_reported(self, method):
    selection = solve(method, answers_exist=False)
    np.testing.assert_array_equal(selection.answer, -1)

  def test_a_number_does_not_compile_again(self, method):
    cold = solve(method, temperature=0.3)
    assert cold.answer.shape == (B,)


def test_every_method_says_how_it_runs():
  live = {m.name for m in METHODS}
  offline = {m.name for m in EVERYTHING} - live
  unrunnable = offline - {'atts', 'hybrid_selection', 'test_votes'}
  assert not unrunnable, f'{unrunnable} can be run by no one'
  assert len({m.name for m in EVERYTHING}) == len(EVERYTHING)


NEW_METHOD = """
from ttc.search.base import Method, run_all

def last_sample(samples, n):
  return run_all(samples, n, samples.answers[n - 1])

METHOD = Method(
  name='last_sample', title='last sample', file='last_sample.py', paper='none',
  cost='N T', what='parallel', how=('search',), select=last_sample)
"""
RUN_COMPARE = """
import runpy, sys
import last_sample
from ttc import search
search.METHODS += (last_sample.METHOD,)
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.slow
def test_a_new_method_is_ten_lines_and_one(tmp_path):
  """It passes what holds of all methods, and compare.py runs it."""
  path = tmp_path / 'last_sample.py'
  path.write_text(NEW_METHOD)
  spec = importlib.util.spec_from_file_location('last_sample', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  for name, check in vars(TestAllMethods).items():
    if name.startswith('test_'):
      check(TestAllMethods(), module.METHOD)

  scripts = pathlib.Path(__file__).parents[2] / 'scripts'
  options = {
    'worlds': "('table',)",
    'methods': "('last_sample', 'self_consistency')",
    'budgets': '(1, 2, 4)',
    'pool_size': 4,
    'num_seeds': 2,
    'num_problems': 8,
    'num_permutations': 4,
  }
  done = subprocess.run(
    [
      sys.executable,
      '-c',
      f'import sys; sys.argv[:1] = [{str(scripts / "compare.py")!r}]\n'
      + RUN_COMPARE,
      f'--workdir={tmp_path / "run"}',
      *(f'--config.{name}={value}' for name, value in options.items()),
    ],
    env={**os.environ, 'PYTHONPATH': f'{tmp_path}:{scripts}'},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  report = (tmp_path / 'run' / 'compare.md').read_text()
  assert '| last sample |' in report
  outcomes = (tmp_path / 'run' / 'outcomes.jsonl').read_text()
  assert outcomes.count('"last_sample"') == 2 * 3
