"""Learns an update rule over many lives, and keeps it as a file."""

import dataclasses
import json
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import tqdm

from ttc import io, metarl
from ttc.drivers import options, training_files
from ttc.drivers.meta_options import (
  MetaTrainOptions,
  make_meta_learner,
  make_task,
  rule_options,
)
from ttc.io import files
from ttc.io.learning_curves import save_learning_curves


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
  """
  chosen = options.parse(MetaTrainOptions, config)
  arguments, task = rule_options(chosen), make_task(chosen)
  rule = metarl.make_rule(chosen.rule, arguments)
  learner = make_meta_learner(chosen, rule, task)
  workdir = pathlib.Path(workdir)
  with files.lock_directory(workdir):
    training_files.keep_config(dataclasses.asdict(chosen), workdir)
    params = _train(chosen, learner, rule, workdir)
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
  init = jax.jit(learner.init)
  checkpoints = io.open_checkpoints(workdir / 'checkpoints', max_to_keep=2)
  done = checkpoints.latest_step() or 0
  meta = jax.jit(rule.init)(rule_key)
  if not done:
    state = init(meta, key)
  else:
    shapes = jax.eval_shape(init, meta, key)
    state = io.restore_checkpoint(checkpoints, shapes)
    print(f'resuming from meta-update {done}')
  path = workdir / 'metrics.jsonl'
  training_files.forget_after(path, done)
  with tqdm.tqdm(total=chosen.num_updates, initial=done, unit='update') as bar:
    for reached, rows in _chunks(chosen, learner, state, done):
      state = reached
      wrong = [row for row in rows if not np.isfinite(row['size'])]
      if wrong:
        raise ValueError(
          f'the rule is no number any more after update {done + len(rows)}; a '
          'smaller config.meta_rate may help'
        )
      files.append_lines(path, [files.to_json(row) for row in rows])
      done += len(rows)
      io.save_checkpoint(checkpoints, done, state)
      bar.update(len(rows))
      shown = {k: x for k, x in rows[-1].items() if k in ('fitness', 'reward')}
      bar.set_postfix({k: f'{x:.3g}' for k, x in shown.items()})
  checkpoints.close()
  return state.params


def _chunks(
  chosen: MetaTrainOptions, learner: Any, state: Any, done: int
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
