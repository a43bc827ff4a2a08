"""Launches are counted in the largest loop, and are not more than they were."""

import importlib.util

import pytest
from absl.testing import absltest

from ttc import models
from ttc.drivers import launches
from ttc.models.published import PUBLISHED
from ttc.scaling.slices import Work

TEXT = """HloModule a

%small (x: s32[]) -> s32[] {
  %x = s32[] parameter(0)
  ROOT %f = s32[] fusion(%x), kind=kLoop, calls=%c
}

%large (x: (s32[], f32[2])) -> (s32[], f32[2]) {
  %x = (s32[], f32[2]{0}) parameter(0)
  %a = s32[] get-tuple-element(%x), index=0
  %b = f32[2]{0} get-tuple-element(%x), index=1
  %f.1 = (s32[], f32[2]{0}) fusion(%a, %b), kind=kLoop, calls=%c
  %k = f32[2]{0} custom-call(%b), custom_call_target="k"
  %s = f32[2]{0} sort(%k), dimensions={0}
  ROOT %t = (s32[], f32[2]{0}) tuple(%a, %s)
}

ENTRY %main (x: s32[]) -> s32[] {
  %w = s32[] while(%x), condition=%c.1, body=%small
  %v = (s32[], f32[2]{0}) while(%t), condition=%c.2, body=%large
}
"""


class LaunchesTest(absltest.TestCase):
  def test_views_are_no_launches(self):
    count = launches.count_launches(TEXT)
    self.assertEqual(count, {'fusions': 1, 'kernels': 1, 'others': 1})

  @pytest.mark.aot
  @pytest.mark.skipif(
    importlib.util.find_spec('jax_cuda13_plugin') is None,
    reason='the CUDA wheels of jax are not installed',
  )
  def test_a_layer_on_a_gpu(self):
    """Dense: the shares of prompt and responses, and their merge."""
    for attention, most, kernels in (
      (None, 16, 2),
      (models.SparseAttention(dense_layers=()), 30, 4),
    ):
      layer, _ = launches.launches(
        PUBLISHED['Qwen3-0.6B'], attention, 'h200', Work(4096, 1024, 16)
      )
      self.assertEqual(layer['kernels'], kernels)
      self.assertLessEqual(sum(layer.values()), most)


if __name__ == '__main__':
  absltest.main()
