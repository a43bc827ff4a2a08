"""Trains a small transformer on noisy traces of a permutation word problem."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ttc import finetuning, models, sampling, tasks
from ttc.drivers import (
  devices,
  options,
  processes,
  resuming,
  training_files,
)
from ttc.drivers.options import option
from ttc.io import files
from ttc.io.paths import AnyPath, as_path
from ttc.tasks.permutations import Group

NUM_VALUES: dict[Group, int] = {'s3': 6, 's4': 24, 's5': 120}
_whole = options.whole


@dataclasses.dataclass(frozen=True)
class PretrainOptions:
  """What a training chooses; configs/pretrain_s3.py explains each."""

  seed: int = option(options.seed())
  group: Group = option(options.one_of(tuple(NUM_VALUES)))
  length: int = option(_whole(1, 1000))
  num_generators: int = option(_whole(0, 120))
  noise: float = option(options.real(0.0, 1.0))
  test_fraction: float = option(options.real(0.0, 0.9, above=True))
  num_layers: int = option(_whole(1, 1000))
  embed_dim: int = option(_whole(1, 100_000))
  mlp_dim: int = option(_whole(1, 1_000_000))
  num_heads: int = option(_whole(1, 10_000))
  num_steps: int = option(_whole(1))
  batch_size: int = option(_whole(1, 1_000_000))
  learning_rate: float = option(options.real(0.0, 10.0, above=True))
  warmup_steps: int = option(_whole(1))
  weight_decay: float = option(options.real(0.0, 10.0))
  checkpoint_every: int = option(_whole(1))
  num_eval_problems: int = option(_whole(1, 1_000_000))


def pretrain(config: Mapping[str, Any], workdir: files.Path) -> None:
  """Trains from the last checkpoint on, saves the model and evaluates it.

  Writes config.json, metrics.jsonl and checkpoints, and at the end the model to
  `workdir/model`, for `models.load`. After a kill it goes on from the last
  checkpoint and ends with the same parameters, bit for bit.

  Args:
    config: see `PretrainOptions`.
    workdir: of the run.

  Raises:
    ValueError: for a value that means nothing; if the workdir holds another run
      or is in use; if the loss is no number any more.
    OSError: if a file cannot be written.
    command.Stopped: on SIGTERM, when a checkpoint is written.
  """
  chosen = options.parse(PretrainOptions, config)
  check(chosen)
  task = make_task(chosen)
  workdir = as_path(workdir)
  with training_files.hold(dataclasses.asdict(chosen), workdir):
    params = train(chosen, task, workdir)
    shape = model_config(chosen, task)
    models.save_checkpoint(workdir / 'model', shape, params)
    if processes.is_first():
      print(f'{models.num_params(params)} parameters in {workdir / "model"}')
      report(chosen, task, models.transformer(shape), devices.fetch(params))


def train(
  chosen: PretrainOptions, task: tasks.TokenTask, workdir: AnyPath
) -> Any:
  """The trained parameters; goes on from the last checkpoint."""
  model = models.transformer(model_config(chosen, task))
  optimizer = optax.adamw(
    optax.warmup_cosine_decay_schedule(
      0.0, chosen.learning_rate, chosen.warmup_steps, chosen.num_steps
    ),
    weight_decay=chosen.weight_decay,
  )
  train_step = finetuning.make_train_step(
    lambda params, batch: finetuning.next_token_loss(
      model, params, batch.tokens, batch.is_trace
    ),
    optimizer,
  )
  train_task = tasks.on_split(task, 'train', chosen.test_fraction)
  mesh = devices.all_devices('batch_size', chosen.batch_size)

  def batch_fn(key):
    keys = jax.random.split(key, chosen.batch_size)
    draw = lambda key: tasks.training_sequence(train_task.generate(key))
    return devices.by_rows(jax.vmap(draw)(keys), mesh)

  key = jax.random.key(chosen.seed)
  init = lambda: finetuning.init_state(model.init, optimizer, key)
  metrics_path = workdir / 'metrics.jsonl'
  with resuming.open_run(workdir, 'step') as run:
    state, done = run.start(init, devices.everywhere(mesh)), run.done
    training_files.forget_after(metrics_path, done)
    bar = run.progress(chosen.num_steps, done, 'step')
    reports = finetuning.train(
      train_step, batch_fn, state, chosen.num_steps, chosen.checkpoint_every,
      devices.everywhere(mesh),
    )  # fmt: skip
    for state, metrics in reports:
      metrics = {name: np.asarray(x) for name, x in metrics.items()}
      check_finite(metrics['loss'], done)
      write_metrics(metrics_path, metrics, done)
      done = int(state.step)
      bar.update(done - bar.n)
      bar.set_postfix(loss=f'{metrics["loss"][-1]:.3f}')
      run.save(done, state)
  return state.params


def make_task(chosen: PretrainOptions) -> tasks.TokenTask:
  """The task whose traces are learned."""
  return tasks.permutation_word_problem(
    chosen.group,
    chosen.length,
    noise=chosen.noise,
    num_generators=chosen.num_generators or None,
  )


def check(chosen: PretrainOptions) -> None:
  """Raises ValueError for values that do not go together."""
  if chosen.warmup_steps >= chosen.num_steps:
    raise ValueError(
      f'config.warmup_steps={chosen.warmup_steps} leaves nothing of '
      f'config.num_steps={chosen.num_steps}'
    )
  if chosen.embed_dim % (2 * chosen.num_heads):
    raise ValueError(
      f'config.embed_dim={chosen.embed_dim} is not a multiple of twice '
      f'config.num_heads={chosen.num_heads}'
    )
  num_params = chosen.num_layers * (
    4 * chosen.embed_dim**2 + 3 * chosen.embed_dim * chosen.mlp_dim
  )
  if num_params > 10**9:
    raise ValueError(
      f'config.num_layers={chosen.num_layers}, embed_dim={chosen.embed_dim} '
      f'and mlp_dim={chosen.mlp_dim} make {num_params:.1e} parameters; at most '
      '1e9 are trained here'
    )


def model_config(
  chosen: PretrainOptions, task: tasks.TokenTask
) -> models.TransformerConfig:
  """The transformer that fits a task."""
  return models.TransformerConfig(
    vocab_size=task.vocab_size,
    num_layers=chosen.num_layers,
    embed_dim=chosen.embed_dim,
    mlp_dim=chosen.mlp_dim,
    num_heads=chosen.num_heads,
    num_kv_heads=chosen.num_heads,
    head_dim=chosen.embed_dim // chosen.num_heads,
    max_length=task.prompt_length + task.response_length,
  )


def write_metrics(path: AnyPath, metrics, done: int) -> None:
  """Appends a line for each step behind `done`."""
  rows = range(len(metrics['loss']))
  at = lambda i: {name: float(x[i]) for name, x in metrics.items()}
  training_files.append(path, [{'step': done + i + 1, **at(i)} for i in rows])


def check_finite(loss: np.ndarray, done: int) -> None:
  """Raises ValueError at the first step whose loss is no number."""
  if not np.isfinite(loss).all():
    step = done + int(np.argmin(np.isfinite(loss))) + 1
    raise ValueError(
      f'the loss of step {step} is {loss[step - done - 1]}; a smaller '
      'config.learning_rate may help'
    )


def report(
  chosen: PretrainOptions, task: tasks.TokenTask, model, params
) -> None:
  """Prints the sampled accuracy on unseen problems and the closed form."""
  test_task = tasks.on_split(task, 'test', chosen.test_fraction)
  data_key, sample_key = jax.random.split(jax.random.key(chosen.seed + 1))
  count = chosen.num_eval_problems

  @jax.jit
  def accuracy(params):
    problems = jax.vmap(test_task.generate)(jax.random.split(data_key, count))
    prompt = tasks.to_prompt(problems)
    responses = sampling.generate(
      params,
      jax.random.split(sample_key, count),
      prompt,
      1,
      model=model,
      capacity=task.response_length,
      stop=sampling.stop_rules(task.vocab_size, [task.eos_id]),
    )
    return jnp.mean(tasks.score_fn(task, problems)(prompt, responses))

  measured = float(accuracy(params))
  num_values = NUM_VALUES[chosen.group]
  expected = tasks.noisy_chain_accuracy(chosen.noise, chosen.length, num_values)
  error = (expected * (1 - expected) / count) ** 0.5
  print(
    f'sampled accuracy {measured:.4f} on {count} unseen problems; closed form '
    f'{expected:.4f}, standard error {error:.4f}'
  )
