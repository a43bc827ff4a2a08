"""The same samples on one device and on eight."""

import os
import subprocess
import sys
import textwrap

import pytest
from absl.testing import absltest

SETUP = """
  import functools
  import jax, jax.numpy as jnp, numpy as np
  from ttc import models, sampling
  from ttc.types import Prompt

  assert jax.device_count() == 8
  config = models.TransformerConfig(
    vocab_size=32, num_layers=2, embed_dim=32, mlp_dim=64, num_heads=8,
    num_kv_heads=4, head_dim=8)
  model = models.transformer(config)
  params = jax.tree.map(
    lambda x: 2 * x, jax.jit(model.init)(jax.random.key(0)))
  prompt = Prompt(
    jax.random.randint(jax.random.key(1), (8, 9), 0, 32),
    jnp.array([9, 4, 7, 1, 9, 3, 5, 8]))
  keys = jax.random.split(jax.random.key(2), 8)
  stop = sampling.stop_rules(32, [0, 5])
  generate = jax.jit(functools.partial(
    sampling.generate, num_samples=6, num_rows=4, model=model, capacity=16,
    stop=stop))
  mesh_of = lambda *shape, kind='Auto': jax.make_mesh(
    shape, ('data', 'model'), axis_types=(jax.sharding.AxisType[kind],) * 2)

  mesh = mesh_of(8, 1)
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
"""

PROGRAM = """
  one = generate(params, keys, prompt)
  eight = generate(
    jax.device_put(params, everywhere),
    *models.shard_batch((keys, prompt), mesh))
  assert len(eight.tokens.sharding.device_set) == 8
  assert eight.tokens.sharding.spec[0] == 'data', eight.tokens.sharding
  for name in ('tokens', 'lengths', 'finish_reasons'):
    np.testing.assert_array_equal(getattr(eight, name), getattr(one, name))
  for name in ('log_probs', 'sampling_log_probs'):
    np.testing.assert_allclose(
      getattr(eight, name), getattr(one, name), atol=2e-4)
  assert len(np.unique(one.lengths)) > 3, one.lengths

  explicit = mesh_of(2, 4, kind='Explicit')
  spread = generate(
    models.shard(params, explicit),
    *models.shard_batch((keys, prompt), explicit))
  np.testing.assert_array_equal(spread.tokens, one.tokens)
"""

MORE = """
  one = generate(params, keys, prompt)
  explicit = mesh_of(2, 4, kind='Explicit')
  with jax.set_mesh(explicit):
    spread = generate(
      models.shard(params, explicit),
      *models.shard_batch((keys, prompt), explicit))
  np.testing.assert_array_equal(spread.tokens, one.tokens)

  sparse = models.transformer(
    config, models.SparseAttention(block_size=4, budget=8, sink=1, local=1))
  generate = jax.jit(functools.partial(
    sampling.generate, num_samples=6, num_rows=4, model=sparse, capacity=16,
    stop=stop))
  one = generate(params, keys, prompt)
  eight = generate(
    jax.device_put(params, everywhere),
    *models.shard_batch((keys, prompt), mesh))
  np.testing.assert_array_equal(one.tokens, eight.tokens)

  def next_logits(params, prompt, tokens):
    state = sampling.prefill(model, params, prompt, 3, 8)
    state = sampling.extend(model, params, state, tokens, jnp.full((8, 3), 4))
    return state.prefix_logits, sampling.score(
      model, params, state, tokens, jnp.full((8, 3), 4))

  tokens = jax.random.randint(jax.random.key(3), (8, 3, 4), 0, 32)
  next_logits = jax.jit(next_logits)
  expected = next_logits(params, prompt, tokens)
  for shape in ((1, 8), (2, 4)):
    mesh = mesh_of(*shape)
    got = next_logits(
      models.shard(params, mesh),
      *models.shard_batch((prompt, tokens), mesh))
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-4), got, expected)
"""

# Each device has a slot.
STREAM = """
  rng = np.random.default_rng(0)
  problems = [
    sampling.Request(
      rng.integers(0, 32, rng.integers(1, 32)).tolist(), jax.random.key(i),
      range(3))
    for i in range(12)]
  stream = lambda params, place: {
    decoded.problem_index: decoded.generation.tokens
    for decoded in sampling.decode_stream(
      params, problems, model=model, capacity=8, stop=stop, num_slots=8,
      num_rows=2, place=place)}
  expected = stream(params, lambda x: x)
  got = stream(
    jax.device_put(params, everywhere), lambda x: models.shard_batch(x, mesh))
  assert len(got) == 12
  jax.tree.map(np.testing.assert_array_equal, got, expected)
"""


class DevicesTest(absltest.TestCase):
  def test_one_and_eight_devices(self):
    self.run_on_eight(PROGRAM)

  @pytest.mark.slow
  def test_on_an_entered_mesh_of_few_keys_and_verb_by_verb(self):
    self.run_on_eight(MORE)

  @pytest.mark.slow
  def test_slots_of_problems_on_eight_devices(self):
    self.run_on_eight(STREAM)

  def run_on_eight(self, program):
    eight = '--xla_force_host_platform_device_count=8'
    run = subprocess.run(
      [sys.executable, '-c', textwrap.dedent(SETUP + program)],
      env=os.environ
      | {
        'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} {eight}',
        'JAX_PLATFORMS': 'cpu',
        'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
      },
      capture_output=True,
      text=True,
      check=False,
    )
    self.assertEqual(run.returncode, 0, run.stderr)


if __name__ == '__main__':
  absltest.main()
