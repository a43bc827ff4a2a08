"""Methods on eight devices under `jax.make_mesh`'s default, Explicit axes."""

import os
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
  import contextlib
  import jax, jax.numpy as jnp, numpy as np
  from ttc import models, search
  from ttc.types import Prompt

  config = models.TransformerConfig(
    vocab_size=16, num_layers=1, embed_dim=32, mlp_dim=32, num_heads=4,
    num_kv_heads=4, head_dim=8, max_length=32)
  model = models.transformer(config)
  params = model.init(jax.random.key(0))
  prompt = Prompt(1 + jnp.arange(8).reshape(4, 2), jnp.full((4,), 2))
  keys = jax.random.split(jax.random.key(1), 4)
  mesh = jax.make_mesh((2, 4), ('data', 'model'))
  assert jax.sharding.AxisType.Explicit in mesh.axis_types

  def run_with(method):
    @jax.jit
    def run(params, keys, prompt):
      setting = search.Setting(
        model, params, lambda prompt, g: g.tokens[..., 0],
        lambda prompt, g: jnp.exp(g.log_probs.sum(-1)), eos_ids=(0,),
        capacity=4, max_steps=4, max_step_tokens=1)
      return search.solve(method, setting, keys, prompt, 4).answer
    return run

  names = {
    'best_of_n', 'self_consistency', 'beam_search', 'dvts',
    'lookahead_search', 'mcts', 'qalign'}
  for method in search.METHODS:
    if method.name not in names:
      continue
    names.remove(method.name)
    one = np.asarray(run_with(method)(params, keys, prompt))
    placed = models.shard(params, mesh), *models.shard_batch(
      (keys, prompt), mesh)
    for enter in (contextlib.nullcontext, lambda: jax.set_mesh(mesh)):
      with enter():
        many = run_with(method)(*placed)
      np.testing.assert_array_equal(np.asarray(many), one, method.name)
  assert not names, names
"""


@pytest.mark.slow
def test_answers_are_those_of_one_device():
  done = subprocess.run(
    [sys.executable, '-c', textwrap.dedent(PROGRAM)],
    env={
      **os.environ,
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': '--xla_force_host_platform_device_count=8',
      'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
    },
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr[-2000:]
