"""What compiled programs of slices hold and exchange."""

import dataclasses
import importlib.util
import math

import jax
import jax.numpy as jnp
import pytest

from ttc.drivers import plan, plan_compile, plan_programs, topologies
from ttc.drivers.collectives import find_collectives
from ttc.models.published import PUBLISHED
from ttc.scaling import slices

TEXT = """HloModule jit_step
%inside (x: f32[2]) -> f32[2] {
  %g = f32[4,2]{1,0} all-gather(%x), dimensions={0}
}
%async_collective_fusion.1 (x: f32[2]) -> f32[2] {
  %g.1 = f32[4,2]{1,0} all-gather(%x), dimensions={0}
}
%all-reduce-scatter.1 (x: f32[8]) -> f32[4] {
  %r = f32[8]{0} all-reduce(%x), to_apply=%add
}
%layers (x: (s32[], bf16[8,16])) -> (s32[], bf16[8,16]) {
  %a = bf16[8,16]{1,0} all-reduce(%x), to_apply=%add
  %f = f32[4]{0} fusion(%a), kind=kCustom, calls=%all-reduce-scatter.1
}
%more (x: (s32[], bf16[8,16])) -> pred[] {
  %n = s32[]{:T(128)} constant(5)
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}
%step (x: (s32[], bf16[8,16])) -> (s32[], bf16[8,16]) {
  %w = (s32[], bf16[8,16]) while(%x), condition=%more, body=%layers
  %c = f32[2] conditional(%p), branch_computations={%inside, %add}
  %s = (f32[2]{0}, f32[6,2]{1,0}) all-gather-start(%y), dimensions={0}
  %d = f32[6,2]{1,0} all-gather-done(%s)
  %t = ((bf16[2], s8[3]), (bf16[8], s8[12])) all-gather-start(%y, %q)
  %h = ((f32[16]), (f32[4])) reduce-scatter-start(%y)
  %j = f32[5] reduce-scatter(%y), replica_groups=[2,4]<=[8], to_apply=%add
  %m = (u8[7], u8[7], u32[], u32[]) collective-permute-start(%y)
  %async-collective-start.1 = f32[4,2] fusion(%y), calls=%inside
  %b = f32[2]{0} fusion(%y), calls=%async_collective_fusion.1
  %async-collective-done.1 = f32[4,2] fusion(%y), calls=%inside
}
%any (x: (s32[], bf16[8,16])) -> pred[] {
  ROOT %or = pred[] fusion(%x), calls=%add
}
ENTRY %main (x: s32[]) -> s32[] {
  %k = pred[3]{0} all-to-all(%z)
  %v = (s32[], bf16[8,16]) while(%x), condition=%any, body=%step
  %u = f32[2] while(%x), body=%inside, config={"known_trip_count":{"n":"3"}}
}
"""


def test_collectives_are_counted_as_often_as_they_are_run():
  found, largest = find_collectives(TEXT)
  assert found == {
    'all-reduce': 8 * 16 * 2 * 5,
    # What goes in, to four devices each.
    'reduce-scatter': 8 * 4 * 5 + 16 * 4 + 4 * 5 * 4,
    # Of the branch, of its own start, of the chain, and of the counted loop;
    # and of two arrays at once, as they come out.
    'all-gather': (4 * 2 + 6 * 2 + 4 * 2 + 3 * 4 * 2) * 4 + 8 * 2 + 12,
    'collective-permute': 7,
    'all-to-all': 3,
  }
  assert largest == 6 * 2 * 4
  found, _ = find_collectives(TEXT, of_a_step=True)
  assert 'all-to-all' not in found and len(found) == 4


def mesh(data, model):
  """One that no devices are needed for."""
  return jax.sharding.AbstractMesh((data, model), ('data', 'model'))


def test_no_room_is_said_with_the_bytes():
  class Lowered:
    says = 'RESOURCE_EXHAUSTED: Used 20.81G of 15.75G hbm.'

    trace = lower = lambda self: self

    def compile(self):
      raise jax.errors.JaxRuntimeError(self.says)

  program = plan_programs.Program(Lowered(), ())
  with pytest.raises(MemoryError, match=r'for 20.81G of 15.75G a device'):
    plan_compile.compile_program(program)
  Lowered.says = 'INTERNAL: 1G of 2G'
  with pytest.raises(jax.errors.JaxRuntimeError):
    plan_compile.compile_program(program)


