"""Trained pieces: trained once, in this process, and kept.

A piece is known by its name, by its config and recipe, whose digest is part of
the directory, and by its seed. It is written beside its place and renamed when
it is whole: a training that was killed leaves no half of a model.

Of several processes all ask for a piece at the same place of their programs:
each trains it, the same in all, they save it together, and each has its own.
"""

import hashlib
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ttc import finetuning, io, models
from ttc.io.paths import local_only
from ttc.models.sharding import of_first, on_first_devices, put
from ttc.types import Params

T = TypeVar('T')
Directory = str | os.PathLike[str]


class Recipe(NamedTuple):
  """Adam with warm-up and cosine decay, and the stages of the data.

  Attributes:
    steps: of each stage.
    learning_rate: at its peak.
    warmup: steps to there.
    weight_decay: of AdamW; 0 for Adam.
    b2: decay of the second moment.
    clip: largest norm of a gradient; None for any.
    every: steps of a program that also reports; None for all in one program
      that does not. The last bits of the two differ, in time the models too.
  """

  steps: tuple[int, ...]
  learning_rate: float = 3e-3
  warmup: int = 100
  weight_decay: float = 1e-4
  b2: float = 0.999
  clip: float | None = None
  every: int | None = None

  @property
  def optimizer(self) -> optax.GradientTransformation:
    """Of all stages in one."""
    total = sum(self.steps)
    schedule = optax.warmup_cosine_decay_schedule(
      0.0, self.learning_rate, min(self.warmup, total // 2), total
    )
    adam = optax.adamw(schedule, b2=self.b2, weight_decay=self.weight_decay)
    if self.clip is None:
      return adam
    return optax.chain(optax.clip_by_global_norm(self.clip), adam)


def keep(
  path: pathlib.Path,
  make: Callable[[], T],
  save: Callable[[pathlib.Path, T], None],
  load: Callable[[pathlib.Path], T],
) -> T:
  """What is kept at a path; made and saved unless that was done before."""
  exists, number = map(int, of_first(np.array([path.exists(), os.getpid()])))
  if not exists:
    partial = path.with_name(f'.{path.name}.{number}')
    partial.parent.mkdir(parents=True, exist_ok=True)
    if jax.process_index() == 0:
      shutil.rmtree(partial, ignore_errors=True)
    save(partial, make())
    of_first(np.zeros(1))  # all have written
    if jax.process_index() == 0:
      try:
        partial.rename(path)
      except OSError:  # another run was first
        shutil.rmtree(partial)
    of_first(np.zeros(1))  # and none reads before it is there
  return load(path)


def on_all(params: Params) -> Params:
  """Equal parameters of all processes as one, which is saved by all."""
  if jax.process_count() == 1:
    return params
  return put(params, on_first_devices())


def on_own(params: Params) -> Params:
  """Each process's copy of parameters that all of them hold."""
  if jax.process_count() == 1:
    return params
  return jax.tree.map(lambda x: jnp.asarray(x.addressable_data(0)), params)


def digest(*parts: object) -> str:
  """Eight letters that tell configs apart."""
  return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def trained_transformer(
  name: str,
  config: models.TransformerConfig,
  recipe: Recipe,
  batch_fns: Sequence[Callable],
  seed: int,
  cache: Directory,
) -> models.Loaded:
  """A transformer that has learned to predict the next token.

  Args:
    name: what it is called in the cache.
    config: its shape.
    recipe: how it is trained.
    batch_fns: `key -> (tokens [B, T], mask [B, T])`, one for each stage.
    seed: of the training.
    cache: directory.

  Returns:
    The model, as `models.load` gives it.
  """
  model = models.transformer(config)
  return keep(
    local_only(cache, 'cache') / f'{name}-{digest(config, recipe)}' / str(seed),
    lambda: train(
      lambda params, batch: finetuning.next_token_loss(model, params, *batch),
      model.init,
      recipe,
      batch_fns,
      jax.random.key(seed),
    ),
    lambda path, params: models.save_checkpoint(path, config, on_all(params)),
    lambda path: _own_model(models.load(str(path))),
  )


def _own_model(loaded: models.Loaded) -> models.Loaded:
  return loaded._replace(params=on_own(loaded.params))


def trained_params(
  name: str,
  seed: int,
  cache: Directory,
  like: Callable[[], Params],
  make: Callable[[], Params],
) -> Params:
  """Parameters that are no transformer: a head, soft thoughts.

  Args:
    name: what they are called in the cache, what they depend on included.
    seed: of the training.
    cache: directory.
    like: makes parameters of the same shapes.
    make: trains.

  Returns:
    The parameters.
  """

  def save(path, params):
    checkpoints = io.open_checkpoints(path)
    io.save_checkpoint(checkpoints, 0, on_all(params))
    checkpoints.close()

  def load(path):
    checkpoints = io.open_checkpoints(path)
    params = io.restore_checkpoint(checkpoints, jax.eval_shape(like))
    checkpoints.close()
    return on_own(params)

  return keep(local_only(cache, 'cache') / name / str(seed), make, save, load)


def train(
  loss_fn: finetuning.LossFn,
  init: Callable[[jax.Array], Params],
  recipe: Recipe,
  batch_fns: Sequence[Callable],
  key: jax.Array,
) -> Params:
  """Trains through all stages; the key is consumed."""
  step = finetuning.make_train_step(loss_fn, recipe.optimizer)
  start = lambda key: finetuning.init_state(init, recipe.optimizer, key)

  @jax.jit
  def train_at_once(key):
    state = start(key)
    for batch_fn, num_steps in zip(batch_fns, recipe.steps, strict=True):
      state, _ = finetuning.run_steps(step, batch_fn, state, num_steps)
    return state.params

  if recipe.every is None:
    return train_at_once(key)
  state, done = start(key), 0
  for batch_fn, num_steps in zip(batch_fns, recipe.steps, strict=True):
    done += num_steps
    reports = finetuning.train(step, batch_fn, state, done, recipe.every)
    *_, (state, _) = reports
  return state.params
