import os
import subprocess
import sys
import textwrap

import jax
import pytest
from absl.testing import absltest, parameterized
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from ttc import models
from ttc.models.sharding import RULES

P = PartitionSpec
MESH = AbstractMesh((2, 2), ('data', 'model'), axis_types=(AxisType.Auto,) * 2)
TINY = models.TransformerConfig(
  vocab_size=21,
  num_layers=2,
  embed_dim=16,
  mlp_dim=24,
  num_heads=4,
  num_kv_heads=2,
  head_dim=4,
  qkv_bias=True,
  qk_norm=True,
)

PROGRAM = """
  import jax, numpy as np
  from ttc import models

  for kv_heads, scan_layers in ((2, False), (1, True)):
    config = models.TransformerConfig(
      vocab_size=32, num_layers=2, embed_dim=16, mlp_dim=24, num_heads=4,
      num_kv_heads=kv_heads, head_dim=4, qkv_bias=True, qk_norm=True,
      tie_embeddings=False, scan_layers=scan_layers)
    model = models.transformer(config)
    params = jax.jit(model.init)(jax.random.key(0))
    tokens = np.random.default_rng(0).integers(32, size=(4, 9), dtype=np.int32)
    forward = jax.jit(models.forward, static_argnums=0)
    expected = forward(model, params, tokens)
    for shape in ((8, 1), (2, 2), (1, 4)) if not scan_layers else ((2, 2),):
      kind = 'Explicit' if shape == (2, 2) else 'Auto'
      mesh = jax.make_mesh(
        shape, ('data', 'model'),
        axis_types=(jax.sharding.AxisType[kind],) * 2)
      sharded = models.shard(params, mesh)
      query = (sharded['layers'] if scan_layers else sharded['layers'][0])
      query = query['query']['kernel']
      assert len(query.sharding.device_set) == shape[0] * shape[1]
      local = query.addressable_shards[0].data.size
      assert local * shape[1] == query.size, (local, query.size)
      batch = models.shard_batch({'tokens': tokens}, mesh)['tokens']
      got = forward(model, sharded, batch)
      np.testing.assert_allclose(got, expected, atol=1e-5)
    cache = model.make_suffix(4, 2, 8)
    placed = jax.device_put(cache, models.cache_shardings(
      cache, mesh, batch_axis=model.batch_axis))
    print(jax.tree.leaves(placed)[0].sharding.spec)
"""

MIXTURE = """
  import re
  import jax, numpy as np
  from ttc import models
  from ttc.models import expert_products, mixture

  tokens = np.random.default_rng(0).integers(32, size=(4, 9), dtype=np.int32)
  forward = jax.jit(models.forward, static_argnums=0)
  mesh = jax.make_mesh((2, 2, 2), ('data', 'expert', 'model'))
  batch = models.shard_batch(tokens, mesh)

  def make(num_experts, share):
    config = models.TransformerConfig(
      vocab_size=32, num_layers=2, embed_dim=16, mlp_dim=24, num_heads=4,
      num_kv_heads=2, head_dim=4, scan_layers=True,
      experts=models.Experts(num_experts, 2, 10, True, shared_mlp_dim=8))
    model = models.transformer(config)
    params = jax.jit(model.init)(jax.random.key(0))
    sharded = models.shard(params, mesh)
    gate = sharded['layers']['mixture']['gates']
    assert gate.addressable_shards[0].data.shape == share
    return model, sharded, forward(model, params, tokens)

  def check(compiled, sharded, expected):
    np.testing.assert_allclose(compiled(sharded, batch), expected, atol=1e-5)
    # Sums travel, and no matrix of an expert does.
    gathered = re.findall(r'f32(\\S+) all-gather', compiled.as_text())
    assert not any(shape[:3] in ('[6,', '[8,') for shape in gathered), gathered
    # Added up first: of 18 rows on a device, not of all 36 or of choices.
    text = compiled.as_text()
    summed = re.findall(r'f32\\[(\\d+),16\\]\\S* all-reduce', text)
    assert summed and all(int(n) <= 18 for n in summed), summed

  # Eight experts divide by both axes; of six, each is split over `model`.
  whole = make(8, (2, 2, 16, 10))
  check(forward.lower(*whole[:2], batch).compile(), *whole[1:])
  model, sharded, expected = make(6, (2, 3, 16, 5))
  for name in expert_products.IMPLEMENTATIONS:
    mixture.fastest_on_cpu = lambda *_: name
    jax.clear_caches()
    compiled = jax.jit(models.forward, static_argnums=0).lower(
      model, sharded, batch).compile()
    check(compiled, sharded, expected)
  print('all-reduce' in compiled.as_text())
"""


