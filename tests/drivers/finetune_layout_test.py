"""A fine-tuning that lies on several devices is the one of a single device."""

import json
import shutil
import textwrap

import jax
import numpy as np
import pytest

from configs import finetune_s3
from ttc import finetuning, models
from ttc.drivers import finetune as driver
from ttc.drivers import finetune_layout, options
from ttc.drivers.finetune_options import FinetuneOptions
from ttc.models.published import PUBLISHED, TINY

SIZES = {
  'pretrain_steps': 20,
  'task_length': 2,
  'num_updates': 3,
  'num_prompts': 4,
  'group_size': 4,
  'checkpoint_every': 2,
  'num_eval_items': 4,
  'num_eval_samples': 2,
  'remat': True,
}


def config(**changes):
  return {**finetune_s3.get_config('grpo').to_dict(), **SIZES, **changes}


def setup(mesh=None, **changes):
  chosen = options.parse(FinetuneOptions, config(**changes))
  loaded = models.Loaded(*[None] * 6)
  return driver.Setup(chosen, loaded, None, None, None, mesh)


def places(lora_rank, zero):
  """Specifications of the state of a tiny model on two by two devices."""
  mesh = jax.sharding.AbstractMesh((2, 2), ('data', 'model'))
  made = setup(mesh, zero=zero, lora_rank=lora_rank)

  def init(key):
    params = models.transformer(TINY).init(key)
    return finetuning.init_lora(key, params, lora_rank) if lora_rank else params

  state = jax.eval_shape(
    lambda key: finetuning.init_state(init, made.chosen.optimizer, key),
    jax.random.key(0),
  )
  spread = finetune_layout.state_places(made, state)
  pairs = zip(jax.tree.leaves(state), jax.tree.leaves(spread), strict=True)
  return [sorted(filter(None, p.spec)) for x, p in pairs if x.ndim >= 2]


def test_with_zero_a_device_has_a_quarter_of_every_matrix():
  everywhere = places(0, zero=True)
  assert everywhere and everywhere == [['data', 'model']] * len(everywhere)
  assert {tuple(axes) for axes in places(0, zero=False)} == {('model',)}


def test_of_an_adapter_the_rank_alone_is_whole():
  """Its factors lie as the inputs and the outputs of the kernel."""
  model = models.transformer(TINY)

  def init(key):
    return finetuning.init_lora(key, model.init(key), 2)

  adapter = jax.eval_shape(init, jax.random.key(0))
  mesh = jax.sharding.AbstractMesh((2, 2), ('data', 'model'))
  spread = models.param_shardings(adapter, mesh, models.ZERO)
  for name, (a, b) in (
    ('query', (('data', None), (None, 'model'))),
    ('output', (('model', None), (None, 'data'))),
    ('up', (('data', None), (None, 'model'))),
    ('down', (('model', None), (None, 'data'))),
  ):
    of = spread[f'layers.0.{name}.kernel']
    assert (tuple(of.a.spec), tuple(of.b.spec)) == (a, b), name
  axes = places(2, zero=True)
  assert len(axes) == 3 * 2 * len(adapter)  # factors and two moments of each
  assert all(len(x) == 1 for x in axes)


def test_adapters_of_mixtures_are_refused_by_name():
  chosen = setup(lora_rank=2).chosen
  with pytest.raises(ValueError, match=r'lora_rank=2 must be 0: .* a mixture'):
    finetune_layout.check_model(chosen, PUBLISHED['Qwen3-30B-A3B'])


PROGRAM = """
  import json
  from ttc.drivers import devices
  from ttc.drivers.finetune import finetune

  try:
    devices.all_devices('num_prompts', 3, 2)
  except ValueError as error:
    print(error)
  for config, workdir in json.loads({runs!r}):
    finetune(config, workdir)
"""
LAYOUTS = {
  'all': {
    'zero': True,
    'model_parallel': 2,
    'group_parts': 2,
    'num_micro_batches': 2,
  },
  'adapter': {
    'zero': True,
    'model_parallel': 2,
    'lora_rank': 2,
    'kl_weight': 0.1,
  },
}


@pytest.mark.slow
def test_four_devices_end_where_one_does(tmp_path, on_four_devices):
  """And what one has begun four go on with, in another layout."""
  driver.prepare(setup().chosen, tmp_path)  # trains the base
  runs = []
  for name, layout in LAYOUTS.items():
    of_one, of_four = tmp_path / name, tmp_path / f'{name}_of_four'
    own = set(layout) - set(finetune_layout.LAYOUT)
    for workdir in (of_one, of_four):
      workdir.mkdir()
      (workdir / 'base').symlink_to(tmp_path / 'base', target_is_directory=True)
    driver.finetune(config(**{x: layout[x] for x in own}), of_one)
    runs.append((config(**layout), str(of_four)))
  resumed = tmp_path / 'resumed'
  shutil.copytree(tmp_path / 'all', resumed, symlinks=True)
  shutil.rmtree(resumed / 'checkpoints' / '3')
  shutil.rmtree(resumed / 'model')
  runs.append((config(**LAYOUTS['all']), str(resumed)))
  code = PROGRAM.format(runs=json.dumps(runs))
  said = on_four_devices(textwrap.dedent(code))
  assert 'num_prompts=3 is not a multiple of the 2 copies of the model' in said
  assert 'resuming from update 2' in said
  for name in (*(f'{x}_of_four' for x in LAYOUTS), 'resumed'):
    one = tmp_path / name.removesuffix('_of_four').replace('resumed', 'all')
    lines = [(x / 'metrics.jsonl').open() for x in (one, tmp_path / name)]
    for ours, theirs in zip(*lines, strict=True):
      expected = pytest.approx(json.loads(ours), rel=1e-4, abs=1e-5)
      assert json.loads(theirs) == expected, name
    params = [
      models.load(str(x / 'model')).params for x in (one, tmp_path / name)
    ]
    for x, y in zip(*map(jax.tree.leaves, params), strict=True):
      np.testing.assert_allclose(x, y, atol=3e-5, err_msg=name)
