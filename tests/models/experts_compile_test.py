"""Experts over devices compile for real chips, and stay where they are.

  pip install 'jax[tpu]'
  JAX_PLATFORMS=cpu TPU_SKIP_MDS_QUERY=1 TPU_WORKER_HOSTNAMES=localhost \
    python -m pytest -m aot tests/models/experts_compile_test.py

No TPU is needed; libtpu holds the compiler.
"""

import importlib.util
import os
import re
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ttc import models
from ttc.models import mixture

pytestmark = [
  pytest.mark.aot,
  pytest.mark.skipif(
    importlib.util.find_spec('libtpu') is None, reason='libtpu not installed'
  ),
]

D, EXPERTS = 512, models.Experts(8, 2, 1024, normalise=True)


@pytest.mark.parametrize('num_rows', [16, 1024])
def test_no_matrix_of_an_expert_travels(num_rows):
  quiet = {'TPU_SKIP_MDS_QUERY': '1', 'TPU_WORKER_HOSTNAMES': 'localhost'}
  with mock.patch.dict(os.environ, quiet):
    topology = topologies.get_topology_desc('v5e:2x4', 'tpu')
  devices = np.array(topology.devices).reshape(2, 2, 2)
  axes = ('data', 'expert', 'model')
  mesh = Mesh(devices, axes, axis_types=(AxisType.Auto,) * 3)
  module = mixture.Mixture(EXPERTS)

  def struct(leaf, sharding):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  x = jnp.zeros((num_rows, 1, 1, D), jnp.bfloat16)
  params = jax.eval_shape(module.init, jax.random.key(0), x, None)['params']
  shardings = models.param_shardings({'mixture': params}, mesh)['mixture']
  params = jax.tree.map(struct, params, shardings)
  x = struct(x, NamedSharding(mesh, PartitionSpec('data')))

  def gathered():
    """Shapes with all experts in a program that is compiled now."""
    apply = jax.jit(lambda p, x: module.apply({'params': p}, x, None)[0])
    text = apply.lower(params, x).compile().as_text()
    assert 'ragged' in text
    shapes = re.findall(r'= \(?bf16(\[\S+?\]).* all-gather', text)
    return [shape for shape in shapes if shape.startswith('[8,')]

  assert not gathered()  # the process is a CPU's; the program is not
  # Left to the compiler they travel: the test can fail.
  with mock.patch.object(mixture, 'mesh_of', lambda _: None):
    assert gathered()
