"""Trains a denoiser of small images or of videos, and shows what it draws."""

import dataclasses
import functools
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ttc import diffusion, finetuning
from ttc.diffusion import Model, samplers
from ttc.drivers import (
  devices,
  options,
  processes,
  resuming,
  training_files,
)
from ttc.drivers.train_diffusion_options import (
  TrainDiffusionOptions,
  average_of,
  loss_fn,
  make_model,
  make_optimizer,
  network_options,
)
from ttc.finetuning import TrainState
from ttc.io import files, sample_pictures
from ttc.io.learning_curves import save_learning_curves
from ttc.io.paths import as_path
from ttc.models.sharding import put
from ttc.testbeds import bouncing_digits, image_diffusion, trained_denoisers
from ttc.testbeds.image_diffusion import Examples

_PER_CLASS = 8  # samples in the picture


def train_diffusion(
  config: Mapping[str, Any], workdir: files.Path, command: str = ''
) -> None:
  """Trains from the last checkpoint on, and shows what was learned.

  Writes config.json, metrics.jsonl (a line a step), checkpoints, and at the end
  model.npz (the averaged parameters), samples.png or .gif, loss.png and
  evaluation.json. After a kill it goes on from the last checkpoint and ends
  with the same parameters, bit for bit.

  Args:
    config: see `TrainDiffusionOptions`.
    workdir: of the run.
    command: that the model's file names as its origin.

  Raises:
    ValueError: for a value that means nothing; if the workdir holds another run
      or is in use; if the loss is no number any more.
    FileNotFoundError: if a data set is not on this machine.
    OSError: if a file cannot be written.
    command.Stopped: on SIGTERM, when a checkpoint is written.
  """
  chosen = options.parse(TrainDiffusionOptions, config)
  model = make_model(chosen)
  examples = image_diffusion.read_examples(chosen.data)
  workdir = as_path(workdir)
  with training_files.hold(dataclasses.asdict(chosen), workdir):
    params = devices.fetch(_train(chosen, model, examples, workdir))
    if processes.is_first():
      _show(chosen, model._replace(params=params), examples, workdir, command)


def train_model(
  chosen: TrainDiffusionOptions,
  model: Model,
  examples: Examples,
  state: TrainState,
  mesh: Mesh | None = None,
) -> Iterator[tuple[TrainState, np.ndarray]]:
  """Trains on from a state, which is donated.

  Args:
    chosen: how.
    model: the denoiser.
    examples: of the data.
    state: a copy on every device of the mesh.
    mesh: over whose axis `data` a batch is spread; None for one device.

  Yields:
    The state, and the losses `[steps]` since the last one.
  """
  train_step = finetuning.make_train_step(
    loss_fn(chosen, model), make_optimizer(chosen)
  )
  draw = functools.partial(
    image_diffusion.draw_batch,
    image_diffusion.is_video(chosen.data),
    chosen.batch_size,
  )

  # A program for each step: inside a loop XLA takes ten times as long for the
  # gradients of convolutions on a CPU.
  place = devices.everywhere(mesh)

  @functools.partial(jax.jit, donate_argnums=0, out_shardings=place)
  def run(state, examples):
    batch_key, key = jax.random.split(state.key)
    batch = devices.by_rows(draw(examples, batch_key), mesh)
    return train_step(state._replace(key=key), batch)

  if mesh is not None:
    examples = put(examples, place)
  done = int(state.step)
  while done < chosen.num_steps:
    losses = []
    for _ in range(min(chosen.checkpoint_every, chosen.num_steps - done)):
      state, metrics = run(state, examples)
      losses.append(metrics['loss'])
    done += len(losses)
    yield state, np.asarray(jnp.stack(losses))


def draw_grid(
  model: Model, num_steps: int, guidance: float, seed: int
) -> jax.Array:
  """Samples of each class `[10, n, ...]`, videos as frames."""
  labels = jnp.repeat(jnp.arange(10, dtype=jnp.int32), _PER_CLASS)
  x = draw_samples(model, labels, num_steps, guidance, jax.random.key(seed))
  return x.reshape(10, _PER_CLASS, *x.shape[1:])


def draw_samples(model, labels, num_steps, guidance, key) -> jax.Array:
  """An image `[N, H, W]` or a video `[N, T, H, W]` for each label."""
  keys = samplers.particle_keys(key, labels.shape[0])

  @jax.jit
  def draw(params, context, number):
    sampler = diffusion.model_sampler(
      model,
      labels,
      num_steps,
      params=params,
      guidance=guidance,
      context=context,
    )
    return samplers.draw(sampler, samplers.purpose(keys, number))

  if not model.context:
    return draw(model.params, None, 0)[..., 0]
  drawn = [jnp.zeros((labels.shape[0], *model.shape), jnp.float32)]
  for number in range(bouncing_digits.NUM_UNITS):
    drawn.append(draw(model.params, drawn[-1], number))
  return bouncing_digits.frames(jnp.stack(drawn[1:], axis=1))


