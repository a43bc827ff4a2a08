"""Trains the classifier that test-time adaptation starts from."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation
from ttc.drivers import options, resuming, training_files
from ttc.drivers.options import option
from ttc.io import files
from ttc.io.learning_curves import save_learning_curves
from ttc.io.paths import as_path
from ttc.models.vision.training import as_floats
from ttc.testbeds import image_classifiers
from ttc.testbeds.image_classifiers import ClassifierRecipe

_whole, _real = options.whole, options.real


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainClassifierOptions:
  """Of one training.

  Attributes:
    dataset: 'fashion_mnist', 'mnist' or 'painted', a stand-in without files.
    seed: of the training.
    num_epochs: over the training images.
    batch_size: images of a step.
    learning_rate: of SGD with Nesterov momentum; falls to 0 as a cosine.
    decay: of kernels.
    num_images: of the training images that are used, the first ones.
    checkpoint_every: steps.
    cache: directory where adaptation finds the network; '' for the user's.
  """

  dataset: str = option(
    options.one_of(image_classifiers.DATASETS), 'fashion_mnist'
  )
  seed: int = option(options.seed(), 0)
  num_epochs: float = option(_real(0.0, 1000.0, above=True), 4.0)
  batch_size: int = option(_whole(1, 60_000), 128)
  learning_rate: float = option(_real(0.0, 10.0, above=True), 0.1)
  decay: float = option(_real(0.0, 1.0), 5e-4)
  num_images: int = option(_whole(1, 60_000), 60_000)
  checkpoint_every: int = option(_whole(1), 100)
  cache: str = option(options.text(empty=True), '')


def train_classifier(config: Mapping[str, Any], workdir: files.Path) -> None:
  """Trains from the last checkpoint on, keeps the network and measures it.

  Writes config.json, metrics.jsonl (a line a step), checkpoints, and at the end
  evaluation.json, loss.png and the network to the cache. After a kill it goes
  on from the last checkpoint and ends with the same parameters, bit for bit.

  Args:
    config: see `TrainClassifierOptions`.
    workdir: of the run.

  Raises:
    ValueError: for a value that means nothing; if the workdir holds another run
      or is in use; if the loss is no number any more.
    FileNotFoundError: if the images are not on this machine.
  """
  chosen = options.parse(TrainClassifierOptions, config)
  recipe = ClassifierRecipe(
    dataset=chosen.dataset,
    num_epochs=chosen.num_epochs,
    batch_size=chosen.batch_size,
    learning_rate=chosen.learning_rate,
    decay=chosen.decay,
    num_images=chosen.num_images,
  )
  data = image_classifiers.read(chosen.dataset, 'train')
  cache = chosen.cache or image_classifiers.default_cache()
  workdir = as_path(workdir)
  with training_files.hold(dataclasses.asdict(chosen), workdir):
    variables = _train(chosen, recipe, data, workdir)
    variables = image_classifiers.keep_classifier(
      recipe, chosen.seed, cache, lambda: variables
    )
    _evaluate(recipe, variables, workdir)


def _train(chosen, recipe, data, workdir):
  """The trained variables; goes on from the last checkpoint."""
  start = lambda: image_classifiers.start_training(recipe, chosen.seed)
  path = workdir / 'metrics.jsonl'
  with resuming.open_run(workdir, 'step') as run:
    state, done = run.start(start), run.done
    training_files.forget_after(path, done)
    bar = run.progress(recipe.num_steps, done, 'step')
    reports = image_classifiers.train(
      recipe, state, data, chosen.checkpoint_every
    )
    for after, losses in reports:
      losses = np.asarray(losses)
      if not np.isfinite(losses).all():
        step = done + int(np.argmin(np.isfinite(losses))) + 1
        raise ValueError(
          f'the loss at step {step} is no number; a smaller '
          'config.learning_rate may help'
        )
      rows = [
        {'step': done + i + 1, 'loss': float(loss)}
        for i, loss in enumerate(losses)
      ]
      training_files.append(path, rows)
      state, done = after, done + len(losses)
      bar.update(len(losses))
      bar.set_postfix(loss=f'{losses[-10:].mean():.3f}')
      run.save(done, state)
  return state.variables


def _evaluate(recipe, variables, workdir):
  """Measures on test images, with moments of the source or of a batch."""
  test = image_classifiers.read(recipe.dataset, 'test')
  pixels = jnp.asarray(image_classifiers.grey(test)).reshape(-1, 100, 28, 28, 1)
  labels = jnp.asarray(test.labels).reshape(-1, 100)
  found = {}
  for moments in ('source', 'batch'):
    logits = jax.jit(
      lambda x, moments=moments: jax.lax.map(
        lambda batch: (
          recipe.network.apply(variables, as_floats(batch), moments).logits
        ),
        x,
      )
    )(pixels)
    mask = jnp.ones_like(labels, bool)
    found[moments] = {
      'error': float(evaluation.error_rate(logits, labels, mask)),
      'calibration_error': float(
        evaluation.calibration_error(logits, labels, mask)
      ),
    }
    print(
      f'moments of the {moments}: error {100 * found[moments]["error"]:.2f} %'
    )
  text = files.to_json(found, indent=2)
  files.write_atomically(workdir / 'evaluation.json', text + '\n')
  lines = files.read_lines(workdir / 'metrics.jsonl')
  losses = np.array([json.loads(line)['loss'] for line in lines])
  width = max(1, len(losses) // 100)  # steps that a point is the mean of
  points = losses[: len(losses) // width * width].reshape(-1, width)
  save_learning_curves(
    workdir / 'loss.png',
    {
      recipe.dataset: (
        width * np.arange(1, 1 + len(points)),
        points.mean(axis=1, keepdims=True),
      )
    },
    title=f'training on {recipe.dataset}',
    label='loss (nats)',
    steps='step',
  )
  print(f'{workdir}: evaluation.json, loss.png')
