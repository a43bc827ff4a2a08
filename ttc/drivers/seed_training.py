"""Training of several seeds that survives a kill, with what it says on the way.

Files of a run: metrics.jsonl, a line an update, evaluation.jsonl, a line a
checkpoint, and checkpoints. After a kill it goes on from the last one and ends
with the same state, bit for bit.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from ttc import agents
from ttc.drivers import resuming, training_files
from ttc.drivers.devices import everywhere
from ttc.io import files
from ttc.io.paths import AnyPath


class Length(NamedTuple):
  """How long, how often, and of whom.

  Attributes:
    seed: of the first seed; the others follow.
    num_seeds: trained side by side.
    num_updates: of the whole training.
    every: updates from one checkpoint to the next.
  """

  seed: int
  num_seeds: int
  num_updates: int
  every: int


def train_seeds(
  learner: agents.Learner,
  evaluate: Callable[[Any, int], Mapping[str, Any]],
  length: Length,
  workdir: AnyPath,
  mesh: Mesh | None = None,
) -> Any:
  """Trains all seeds from the last checkpoint on, evaluating on the way.

  Args:
    learner: of one seed.
    evaluate: `(state, updates) -> figures`, leaves with a leading axis of
      seeds, `return` among them; compiled here.
    length: of the training.
    workdir: of the run.
    mesh: over which environments are spread; None for one device.

  Returns:
    The state of all seeds.

  Raises:
    ValueError: if a loss is no number any more.
    OSError: if a file cannot be written.
  """
  learner = agents.over_seeds(learner)
  keys = agents.seed_keys(length.seed, length.num_seeds)
  init = jax.jit(lambda: learner.init(keys))
  place = None
  if mesh is not None:
    place = agents.env_shardings(jax.eval_shape(init), mesh)
  evaluate = jax.jit(evaluate, out_shardings=everywhere(mesh))
  steps = lambda updates: updates * learner.steps_per_update
  metrics_path = workdir / 'metrics.jsonl'
  evaluation_path = workdir / 'evaluation.jsonl'
  with resuming.open_run(workdir, 'update') as run:
    state, done = run.start(init, place), run.done
    training_files.forget_after(metrics_path, done)
    training_files.forget_after(evaluation_path, -(-done // length.every))
    bar = run.progress(steps(length.num_updates), steps(done), 'step')
    reports = agents.train(
      learner, state, length.num_updates, length.every, mesh
    )
    for state, metrics in reports:
      metrics = {name: np.asarray(x) for name, x in metrics.items()}
      _check_finite(metrics, done)
      _write_metrics(metrics_path, metrics, done, learner.steps_per_update)
      done = int(state.updates.max())
      told = jax.device_get(evaluate(state, done))
      line = {'steps': steps(done), **{k: x.tolist() for k, x in told.items()}}
      training_files.append(evaluation_path, [line])
      bar.update(steps(done) - bar.n)
      bar.set_postfix({'return': f'{told["return"].mean():.3g}'})
      run.save(done, state)
  return state


def evaluations(workdir: AnyPath) -> dict[str, np.ndarray]:
  """What evaluation.jsonl says, by name, a row a checkpoint."""
  path = workdir / 'evaluation.jsonl'
  lines = [json.loads(line) for line in files.read_lines(path)]
  return {name: np.array([line[name] for line in lines]) for name in lines[0]}


def _write_metrics(path, metrics, done, steps_per_update):
  """Appends a line for each update; NaN where no episode ended."""
  rows = []
  for row in range(len(next(iter(metrics.values())))):
    steps = (done + row + 1) * steps_per_update
    line = {name: x[row].tolist() for name, x in metrics.items()}
    rows.append({'steps': steps, **line})
  training_files.append(path, rows)


def _check_finite(metrics, done):
  """Raises ValueError at the first update whose loss is no number."""
  losses = ('policy_loss', 'value_loss', 'td_loss', 'meta_gradient_norm')
  for name in losses:
    wrong = ~np.isfinite(metrics.get(name, np.zeros((1, 1))))
    if wrong.any():
      row, seed = np.argwhere(wrong)[0]
      raise ValueError(
        f'{name} of update {done + row + 1} and seed {seed} is '
        f'{metrics[name][row, seed]}; a smaller config.learning_rate may help'
      )