class ShardingTest(parameterized.TestCase):
  @parameterized.parameters(False, True)
  def test_table(self, scan_layers):
    config = models.TransformerConfig(
      **{**vars(TINY), 'scan_layers': scan_layers}
    )
    shapes = jax.eval_shape(models.transformer(config).init, jax.random.key(0))
    shardings = models.param_shardings(shapes, MESH)
    lead = (None,) if scan_layers else ()
    layer = shardings['layers'] if scan_layers else shardings['layers'][0]
    self.assertEqual(layer['query']['kernel'].spec, P(*lead, 'model', None))
    self.assertEqual(layer['key']['bias'].spec, P(*lead, 'model'))
    self.assertEqual(layer['output']['kernel'].spec, P(*lead, None, 'model'))
    self.assertEqual(layer['down']['kernel'].spec, P(*lead, None, 'model'))
    self.assertEqual(layer['query_norm']['scale'].spec, P(*lead, None))
    # 21 tokens are not divisible by two devices.
    self.assertEqual(shardings['embed'].spec, P(None, None))

  def test_an_adapter_beside_a_kernel_is_on_every_device(self):
    shapes = jax.eval_shape(models.transformer(TINY).init, jax.random.key(0))
    layer = shapes['layers'][0]
    scale = jax.ShapeDtypeStruct((), 'float32')
    kernel = layer['query']['kernel']
    part = lambda *shape: jax.ShapeDtypeStruct(shape, 'float32')
    layer['query']['kernel'] = models.LowRankSum(
      kernel, part(kernel.shape[1], 2), part(2, kernel.shape[0]), scale
    )
    found = models.param_shardings(shapes, MESH)['layers'][0]
    self.assertEqual(found['query']['kernel'].scale.spec, P())
    self.assertEqual(found['query']['kernel'].down.spec, P(None, None))
    self.assertEqual(found['key']['kernel'].spec, P('model', None))

  def test_experts_have_an_axis(self):
    experts = models.Experts(6, 2, 8, True)
    config = models.TransformerConfig(**{**vars(TINY), 'experts': experts})
    shapes = jax.eval_shape(models.transformer(config).init, jax.random.key(0))
    mixture = lambda mesh: models.param_shardings(shapes, mesh)['layers'][0][
      'mixture'
    ]
    # A narrow expert stays whole on devices that share a model.
    self.assertEqual(mixture(MESH)['gates'].spec, P('model', None, None))
    axes = ('data', 'expert', 'model')
    mesh = AbstractMesh((2, 3, 2), axes, axis_types=(AxisType.Auto,) * 3)
    both = P(('expert', 'model'), None, None)
    self.assertEqual(mixture(mesh)['gates'].spec, both)
    self.assertEqual(mixture(mesh)['downs'].spec, both)
    self.assertEqual(mixture(mesh)['router']['kernel'].spec, P(None, None))

  def test_rules_decide(self):
    shapes = jax.eval_shape(models.transformer(TINY).init, jax.random.key(0))
    rules = RULES | {'embed': 'data', 'mlp': None}
    layer = models.param_shardings(shapes, MESH, rules)['layers'][0]
    self.assertEqual(layer['query']['kernel'].spec, P('model', 'data'))
    self.assertEqual(layer['up']['kernel'].spec, P(None, 'data'))

  def run_on_eight_devices(self, program):
    eight = '--xla_force_host_platform_device_count=8'
    run = subprocess.run(
      [sys.executable, '-c', textwrap.dedent(program)],
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
    return run.stdout.splitlines()

  @pytest.mark.slow
  def test_experts_on_eight_devices(self):
    self.assertEqual(self.run_on_eight_devices(MIXTURE), ['True'])

  def test_logits_and_caches_on_eight_devices(self):
    # On (1, 4), two heads do not divide by four; on (2, 2) stacked, one head.
    self.assertEqual(
      self.run_on_eight_devices(PROGRAM),
      [
        str(P('data', None, None, None, None)),
        str(P(None, 'data', *[None] * 4)),
      ],
    )


if __name__ == '__main__':
  absltest.main()
