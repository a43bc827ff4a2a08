"""A checkpoint of some devices is read on others, one subprocess each."""

import os
import subprocess
import sys

import pytest

WORK = """
import sys
import jax, numpy as np
from ttc import io, models

mode, path = sys.argv[1:]
count = len(jax.devices())
mesh = jax.make_mesh(
  (1, count), ('data', 'model'), axis_types=(jax.sharding.AxisType.Auto,) * 2
)
config = models.TransformerConfig(
  vocab_size=24, num_layers=2, embed_dim=8, mlp_dim=12, num_heads=4,
  num_kv_heads=4, head_dim=4
)
model = models.transformer(config)
expected = jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(0)))
state = {'params': expected, 'key': jax.random.key(5)}

def same(got):
  jax.tree.map(np.testing.assert_array_equal, got, expected)

if mode == 'save':
  params = models.shard(expected, mesh)
  models.save_checkpoint(path + '/sharded', config, params)
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  params = jax.device_put(expected, everywhere)
  models.save_checkpoint(path + '/replicated', config, params)
  manager = io.open_checkpoints(path + '/state')
  io.save_checkpoint(manager, 1, jax.device_put(state, everywhere))
  manager.close()
else:
  for name in ('sharded', 'replicated'):
    got = models.load_checkpoint(f'{path}/{name}')[1]
    same(got)
    assert got['embed'].devices() == {jax.devices()[0]}
    got = models.load_checkpoint(f'{path}/{name}', mesh=mesh)[1]
    same(got)
    assert got['embed'].devices() == set(jax.devices())
    shape = got['embed'].sharding.shard_shape(got['embed'].shape)
    assert shape == (24 // count, 8), shape
  manager = io.open_checkpoints(path + '/state')
  abstract = jax.eval_shape(lambda: jax.tree.map(jax.numpy.asarray, state))
  got = io.restore_checkpoint(manager, abstract)
  same(got['params'])
  assert jax.random.key_data(got['key']).tolist() == [0, 5]
  spread = models.param_shardings(abstract['params'], mesh)
  abstract['params'] = jax.tree.map(
    lambda leaf, place: leaf.update(sharding=place), abstract['params'], spread
  )
  got = io.restore_checkpoint(manager, abstract)
  same(got['params'])
  assert got['params']['embed'].devices() == set(jax.devices())
  manager.close()
print('done')
"""


def work(count, *arguments):
  some = f'--xla_force_host_platform_device_count={count}'
  env = os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} {some}',
    'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
  }
  done = subprocess.run(
    [sys.executable, '-c', WORK, *arguments],
    env=env,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.stdout == 'done\n', done.stderr[-3000:]


@pytest.mark.parametrize(
  ('saved', 'read'),
  [(4, (3,)), pytest.param(1, (4, 1), marks=pytest.mark.slow)],
)
def test_checkpoints_move_between_numbers_of_devices(tmp_path, saved, read):
  work(saved, 'save', str(tmp_path))
  for count in read:
    work(count, 'load', str(tmp_path))