def test_what_is_trained_and_its_moments_are_on_no_two_devices():
  config, work = PUBLISHED['Qwen3-8B'], slices.Work(64, 8, 4, 8)
  state, frozen, _ = plan_programs.train(config, mesh(2, 4), work).shapes
  held = sum(
    4 * math.prod(x.sharding.shard_shape(x.shape))
    for x in jax.tree.leaves(state[:2])
    if x.ndim > 1
  )
  assert frozen is None
  assert held == pytest.approx(3 * 4 * 8.19e9 / 8, rel=0.01)
  adapter = plan_programs.Training(lora_rank=16)
  program = plan_programs.train(config, mesh(1, 8), work, adapter)
  state, frozen, _ = program.shapes
  assert frozen['embed'].dtype == jnp.bfloat16
  assert state.params['layers.query.kernel'].a.dtype == jnp.float32


def test_bad_input():
  work, config = slices.Work(64, 8, 2, 3), PUBLISHED['Qwen3-0.6B']
  for make in (plan_programs.sample, plan_programs.train):
    with pytest.raises(ValueError, match='--problems=3 must be a multiple of'):
      make(config, mesh(2, 4), work)


needs_libtpu = pytest.mark.skipif(
  importlib.util.find_spec('libtpu') is None, reason='libtpu not installed'
)


@pytest.mark.aot
@needs_libtpu
def test_experts_are_not_copied():
  """All `gates` and `ups` of four layers are 0.8 GB on a device."""
  config = dataclasses.replace(PUBLISHED['Qwen3-30B-A3B'], num_layers=4)
  work, layout = slices.Work(256, 64, 2, 4), slices.Layout(2, 4)
  assert compile_sample(config, 'v6e-8', layout, work).temp_bytes < 0.3e9


def compile_sample(config, name, layout, work):
  on = topologies.slice_mesh(name, layout)
  return plan_compile.compile_program(plan_programs.sample(config, on, work))


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
  compiled = compile_sample(config, name, layout, work)
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
    assert sums <= compiled.exchanged.by_kind['all-reduce'] <= 1.1 * sums
  assert compiled.exchanged.largest_gather <= 4 * rows * config.vocab_size


@pytest.mark.aot
@needs_libtpu
def test_a_trained_layer_gathers_its_own_weights_and_nothing_larger():
  config, work = PUBLISHED['Qwen3-0.6B'], slices.Work(256, 256, 4, 8)
  on = topologies.slice_mesh('v5e-8', slices.Layout(8, 1))
  compiled = plan_compile.compile_program(plan_programs.train(config, on, work))
  # Weights, gradients and two moments of each, over eight devices.
  assert compiled.argument_bytes == pytest.approx(12 * 0.596e9 / 8, rel=0.02)
  assert compiled.argument_bytes + compiled.temp_bytes < 4.5e9
  # In bfloat16 the embedding, which is the largest; every layer in each pass of
  # prompts and of responses, forwards and backwards.
  embedding = 2 * config.vocab_size * config.embed_dim
  assert compiled.exchanged.largest_gather <= 1.01 * embedding
  layers = 2 * 0.596e9 - embedding
  gathered = compiled.exchanged.by_kind['all-gather']
  assert 4 * layers <= gathered <= 1.1 * (4 * layers + 4 * embedding)


@pytest.mark.aot
@needs_libtpu
def test_a_generation_exchanges_fitness_and_one_sum():
  on = topologies.slice_mesh('v5e-8', slices.Layout(8, 1))
  program = plan_programs.es(on, 64)
  compiled = plan_compile.compile_program(program)
  params = sum(x.size for x in jax.tree.leaves(program.shapes[0].params))
  assert compiled.exchanged.by_kind == {
    'all-gather': 64 * 2 * 4,
    'all-reduce': 4 * params,
  }


@pytest.mark.aot
@needs_libtpu
def test_agents_learn_from_their_share_of_a_minibatch():
  """Then gradients are summed, in each of 4 x 4 steps; else nothing is."""
  on = topologies.slice_mesh('v5e-8', slices.Layout(8, 1))
  program = plan_programs.ippo(on, 64)
  compiled = plan_compile.compile_program(program)
  assert compiled.argument_bytes + compiled.temp_bytes < 0.1e9
  params = sum(x.size for x in jax.tree.leaves(program.shapes[0].params))
  summed = compiled.exchanged.by_kind['all-reduce']
  assert 16 * 4 * params <= summed <= 1.05 * 16 * 4 * params
