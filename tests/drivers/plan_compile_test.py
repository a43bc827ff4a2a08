"""What compiled programs of slices hold and exchange."""

import dataclasses
import importlib.util

import pytest

from ttc.drivers import plan, plan_compile
from ttc.models.published import PUBLISHED
from ttc.scaling import slices

TEXT = """
  %a = bf16[8,16]{1,0} all-reduce(%x), metadata={op_name="jit/Block/down"}
  %b = (f32[4,2]{1,0}, f32[4,8]{1,0}) all-gather-start(%y), dimensions={1}
  %c = f32[4,8]{1,0} all-gather-done(%b)
  %d = pred[3]{0} all-gather(%z), op_name="jit/reduce"
  %e = f32[9]{0} add(%z, %z)
"""


def test_collectives_are_counted_by_bytes_and_layers():
  found, largest = plan_compile.find_collectives(TEXT, num_layers=5)
  assert found == {'all-reduce': 8 * 16 * 2 * 5, 'all-gather': 4 * 8 * 4 + 3}
  assert largest == 4 * 8 * 4


def test_bad_input():
  work, config = slices.Work(64, 8, 2, 3), PUBLISHED['Qwen3-0.6B']
  with pytest.raises(ValueError, match='--problems=3 must be a multiple of'):
    plan_compile.compile_sample(config, 'v5e-8', slices.Layout(2, 4), work)
  with pytest.raises(ValueError, match='for TPUs, not --slice=h100-8'):
    plan_compile.compile_sample(config, 'h100-8', slices.Layout(1, 8), work)


needs_libtpu = pytest.mark.skipif(
  importlib.util.find_spec('libtpu') is None, reason='libtpu not installed'
)


@pytest.mark.aot
@needs_libtpu
def test_experts_are_not_copied():
  """All `gates` and `ups` of four layers are 0.8 GB on a device."""
  config = dataclasses.replace(PUBLISHED['Qwen3-30B-A3B'], num_layers=4)
  work, layout = slices.Work(256, 64, 2, 4), slices.Layout(2, 4)
  compiled = plan_compile.compile_sample(config, 'v6e-8', layout, work)
  assert compiled.temp_bytes < 0.3e9


@pytest.mark.aot
@needs_libtpu
@pytest.mark.parametrize(
  ('name', 'layout', 'work'),
  [
    ('v5e-8', (1, 8), slices.Work(2048, 1024, 16, 8)),
    ('v5e-8', (2, 4), slices.Work(2048, 256, 16, 8, kv_budget=512)),
    ('v6e-8', (8, 1), slices.Work(2048, 256, 16, 8)),
  ],
)
def test_a_slice_holds_what_was_predicted(name, layout, work):
  config = PUBLISHED['Qwen3-8B']
  layout = slices.Layout(*layout)
  compiled = plan_compile.compile_sample(config, name, layout, work)
  devices = slices.parse_slice(name)
  shape = plan.find_shape(config)
  predicted = slices.predict(shape, config.embed_dim, devices, layout, work)
  held = predicted.param_bytes + predicted.cache_bytes
  # Sparse attention keeps a summary of each block of keys beside them.
  more = 1.05 if work.kv_budget is None else 1.15
  assert 0.98 * held <= compiled.argument_bytes <= more * held
  assert held + compiled.temp_bytes < devices.hardware.memory
  # Two sums a layer, of the rows of a copy; and no cache or weight is gathered.
  rows = work.num_problems // layout.data * work.num_samples
  sums = 2 * config.num_layers * rows * config.embed_dim * 2
  if layout.model > 1:
    assert sums <= compiled.collectives['all-reduce'] <= 1.1 * sums
  assert compiled.largest_gather <= 4 * rows * config.vocab_size
