"""What fits on a slice, how fast and at what price, before it is rented."""

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import jax

from ttc import evaluation, models
from ttc.drivers import plan_compile, plan_programs, topologies
from ttc.drivers.plan_programs import Training
from ttc.io.matplotlib_extra import need_matplotlib, pyplot, save_figure
from ttc.io.paths import as_path
from ttc.io.plots import COLORS, MARKERS
from ttc.models.published import PUBLISHED
from ttc.models.safetensors import huggingface_config
from ttc.scaling import costs, slices
from ttc.scaling.hardware import HARDWARE

HEADER = (
  'copies x devices',
  'weights GB',
  'cache GB',
  'fits',
  'TFLOPs',
  'GB read',
  'MB sent',
  'step ms',
  'prompt s',
  'tokens/s',
  'USD per M tokens',
)


class Plan(NamedTuple):
  """What is asked.

  Attributes:
    model: a name of `PUBLISHED`, or a Hugging Face directory.
    slice: see `slices.parse_slice`.
    work: what is decoded at once.
    bytes_per_param: of the weights.
    combine: how reading and computing add up, 'sum' or 'max'.
    price: USD for an hour of a device; None for that of the table.
    out: PNG of the speed on slices of other sizes; None for no picture.
    compile: also make the program of a layout, and look into it.
    layout: 'COPIESxDEVICES' of that; None for the best.
    program: of `PROGRAMS`; others than 'sample' are compiled only.
    training: of 'train'.
    population: pairs of 'es', environments of 'ippo'; None for 512.
  """

  model: str
  slice: str
  work: slices.Work
  bytes_per_param: float = 2.0
  combine: str = 'sum'
  price: float | None = None
  out: str | None = None
  compile: bool = False
  layout: str | None = None
  program: str = 'sample'
  training: Training = Training()
  population: int | None = None


PROGRAMS = ('sample', 'train', 'es', 'ippo')


def plan(asked: Plan) -> None:
  """Prints a table of all layouts, and which is the fastest that fits.

  Raises:
    ValueError: for a model or slice that is not known, or a number that is
      none, before anything else.
    OSError: if the picture cannot be written.
  """
  devices = slices.parse_slice(asked.slice)
  for name in ('bytes_per_param', 'price'):
    value = getattr(asked, name)
    if value is not None and not math.isfinite(value):
      raise ValueError(f'--{name}={value} is not a finite number')
  config = find_config(asked.model)
  longest = asked.work.prompt_tokens + asked.work.new_tokens
  if longest > config.max_length:
    raise ValueError(
      f'--context and --new_tokens are {longest} tokens; {asked.model} reads '
      f'{config.max_length}'
    )
  _check_program(asked)
  if asked.program != 'sample':
    compile_update(asked, config, devices)
    return
  if asked.out:
    need_matplotlib()
  shape = find_shape(config)
  predictions = predict_all(asked, shape, config.embed_dim, devices)
  rows = [list(_row(prediction)) for prediction in predictions]
  print(
    f'{asked.model} on {asked.slice}: {devices.num_devices} devices of '
    f'{devices.hardware.memory / 1e9:.0f} GB ({devices.hardware.source})\n'
  )
  print('\n'.join(evaluation.markdown_table(HEADER, rows)))
  chosen = slices.best(predictions)
  if asked.layout is not None:
    chosen = of_layout(predictions, asked.layout)
  if chosen is None:
    least = min(p.param_bytes + p.cache_bytes for p in predictions)
    print(
      f'\nNothing fits: the least is {least / 1e9:.1f} GB a device; take more '
      'devices, fewer samples or problems, or a shorter context.'
    )
  else:
    data, split = chosen.layout
    which = 'Best of what fits' if asked.layout is None else 'Asked for'
    print(f'\n{which}: a mesh of data={data} copies by model={split} devices.')
    if asked.compile:
      mesh = topologies.slice_mesh(asked.slice, chosen.layout)
      program = plan_programs.sample(config, mesh, asked.work)
      print()
      if (compiled := compiled_if_it_fits(program)) is not None:
        plan_compile.print_compiled(compiled, chosen)
  if asked.out:
    draw(asked, shape, config.embed_dim)
    print(f'wrote {asked.out}')


def compile_update(
  asked: Plan, config: models.TransformerConfig, devices: slices.Slice
) -> None:
  """Compiles a program of training, and prints what it needs."""
  work, population = asked.work, asked.population or 512
  layout = slices.Layout(devices.num_devices, 1)
  what = f'{asked.program} of {population}'
  if asked.program == 'train':
    layout = _layout_to_train(asked, find_shape(config), devices)
    what = f'train {asked.model}'
  mesh = topologies.slice_mesh(asked.slice, layout)
  print(
    f'{what} on {asked.slice}: a mesh of data={layout.data} copies by '
    f'model={layout.model} devices.\n'
  )
  if asked.program == 'train':
    program = plan_programs.train(config, mesh, work, asked.training)
  else:
    make = plan_programs.es if asked.program == 'es' else plan_programs.ippo
    program = make(mesh, population)
  if (compiled := compiled_if_it_fits(program)) is not None:
    plan_compile.print_training(compiled, devices.hardware.memory)


def compiled_if_it_fits(
  program: plan_programs.Program,
) -> plan_compile.Compiled | None:
  """The compiled program; None, and a line, if there is no room for it."""
  try:
    return plan_compile.compile_program(program)
  except MemoryError as error:
    print(f'It does not fit: {error}.')
    return None


