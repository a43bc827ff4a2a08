"""Weights that are spread as they are read are those that are spread after."""

import textwrap

import jax

from ttc.models import weights

PROGRAM = """
  import dataclasses, pathlib, sys, tempfile
  import jax, numpy as np
  from ttc import models

  dense = models.TransformerConfig(
    vocab_size=32, num_layers=3, embed_dim=16, mlp_dim=24, num_heads=4,
    num_kv_heads=2, head_dim=4, qk_norm=True, tie_embeddings=False)
  mixed = dataclasses.replace(
    dense, experts=models.Experts(4, 2, 8, normalise=True))
  mesh = jax.make_mesh(
    (2, 2), ('data', 'model'), axis_types=(jax.sharding.AxisType.Auto,) * 2)
  for config in (dense, mixed):
    params = jax.jit(models.transformer(config).init)(jax.random.key(0))
    with tempfile.TemporaryDirectory() as path:
      models.save_safetensors(path, config, params)
      for scan_layers in (False, True):
        for how in (None, 'int8') if config is dense else (None,):
          settings = dict(scan_layers=scan_layers, quantization=how)
          wanted = models.load(path, **settings).params
          wanted = models.shard(wanted, mesh)
          got = models.load(path, **settings, mesh=mesh).params
          def same(a, b):
            assert a.sharding.is_equivalent_to(b.sharding, a.ndim)
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
          jax.tree.map(same, got, wanted)
      drawn = models.load(f'random:{path}', mesh=mesh).params
      jax.tree.map(same, drawn, models.shard(params, mesh))
  print('equal')
"""


def test_spread_while_read(on_four_devices):
  assert on_four_devices(textwrap.dedent(PROGRAM)) == 'equal'


def test_where_accelerators_are_alone_tensors_go_by_one(monkeypatch):
  mesh = jax.make_mesh((1,), ('model',))

  def no_cpu(**_):
    raise RuntimeError("Unknown backend: 'cpu'")  # JAX_PLATFORMS=tpu

  monkeypatch.setattr(jax, 'local_devices', no_cpu)
  with weights._on_host(mesh):
    placed = weights._spread(mesh, 'norm.scale', jax.numpy.ones(3))
  assert placed.sharding.device_set == set(mesh.devices.flat)
  assert placed.tolist() == [1, 1, 1]
