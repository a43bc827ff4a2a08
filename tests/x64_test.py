"""Every verb and one method of each family where integers have 64 bits.

What disagrees about the kind of its numbers says so when it is traced; the slow
test runs all of it too.
"""

import os
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
  import dataclasses, functools, sys
  import jax, jax.numpy as jnp
  from ttc import incontext, models, sampling, search, tasks
  from ttc.testbeds.calibrated import TASK
  from ttc.types import Prompt

  assert jax.config.jax_enable_x64
  traced = lambda function, *args: jax.eval_shape(function, *args)
  run = lambda function, *args: jax.jit(function)(*args)
  run = {'traced': traced, 'run': run}[sys.argv[1]]
  config = models.TransformerConfig(
    vocab_size=16, num_layers=1, embed_dim=8, mlp_dim=16, num_heads=2,
    num_kv_heads=1, head_dim=4)
  keys = jax.random.split(jax.random.key(2), 2)
  prompt = Prompt(
    jnp.ones((2, 4), jnp.int32), jnp.array([4, 2], jnp.int32))
  stop = sampling.stop_rules(16, [0], [[3, 4]])
  sparse = models.SparseAttention(
    block_size=2, budget=8, sink=1, local=1, dense_layers=())
  ones = jnp.ones((2, 2, 2), jnp.int32)
  count = jnp.full((2, 2), 2)

  def every_verb(model, params, keys, prompt, ones, count):
    state = sampling.prefill(model, params, prompt, 2, 8)
    state = sampling.extend(model, params, state, ones, count)
    state = sampling.fork(model, state, jnp.zeros((2, 2), int))
    scores = (
      sampling.score(model, params, state, ones, count),
      sampling.score_stepwise(model, params, state, ones, count))
    law = sampling.SamplingParams(0.7, 5, 0.9, 0.01)
    return scores, (
      sampling.sample(model, params, keys, state, stop, sampling=law),
      sampling.speculative_sample(
        model, model, params, params, keys, state, state, stop, 2))

  for dtype in ('float32', 'bfloat16'):
    model = models.transformer(dataclasses.replace(config, dtype=dtype))
    params = run(model.init, jax.random.key(0))
    run(functools.partial(every_verb, model), params, keys, prompt, ones, count)
  model = models.transformer(config, sparse)
  params = run(model.init, jax.random.key(0))
  run(
    lambda params, keys, prompt: sampling.generate(
      params, keys, prompt, 3, model=model, capacity=6, stop=stop, num_rows=2),
    params, keys, prompt)

  table = models.table_model(16)
  setting = search.Setting(
    model=table, params=table.init(jax.random.key(0)),
    answer_fn=lambda p, r: r.tokens[..., 0],
    score_fn=lambda p, r: (r.tokens[..., 0] / 16).astype(jnp.float32),
    eos_ids=[0], capacity=6, max_steps=3, delimiter_ids=[1, 2],
    thinking=search.Thinking(3, [3], [4]), revise=[5])
  wanted = {'best_of_n', 'self_consistency', 'beam_search', 'mcts', 'revisions',
            'qalign', 'budget_forcing', 'first_finish_search'}
  for method in search.METHODS:
    if method.name in wanted:
      wanted.remove(method.name)
      run(
        lambda keys, prompt: search.solve(method, setting, keys, prompt, 4),
        keys, prompt)
  assert not wanted, wanted

  data = incontext.gaussian_templates(keys[0], 20, num_features=3)
  sequences = incontext.draw_sequences(
    incontext.projected_tasks(data, keys[1], 4), keys[0], 2, 5, num_features=3)
  for memory in (incontext.transformer_memory(3, width=8),
                 incontext.lstm_memory(3, width=4),
                 incontext.fast_weights_memory(3, width=4)):
    params = run(memory.init, keys[0])
    logits = run(
      lambda *args: incontext.predict(memory, *args), params, sequences)
    assert logits.dtype == jnp.float32, logits.dtype

  grammar = tasks.expressions.Grammar(5, 5)
  for task in (TASK, tasks.countdown(3), tasks.modular_chain(11, 5),
               tasks.pointer_chasing(6, 5),
               tasks.expressions.expression_task(grammar, 3)):
    problem = run(task.generate, keys[0])
    kinds = {x.dtype for x in jax.tree.leaves(problem)}
    assert kinds <= {jnp.dtype('int32'), jnp.dtype('bool')}, (task, kinds)
    for read in (task.answer, task.reward, task.process_rewards):
      read = jax.eval_shape(
        read, problem, problem.trace, jnp.int32(problem.trace.size))
      kinds = {x.dtype for x in jax.tree.leaves(read)}
      assert not kinds & {jnp.dtype('int64'), jnp.dtype('float64')}, task
"""


@pytest.mark.parametrize(
  'how', ['traced', pytest.param('run', marks=pytest.mark.slow)]
)
def test_under_x64(how):
  run = subprocess.run(
    [sys.executable, '-c', textwrap.dedent(PROGRAM), how],
    env=os.environ
    | {
      'JAX_ENABLE_X64': '1',
      'JAX_PLATFORMS': 'cpu',
      'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
    },
    capture_output=True,
    text=True,
    check=False,
  )
  assert run.returncode == 0, run.stderr