def _layout_to_train(
  asked: Plan, shape: costs.ModelShape, devices: slices.Slice
) -> slices.Layout:
  """The one asked for, or that with the most copies that prompts allow."""
  layouts = list(slices.layouts(shape, devices))
  if asked.layout is not None:
    return _named(layouts, asked.layout)
  even = [x for x in layouts if asked.work.num_problems % x.data == 0]
  if not even:
    raise ValueError(
      f'--problems={asked.work.num_problems} must be a multiple of '
      f'{min(x.data for x in layouts)} copies'
    )
  return max(even, key=lambda layout: layout.data)


def _check_program(asked: Plan) -> None:
  """Raises a ValueError for options that a program has not."""
  if asked.compile:
    topologies.check(asked.slice)
  elif asked.program != 'sample':
    raise ValueError(f'--program={asked.program} needs --compile')
  for name, given, those in (
    ('lora_rank', asked.training.lora_rank, ('train',)),
    ('group_parts', asked.training.group_parts > 1, ('train',)),
    ('kv_budget', asked.work.kv_budget, ('sample',)),
    ('out', asked.out, ('sample',)),
    ('layout', asked.layout, ('sample', 'train')),
    ('population', asked.population, ('es', 'ippo')),
  ):
    if given and asked.program not in those:
      raise ValueError(
        f'--{name} is an option of --program={" or ".join(those)}'
      )


def of_layout(
  predictions: Sequence[slices.Prediction], name: str
) -> slices.Prediction:
  """The one of a layout; ValueError naming all of them."""
  layout = _named([p.layout for p in predictions], name)
  (found,) = (p for p in predictions if p.layout == layout)
  return found


def _named(layouts: Sequence[slices.Layout], name: str) -> slices.Layout:
  known = {'x'.join(map(str, layout)): layout for layout in layouts}
  if name not in known:
    raise ValueError(f'--layout={name} is not one of {", ".join(known)}')
  return known[name]


def find_config(model: str) -> models.TransformerConfig:
  """Of a published model or of a directory; ValueError naming the known."""
  if model in PUBLISHED:
    return PUBLISHED[model]
  if os.path.isdir(model):
    return huggingface_config(model, dtype='bfloat16')
  raise ValueError(
    f'--model={model} is neither a directory nor one of {sorted(PUBLISHED)}'
  )


def find_shape(config: models.TransformerConfig) -> costs.ModelShape:
  """What the costs of a model depend on."""
  if config.experts is None or config.experts.layers is None:
    config = dataclasses.replace(config, scan_layers=True)  # traced once
  params = jax.eval_shape(models.transformer(config).init, jax.random.key(0))
  return costs.model_shape(config, models.num_params(params))


def predict_all(
  asked: Plan,
  shape: costs.ModelShape,
  embed_dim: int,
  devices: slices.Slice,
) -> list[slices.Prediction]:
  """One of each layout; the price asked for is that of the kind asked for."""
  kind = slices.parse_slice(asked.slice).hardware
  if asked.price is not None and devices.hardware == kind:
    hardware = devices.hardware._replace(price=asked.price)
    devices = devices._replace(hardware=hardware)
  return [
    slices.predict(
      shape,
      embed_dim,
      devices,
      layout,
      asked.work,
      bytes_per_param=asked.bytes_per_param,
      combine=asked.combine,  # pyright: ignore[reportArgumentType]
    )
    for layout in slices.layouts(shape, devices)
  ]


def draw(asked: Plan, shape: costs.ModelShape, embed_dim: int) -> None:
  """The best layout on slices of many sizes: speed, and price where known."""
  plt = pyplot()
  figure, axes = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
  for index, (name, hardware) in enumerate(HARDWARE.items()):
    sizes, chosen = [], []
    for size in (1, 2, 4, 8, 16, 32, 64, 128, 256):
      devices = slices.Slice(hardware, size)
      found = slices.best(predict_all(asked, shape, embed_dim, devices))
      if found is not None:
        sizes.append(size)
        chosen.append(found)
    style = {'label': name, 'color': COLORS[index % len(COLORS)]}
    style['marker'] = MARKERS[index % len(MARKERS)]
    axes[0].plot(sizes, [p.tokens_per_s for p in chosen], **style)
    prices = [p.usd_per_million_tokens for p in chosen]
    if chosen and None not in prices:
      axes[1].plot(sizes, prices, **style)
  labels = 'tokens/s', 'USD per million tokens'
  for ax, label in zip(axes, labels, strict=True):
    ax.set(xscale='log', yscale='log', xlabel='devices', ylabel=label)
    ax.set_xticks([1, 4, 16, 64, 256], ['1', '4', '16', '64', '256'])
    ax.grid(alpha=0.2)
  axes[0].legend(fontsize=8, frameon=False)
  work = asked.work
  figure.suptitle(
    f'{asked.model}: {work.num_problems} x {work.num_samples} responses of '
    f'{work.new_tokens} tokens behind {work.prompt_tokens}, best layout',
    fontsize=10,
  )
  out = as_path(asked.out or 'plan.png')
  save_figure(figure, out, dpi=120)
  plt.close(figure)


def _row(prediction: slices.Prediction) -> Sequence[str]:
  data, split = prediction.layout
  usd = prediction.usd_per_million_tokens
  return (
    f'{data} x {split}',
    f'{prediction.param_bytes / 1e9:.2f}',
    f'{prediction.cache_bytes / 1e9:.2f}',
    'yes' if prediction.fits else 'no',
    f'{prediction.flops / 1e12:.3g}',
    f'{prediction.read_bytes / 1e9:.3g}',
    f'{prediction.link_bytes / 1e6:.3g}',
    f'{1e3 * prediction.step_s:.3g}',
    f'{prediction.prefill_s:.3g}',
    f'{prediction.tokens_per_s:.0f}',
    '' if usd is None else f'{usd:.3g}',
  )
