"""Learns an update rule over many lives, and keeps it as a file."""

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from ttc import metarl
from ttc.drivers import (
  devices,
  options,
  processes,
  resuming,
  training_files,
)
from ttc.drivers.meta_options import (
  MetaTrainOptions,
  make_meta_learner,
  make_task,
  meta_mesh,
  rule_options,
)
from ttc.io import files
from ttc.io.learning_curves import save_learning_curves
from ttc.io.paths import as_path


def meta_train(
  config: Mapping[str, Any], workdir: files.Path, command: str = ''
) -> None:
  """Meta-trains from the last checkpoint on.

  Writes config.json, metrics.jsonl (a line a meta-update), checkpoints, and at
  the end rule.npz for `metarl.load_rule`, and curve.png. After a kill it goes
  on from the last checkpoint and ends with the same rule, bit for bit.

  Args:
    config: see `MetaTrainOptions`.
    workdir: of the run.
    command: that started it; kept with the rule.

  Raises:
    ValueError: for a value that means nothing; if the workdir holds another run
      or is in use; if the rule is no number any more.
    OSError: if a file cannot be written.
    command.Stopped: on SIGTERM, when a checkpoint is written.
  """
  chosen = options.parse(MetaTrainOptions, config)
  arguments, task = rule_options(chosen), make_task(chosen)
  rule = metarl.make_rule(chosen.rule, arguments)
  learner = make_meta_learner(chosen, rule, task)
  workdir = as_path(workdir)
  with training_files.hold(dataclasses.asdict(chosen), workdir):
    params = devices.fetch(_train(chosen, learner, rule, workdir))
    if not processes.is_first():
      return
    rows = _rows(workdir / 'metrics.jsonl')
    about = {
      'command': command,
      'environment': chosen.environment,
      'levels': chosen.levels,
      'low': chosen.low,
      'high': chosen.high,
      'seed': chosen.seed,
      'meta_optimizer': chosen.meta_optimizer,
      'num_updates': chosen.num_updates,
      'seconds': round(sum(row['seconds'] for row in rows)),
    }
    metarl.save_rule(
      workdir / 'rule.npz', chosen.rule, arguments, params, about
    )
    name = 'fitness' if 'fitness' in rows[0] else 'reward'
    values = np.array([[row[name]] for row in rows])
    save_learning_curves(
      workdir / 'curve.png',
      {chosen.rule: (np.arange(1, len(rows) + 1), values)},
      title=f'{chosen.rule} on {chosen.environment}',
      label=f'{name}, mean over lives',
      steps='meta-updates',
    )
    print(f'{workdir}: rule.npz, curve.png')


def _train(chosen, learner, rule, workdir):
  """Meta-parameters; goes on from the last checkpoint."""
  key = jax.random.key(chosen.seed)
  rule_key, key = jax.random.split(key)
  meta = jax.jit(rule.init)(rule_key)
  place = devices.everywhere(meta_mesh(chosen))
  path = workdir / 'metrics.jsonl'
  with resuming.open_run(workdir, 'meta-update') as run:
    state, done = run.start(jax.jit(learner.init), place, meta, key), run.done
    training_files.forget_after(path, done)
    bar = run.progress(chosen.num_updates, done, 'update')
    for reached, rows in _chunks(chosen, learner, state, done, place):
      state = reached
      wrong = [row for row in rows if not np.isfinite(row['size'])]
      if wrong:
        raise ValueError(
          f'the rule is no number any more after update {done + len(rows)}; a '
          'smaller config.meta_rate may help'
        )
      training_files.append(path, rows)
      done += len(rows)
      bar.update(len(rows))
      shown = {k: x for k, x in rows[-1].items() if k in ('fitness', 'reward')}
      bar.set_postfix({k: f'{x:.3g}' for k, x in shown.items()})
      run.save(done, state)
  return state.params


def _chunks(
  chosen: MetaTrainOptions, learner: Any, state: Any, done: int, place: Any
) -> Iterator[tuple[Any, list[dict[str, float]]]]:
  """The state every so many updates, and a row for each of these."""

  def step(state, _):
    state, told = learner.update(state)
    rows = {'fitness': told.mean()} if isinstance(told, jax.Array) else told
    square = sum((x**2).sum() for x in jax.tree.leaves(state.params))
    return state, {**rows, 'size': square**0.5}

  run = jax.jit(
    lambda state, length: jax.lax.scan(step, state, length=length),
    static_argnums=1,
    donate_argnums=0,
    out_shardings=place,
  )
  while done < chosen.num_updates:
    length = min(chosen.checkpoint_every, chosen.num_updates - done)
    start = time.perf_counter()
    state, told = run(state, length)
    told = {name: np.asarray(x).tolist() for name, x in told.items()}
    seconds = (time.perf_counter() - start) / length
    rows = [
      {**{name: x[i] for name, x in told.items()}, 'seconds': seconds}
      for i in range(length)
    ]
    done += length
    yield state, rows


def _rows(path):
  return [json.loads(line) for line in files.read_lines(path)]
