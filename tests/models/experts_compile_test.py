"""Experts over devices compile for real chips, and stay as they are.

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
from ttc.models import mixture, sharding

pytestmark = [
  pytest.mark.aot,
  pytest.mark.skipif(
    importlib.util.find_spec('libtpu') is None, reason='libtpu not installed'
  ),
]

D, EXPERTS = 512, models.Experts(8, 2, 1024, normalise=True)
# As in Qwen3-30B-A3B: a share of the width is no multiple of a TPU's lanes.
NARROW = models.Experts(16, 2, 384, normalise=True)
QUIET = {'TPU_SKIP_MDS_QUERY': '1', 'TPU_WORKER_HOSTNAMES': 'localhost'}


def lowered(experts, num_rows, shape, axes):
  """A mixture's program on a mesh of eight chips, and its parameters."""
  with mock.patch.dict(os.environ, QUIET):
    topology = topologies.get_topology_desc('v5e:2x4', 'tpu')
  devices = np.array(topology.devices).reshape(shape)
  mesh = Mesh(devices, axes, axis_types=(AxisType.Auto,) * len(axes))
  module = mixture.Mixture(experts)

  def struct(leaf, sharding):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  x = jnp.zeros((num_rows, 1, 1, D), jnp.bfloat16)
  params = jax.eval_shape(module.init, jax.random.key(0), x, None)['params']
  shardings = models.param_shardings({'mixture': params}, mesh)['mixture']
  params = jax.tree.map(struct, params, shardings)
  x = struct(x, NamedSharding(mesh, PartitionSpec('data')))
  apply = jax.jit(lambda p, x: module.apply({'params': p}, x, None)[0])
  return apply.lower(params, x)


@pytest.mark.parametrize('num_rows', [16, 1024])
def test_no_matrix_of_an_expert_travels(num_rows):
  def gathered():
    """Shapes with all experts in a program that is compiled now."""
    axes = ('data', 'expert', 'model')
    text = lowered(EXPERTS, num_rows, (2, 2, 2), axes).compile().as_text()
    assert 'ragged' in text
    shapes = re.findall(r'= \(?bf16(\[\S+?\]).* all-gather', text)
    return [shape for shape in shapes if shape.startswith('[8,')]

  assert not gathered()  # the process is a CPU's; the program is not
  # Left to the compiler they travel: the test can fail.
  with mock.patch.object(mixture, 'mesh_of', lambda _: None):
    assert gathered()


@pytest.mark.parametrize('experts', [EXPERTS, NARROW])
def test_matrices_of_experts_lie_as_the_product_reads_them(experts):
  """Else each program begins by turning all of them around."""

  def turned():
    """Stacks of which a chip holds each matrix with its axes swapped."""
    compiled = lowered(experts, 16, (2, 4), ('data', 'model')).compile()
    return re.findall(r'bf16\[\d+,\d+,\d+\]\{1,2,0', compiled.as_text())

  assert not turned()
  if experts is NARROW:  # Their width split, they are: the test can fail.
    split = lambda *_: (None, 'model')
    with (
      mock.patch.object(sharding, 'stack_axes', split),
      mock.patch.object(mixture, 'stack_axes', split),
    ):
      assert turned()
