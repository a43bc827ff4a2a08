"""Trains a small transformer on noisy traces of a permutation word problem.

  python scripts/pretrain.py --config=configs/pretrain_s3.py --workdir=runs/s3
  python scripts/pretrain.py --config=configs/pretrain_s3.py:generators \\
      --workdir=runs/s3_generators

Writes metrics.jsonl, checkpoints, and at the end the model to `workdir/model`,
for `models.load`. Run again after a kill, it goes on from the last checkpoint
and ends with the same parameters, bit for bit.
"""

import functools
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from absl import app, flags, logging
from ml_collections import config_flags

from ttc import finetuning, io, models, sampling, tasks

_CONFIG = config_flags.DEFINE_config_file('config', lock_config=True)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory for all output.')
flags.mark_flags_as_required(['config', 'workdir'])

_NUM_VALUES = {'s3': 6, 's4': 24, 's5': 120}
_LEAST = {'noise': 0, 'num_generators': 0, 'seed': 0, 'weight_decay': 0}


def main(argv):
  """Trains, or goes on training, and evaluates."""
  logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
  if len(argv) > 1:
    sys.exit(f'pretrain: unexpected argument {argv[1]!r}')
  try:
    run(_CONFIG.value, pathlib.Path(_WORKDIR.value))
  except (ValueError, OSError) as error:
    sys.exit(f'pretrain: {" ".join(str(error).split())}')


def run(config, workdir):
  """Trains from the last checkpoint on and saves the model."""
  check(config)
  task = make_task(config)
  shape = model_config(config, task)
  model = models.transformer(shape)
  keep_config(config, workdir)

  optimizer = optax.adamw(
    optax.warmup_cosine_decay_schedule(
      0.0, config.learning_rate, config.warmup_steps, config.num_steps
    ),
    weight_decay=config.weight_decay,
  )
  loss_fn = lambda params, batch: finetuning.next_token_loss(
    model, params, batch.tokens, batch.is_trace
  )
  train_step = finetuning.make_train_step(loss_fn, optimizer)
  train_task = tasks.on_split(task, 'train', config.test_fraction)

  def batch_fn(key):
    keys = jax.random.split(key, config.batch_size)
    draw = lambda key: tasks.training_sequence(train_task.generate(key))
    return jax.vmap(draw)(keys)

  init = functools.partial(finetuning.init_state, model.init, optimizer)
  run_steps = jax.jit(
    functools.partial(finetuning.run_steps, train_step, batch_fn),
    static_argnames='num_steps',
    donate_argnums=0,
  )

  checkpoints = io.open_checkpoints(workdir / 'checkpoints')
  key = jax.random.key(config.seed)
  state = init(key)
  if checkpoints.latest_step() is not None:
    state = io.restore_checkpoint(checkpoints, jax.eval_shape(init, key))
    print(f'resuming from step {int(state.step)}')
  forget_after(workdir / 'metrics.jsonl', int(state.step))
  writer = io.JsonlWriter(workdir / 'metrics.jsonl')

  progress = tqdm.tqdm(
    total=config.num_steps, initial=int(state.step), unit='step'
  )
  while (done := int(state.step)) < config.num_steps:
    num_steps = min(config.checkpoint_every, config.num_steps - done)
    state, metrics = run_steps(state, num_steps=num_steps)
    metrics = {name: np.asarray(value) for name, value in metrics.items()}
    for i in range(num_steps):
      writer.write_scalars(done + i + 1, {k: v[i] for k, v in metrics.items()})
    writer.flush()
    io.save_checkpoint(checkpoints, int(state.step), state)
    progress.update(num_steps)
    progress.set_postfix(loss=f'{metrics["loss"][-1]:.3f}')
  progress.close()
  writer.close()
  checkpoints.close()

  models.save_checkpoint(workdir / 'model', shape, state.params)
  print(f'{models.num_params(state.params)} parameters in {workdir / "model"}')
  report(config, task, model, state.params)


def make_task(config):
  """The task whose traces are learned."""
  return tasks.permutation_word_problem(
    config.group,
    config.length,
    noise=config.noise,
    num_generators=config.num_generators or None,
  )


def check(config):
  """Raises ValueError at the first value that makes no sense."""
  for name, value in config.items():
    low = _LEAST.get(name)
    if isinstance(value, str) or (low is not None and value >= low):
      continue
    if low is not None or value <= 0:
      bound = 'positive' if low is None else f'at least {low}'
      raise ValueError(f'config.{name} must be {bound}, not {value}')
  if config.group not in _NUM_VALUES:
    raise ValueError(
      f"config.group must be 's3', 's4' or 's5', not {config.group!r}"
    )
  if config.warmup_steps >= config.num_steps:
    raise ValueError(
      f'config.warmup_steps={config.warmup_steps} leaves nothing of '
      f'config.num_steps={config.num_steps}'
    )
  if config.noise > 1:
    raise ValueError(f'config.noise is a chance, not {config.noise}')
  if config.embed_dim % (2 * config.num_heads):
    raise ValueError(
      f'config.embed_dim={config.embed_dim} is not a multiple of twice '
      f'config.num_heads={config.num_heads}'
    )


def model_config(config, task):
  """The transformer that fits a task."""
  return models.TransformerConfig(
    vocab_size=task.vocab_size,
    num_layers=config.num_layers,
    embed_dim=config.embed_dim,
    mlp_dim=config.mlp_dim,
    num_heads=config.num_heads,
    num_kv_heads=config.num_heads,
    head_dim=config.embed_dim // config.num_heads,
    max_length=task.prompt_length + task.response_length,
  )


def keep_config(config, workdir):
  """Writes the config; refuses to go on with another one."""
  workdir.mkdir(parents=True, exist_ok=True)
  path = workdir / 'config.json'
  text = json.dumps(config.to_dict(), indent=2, sort_keys=True) + '\n'
  if path.exists() and (old := json.loads(path.read_text())) != json.loads(
    text
  ):
    changed = [k for k in config if old.get(k) != config[k]]
    raise ValueError(
      f'{workdir} holds a run with another config ({", ".join(changed)}); '
      'choose another --workdir'
    )
  path.write_text(text)


def forget_after(path, step):
  """Drops metrics of steps that a killed run did not live to save."""
  if path.exists():
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(''.join(lines[:step]))


def report(config, task, model, params):
  """Prints the sampled accuracy on unseen problems and the closed form."""
  test_task = tasks.on_split(task, 'test', config.test_fraction)
  data_key, sample_key = jax.random.split(jax.random.key(config.seed + 1))
  count = config.num_eval_problems

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
  num_values = _NUM_VALUES[config.group]
  expected = tasks.noisy_chain_accuracy(config.noise, config.length, num_values)
  error = (expected * (1 - expected) / count) ** 0.5
  print(
    f'sampled accuracy {measured:.4f} on {count} unseen problems; closed form '
    f'{expected:.4f}, standard error {error:.4f}'
  )


def parse_flags(argv):
  """Parses flags; a config that cannot be read is one line, no traceback."""
  try:
    return app.parse_flags_with_usage(argv)
  except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    sys.exit(f'pretrain: {" ".join(str(error).split())}')


if __name__ == '__main__':
  app.run(main, flags_parser=parse_flags)