def _train(chosen, model, examples, workdir):
  """Averaged parameters; goes on from the last checkpoint."""
  init = jax.jit(
    lambda: finetuning.init_state(
      model.init, make_optimizer(chosen), jax.random.key(chosen.seed)
    )
  )
  mesh = devices.all_devices('batch_size', chosen.batch_size)
  path = workdir / 'metrics.jsonl'
  with resuming.open_run(workdir, 'step') as run:
    state, done = run.start(init, devices.everywhere(mesh)), run.done
    training_files.forget_after(path, done)
    begun = time.perf_counter()
    bar = run.progress(chosen.num_steps, done, 'step')
    for trained, losses in train_model(chosen, model, examples, state, mesh):
      if not np.isfinite(losses).all():
        step = done + 1 + int(np.argmin(np.isfinite(losses)))
        raise ValueError(
          f'the loss at step {step} is {losses[step - done - 1]}; a smaller '
          'config.learning_rate may help'
        )
      seconds = (time.perf_counter() - begun) / len(losses)
      rows = [
        {'step': done + 1 + i, 'loss': float(x), 's': seconds}
        for i, x in enumerate(losses)
      ]
      training_files.append(path, rows)
      done, begun = done + len(losses), time.perf_counter()
      state = trained  # what it came from is gone
      bar.update(len(losses))
      bar.set_postfix(loss=f'{losses[-100:].mean():.4f}')
      run.save(done, state)
  return average_of(state.opt_state)


def _show(chosen, model, examples, workdir, command):
  """Writes the model, and draws and measures its samples."""
  lines = files.read_lines(workdir / 'metrics.jsonl')
  metrics = [json.loads(line) for line in lines]
  # By the median step, which neither compiling nor a pause makes longer.
  seconds = round(len(metrics) * float(np.median([x['s'] for x in metrics])))
  trained_denoisers.save_model(
    workdir / 'model.npz',
    chosen.network,
    network_options(chosen),
    model.target,
    model.context,
    model.params,
    {
      'data': chosen.data,
      'command': command,
      'seed': chosen.seed,
      'steps': chosen.num_steps,
      'seconds': seconds,
    },
  )
  # As it will be read: in half size.
  model = trained_denoisers.load_model(workdir / 'model.npz')
  grid = draw_grid(model, chosen.sampling_steps, chosen.guidance, chosen.seed)
  if model.context:
    sample_pictures.save_gif(workdir / 'samples.gif', grid)
    grid = grid[:, 0]  # a video of each class, frame by frame
  sample_pictures.save_grid(workdir / 'samples.png', grid)
  found = _measure(chosen, model, examples)
  text = files.to_json({'seconds': seconds, **found}, indent=2)
  files.write_atomically(workdir / 'evaluation.json', text + '\n')
  losses = np.array([row['loss'] for row in metrics])
  width = max(1, len(losses) // 100)
  points = losses[: len(losses) // width * width].reshape(-1, width)
  save_learning_curves(
    workdir / 'loss.png',
    {
      chosen.network: (
        width * np.arange(1, 1 + len(points)),
        points.mean(axis=1)[:, None],
      )
    },
    title=f'{chosen.target} of {chosen.data}',
    label='loss',
    steps='step',
  )
  told = ', '.join(f'{name} {x:.3f}' for name, x in found.items())
  print(f'{told}; {seconds} s')
  print(f'{workdir}: model.npz, samples, loss.png, evaluation.json')


def _measure(chosen, model, examples):
  """How often samples look like their class, or fly straight."""
  labels = jnp.arange(chosen.num_eval, dtype=jnp.int32) % 10
  key = jax.random.fold_in(jax.random.key(chosen.seed), 1)
  x = draw_samples(model, labels, chosen.sampling_steps, chosen.guidance, key)
  known = jax.tree.map(lambda leaf: leaf[:20_000], examples)
  nearest = jax.jit(image_diffusion.nearest_labels)
  if not model.context:
    return {'nearest_label': float(jnp.mean(nearest(x, known) == labels))}
  shown = bouncing_digits.crop(x[:, -1])
  return {
    'nearest_label': float(jnp.mean(nearest(shown, known) == labels)),
    'crooked': float(jnp.mean(jax.vmap(bouncing_digits.crooked)(x))),
  }
