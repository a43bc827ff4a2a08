"""Trains in-context learners with several seeds, and shows how they learn."""

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ttc import agents, finetuning
from ttc.drivers import devices, options, resuming, training_files
from ttc.drivers.in_context_options import (
  InContextOptions,
  Study,
  make_optimizer,
  make_study,
)
from ttc.finetuning import TrainState
from ttc.io import files
from ttc.io.learning_curves import save_learning_curves
from ttc.io.paths import as_path


def in_context(config: Mapping[str, Any], workdir: files.Path) -> None:
  """Trains from the last checkpoint on, and evaluates what was learned.

  Writes config.json, metrics.jsonl (a line a step: the loss of each seed),
  checkpoints, and at the end evaluation.json (what is measured at each
  position, of each seed), loss.png and positions.png. After a kill it goes on
  from the last checkpoint and ends with the same parameters, bit for bit.

  Args:
    config: see `InContextOptions`.
    workdir: of the run.

  Raises:
    ValueError: for a value that means nothing; if the workdir holds another run
      or is in use; if the loss is no number any more.
    FileNotFoundError: if a data set is not on this machine.
    OSError: if a file cannot be written.
    command.Stopped: on SIGTERM, when a checkpoint is written.
  """
  chosen = options.parse(InContextOptions, config)
  study = make_study(chosen)
  workdir = as_path(workdir)
  with training_files.hold(dataclasses.asdict(chosen), workdir):
    params = _train(chosen, study, workdir)
    found = _evaluate(chosen, study, params)
    _show(chosen, study, found, workdir)


def train_seeds(
  chosen: InContextOptions,
  study: Study,
  state: TrainState,
  mesh: Mesh | None = None,
) -> Iterator[tuple[TrainState, np.ndarray]]:
  """Trains all seeds side by side.

  Args:
    chosen: optimiser, and steps from one report to the next.
    study: what is learned.
    state: to go on from, leaves with a leading axis of seeds; donated.
    mesh: with an axis `data`, over which the tasks of a batch are spread; None
      for one device. Results are equal up to the rounding of sums.

  Yields:
    The state, and the losses `[steps, seeds]` since the last one.
  """
  step = finetuning.make_train_step(study.loss, make_optimizer(chosen))

  def draw(tasks, key):
    batch = study.draw(tasks, key)
    if mesh is None:
      return batch
    spread = NamedSharding(mesh, PartitionSpec('data'))
    return jax.lax.with_sharding_constraint(batch, spread)

  @functools.partial(jax.jit, static_argnums=(1, 2), donate_argnums=0)
  def run(state, stage, num_steps):
    def of_seed(state, world):
      batch_fn = functools.partial(draw, stage.tasks(world))
      return finetuning.run_steps(step, batch_fn, state, num_steps)

    return jax.vmap(of_seed)(state, study.worlds)

  done = int(state.step[0])
  for stage in study.stages:
    while done < stage.end:
      num_steps = min(chosen.checkpoint_every, stage.end - done)
      state, metrics = run(state, stage, num_steps)
      done += num_steps
      yield state, np.asarray(metrics['loss']).T


def init_seeds(chosen: InContextOptions, study: Study) -> TrainState:
  """The state of all seeds before the first step."""
  init = functools.partial(
    finetuning.init_state, study.init, make_optimizer(chosen)
  )
  return jax.vmap(init)(agents.seed_keys(chosen.seed, chosen.num_seeds))


def _train(chosen, study, workdir):
  """Params of all seeds; goes on from the last checkpoint."""
  init = jax.jit(lambda: init_seeds(chosen, study))
  mesh = devices.all_devices('batch_size', chosen.batch_size)
  path = workdir / 'metrics.jsonl'
  with resuming.open_run(workdir, 'step') as run:
    state, done = run.start(init), run.done
    training_files.forget_after(path, done)
    bar = run.progress(chosen.num_steps, done, 'step')
    reports = train_seeds(chosen, study, state, mesh)
    for state, losses in reports:
      _check_finite(losses, done)
      rows = [
        {'step': done + i + 1, 'loss': row.tolist()}
        for i, row in enumerate(losses)
      ]
      training_files.append(path, rows)
      done += len(losses)
      bar.update(len(losses))
      bar.set_postfix(loss=f'{losses[-10:].mean():.3g}')
      run.save(done, state)
  return state.params


def _check_finite(losses, done):
  """Raises ValueError at the first step whose loss is no number."""
  wrong = ~np.isfinite(losses)
  if wrong.any():
    row, seed = np.argwhere(wrong)[0]
    raise ValueError(
      f'the loss of seed {seed} at step {done + row + 1} is '
      f'{losses[row, seed]}; a smaller config.learning_rate may help'
    )


def _evaluate(chosen, study, params):
  """What is measured, by name: `[positions, seeds]`."""
  keys = agents.seed_keys(chosen.seed, chosen.num_seeds)
  keys = jax.vmap(lambda key: jax.random.fold_in(key, 2))(keys)
  found = jax.jit(jax.vmap(study.evaluate))(params, study.worlds, keys)
  return {name: np.asarray(found[name]).T for name in study.curves}


def _show(chosen, study, found, workdir):
  """Writes and draws losses and what was measured."""
  lines = files.read_lines(workdir / 'metrics.jsonl')
  losses = np.array([json.loads(line)['loss'] for line in lines])
  values = {name: x.tolist() for name, x in found.items()}
  text = files.to_json(
    {'positions': study.positions.tolist(), **values}, indent=2
  )
  files.write_atomically(workdir / 'evaluation.json', text + '\n')
  width = max(1, len(losses) // 100)  # steps that a point is the mean of
  points = losses[: len(losses) // width * width]
  save_learning_curves(
    workdir / 'loss.png',
    {
      chosen.memory: (
        width * np.arange(1, 1 + len(points) // width),
        points.reshape(-1, width, chosen.num_seeds).mean(axis=1),
      )
    },
    title=f'{chosen.memory} on {chosen.tasks}',
    label='loss',
    steps='step',
  )
  save_learning_curves(
    workdir / 'positions.png',
    {name: (study.positions, x) for name, x in found.items()},
    title=f'{chosen.memory} on {chosen.tasks}',
    label=study.label,
    steps=study.axis,
    log_steps=study.log_positions,
  )
  for name, x in found.items():
    ends = ', '.join(f'{y:.3f}' for y in (x[0].mean(), x[-1].mean()))
    print(f'{name}: {study.label} at first and last position {ends}')
  print(f'{workdir}: evaluation.json, loss.png, positions.png')
