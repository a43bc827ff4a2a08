"""Fine-tunes a model on a task by its rewards, and shows what it gained.

Three programs an update: roll out on the device, score by the task's own
verifier, step. An update depends on nothing but the state and its number.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import tqdm
from jax.sharding import Mesh

from ttc import finetuning, models, sampling, tasks
from ttc.drivers import (
  devices,
  finetune_layout,
  finetune_report,
  options,
  processes,
  resuming,
  training_files,
)
from ttc.drivers.finetune_options import (
  DPO,
  PRETRAINED,
  FinetuneOptions,
  check,
  token_task,
)
from ttc.drivers.finetune_problems import (
  Problems,
  of_text_task,
  of_token_task,
)
from ttc.drivers.finetune_rollouts import Clock, collect, judged
from ttc.finetuning import TrainState
from ttc.io import files
from ttc.io.paths import AnyPath, as_path, fetched
from ttc.testbeds import Size
from ttc.testbeds.calibrated import pretrained


class Setup(NamedTuple):
  """What a run trains, and on what."""

  chosen: FinetuneOptions
  loaded: models.Loaded
  problems: Problems
  task: tasks.TokenTask | tasks.TextTask
  workdir: AnyPath
  mesh: Mesh | None = None  # over which prompts are spread

  @property
  def adapt(self) -> finetuning.Adapt:
    """From what is frozen and what is trained to parameters."""
    if not self.chosen.lora_rank:
      return finetuning.all_parameters
    alpha = self.chosen.lora_alpha
    return lambda frozen, adapter: finetuning.apply_lora(
      frozen, adapter, alpha=alpha
    )


def finetune(config: Mapping[str, Any], workdir: files.Path) -> None:
  """Trains from the last checkpoint on, saves the model and evaluates it.

  Writes config.json, metrics.jsonl (a line an update), checkpoints, reward.png
  and length.png; at the end `workdir/model`, a Hugging Face directory, with an
  adapter also `workdir/adapter` as peft reads it; and evaluation.json, held-out
  items before and after. After a kill it goes on from the last checkpoint and
  ends with the same parameters, bit for bit.

  Args:
    config: see `FinetuneOptions`.
    workdir: of the run.

  Raises:
    ValueError: for a value that means nothing; if the workdir holds another run
      or is in use; if a reward or the loss is no number any more.
    FileNotFoundError: if a model is not on this machine.
    OSError: if a file cannot be written.
    command.Stopped: on SIGTERM, when a checkpoint is written.
  """
  chosen = options.parse(FinetuneOptions, config)
  check(chosen)
  mesh, workdir = finetune_layout.make_mesh(chosen), as_path(workdir)
  asked, layout = dataclasses.asdict(chosen), finetune_layout.LAYOUT
  with training_files.hold(asked, workdir, layout):
    setup = prepare(chosen, workdir)._replace(mesh=mesh)
    finetune_layout.check_model(chosen, setup.loaded.config)
    setup = finetune_layout.on_all_devices(setup)
    if chosen.overlong_cache > setup.problems.capacity:
      raise ValueError(
        f'config.overlong_cache={chosen.overlong_cache} is longer than a '
        f'response, {setup.problems.capacity} tokens'
      )
    trained = finetune_layout.fetch(setup, train(setup).params)
    loaded = finetune_layout.fetch(setup, setup.loaded.params)
    setup = setup._replace(loaded=setup.loaded._replace(params=loaded))
    if processes.is_first():
      finetune_report.save(setup, trained)
      finetune_report.draw_curves(workdir)
    processes.wait_for_all('saved')
    finetune_report.evaluate(setup, setup.adapt(loaded, trained))


def prepare(chosen: FinetuneOptions, workdir: AnyPath) -> Setup:
  """Loads or trains the model that is to be fine-tuned, and its task."""
  if not chosen.is_token_task:
    number = chosen.num_eval_items + chosen.num_items
    task = tasks.load(chosen.task, num_items=number)
    loaded = load_model(chosen)
    held_out = {item.question for item in task.items[: chosen.num_eval_items]}
    items = [item for item in task.items if item.question not in held_out]
    if len(items) < chosen.num_prompts:
      raise ValueError(
        f'{chosen.task} has {len(items)} items that are not held out, fewer '
        f'than config.num_prompts={chosen.num_prompts}'
      )
    problems = of_text_task(task, items, loaded, chosen)
    return Setup(chosen, loaded, problems, task, workdir)
  task = token_task(chosen)
  if chosen.model == PRETRAINED:
    size = Size('run', num_steps=chosen.pretrain_steps)
    cache = workdir / 'base'
    loaded = pretrained(chosen.task, task, 2, 64, chosen.seed, size, cache)
  else:
    loaded = load_model(chosen)
  if loaded.model.vocab_size != task.vocab_size:
    raise ValueError(
      f'config.model={chosen.model!r} has {loaded.model.vocab_size} tokens, '
      f'{task.name} {task.vocab_size}'
    )
  problems = of_token_task(task, chosen)
  return Setup(chosen, loaded, problems, task, workdir)


def load_model(chosen: FinetuneOptions) -> models.Loaded:
  """The model that the config names; ValueError if it cannot be trained."""
  loaded = models.load(fetched(chosen.model))
  if loaded.config is not None and loaded.config.quantization is not None:
    raise ValueError(
      f'config.model={chosen.model!r} is in {loaded.config.quantization}; what '
      'is trained must be in floats'
    )
  return loaded


def train(setup: Setup) -> TrainState:
  """The trained state; goes on from the last checkpoint."""
  chosen, workdir = setup.chosen, setup.workdir
  metrics_path = workdir / 'metrics.jsonl'
  clock = Clock()
  lines = []
  with resuming.open_run(workdir, 'update') as run:
    state, done = start(setup, run), run.done
    roll_out, update = programs(setup, state)
    training_files.forget_after(metrics_path, done)
    bar = run.progress(chosen.num_updates, done, 'update')
    while done < chosen.num_updates:
      drawn, rollout, filled, told = collect(
        setup, roll_out, state, done, clock
      )
      more = judged(setup, drawn, rollout, clock)
      state, metrics = clock.time(
        'update', update, state, setup.loaded.params, rollout, filled, *more
      )
      done += 1
      seen = jax.device_get(metrics | told)  # all of them at once
      metrics = {name: float(x) for name, x in seen.items()}
      if not np.isfinite(metrics['loss']):
        raise ValueError(
          f'the loss of update {done} is {metrics["loss"]}; a smaller '
          'config.learning_rate may help'
        )
      lines.append({'update': done, **metrics})
      bar.set_postfix(
        reward=f'{metrics["reward"]:.3f}', length=f'{metrics["length"]:.1f}'
      )
      bar.update()
      is_due = done % chosen.checkpoint_every == 0
      if run.is_told() or is_due or done == chosen.num_updates:
        training_files.append(metrics_path, lines)
        lines = []
        shown = devices.fetch(rollout)
        if processes.is_first():
          tqdm.tqdm.write(finetune_report.sample_text(setup, drawn, shown))
        run.save(done, state)
  if clock.seconds and processes.is_first():
    print(clock.report())
  return state


def start(setup: Setup, run: resuming.Run) -> TrainState:
  """The state before the first update, or of the last checkpoint."""
  chosen = setup.chosen

  # Where the parameters lie, so that no update is compiled twice.
  @functools.partial(jax.jit, keep_unused=True)
  def init_all(params, key):
    def init(key):
      if chosen.lora_rank:
        return finetuning.init_lora(key, params, chosen.lora_rank)
      return params

    return finetuning.init_state(init, chosen.optimizer, key)

  given = setup.loaded.params, chosen.keys[0]
  shapes = jax.eval_shape(init_all, *given)
  places = finetune_layout.state_places(setup, shapes)
  return run.start(init_all, places, *given)


def programs(setup: Setup, state: TrainState) -> tuple[Any, Any]:
  """Compiled: `(state, frozen, keys, prompt) -> responses`, and the update."""
  chosen, problems = setup.chosen, setup.problems
  half = chosen.dtype != 'float32'
  config = dataclasses.replace(setup.loaded.config, dtype=chosen.dtype)
  dtype = chosen.dtype if half else None
  model = models.transformer(config)

  @jax.jit
  def roll_out(state, frozen, keys, prompt):
    params = setup.adapt(frozen, state.params)
    params = finetuning.in_precision(params, dtype)
    return sampling.generate(
      finetune_layout.to_sample(setup, params),
      keys,
      prompt,
      chosen.group_size,
      model=model,
      capacity=problems.capacity,
      stop=problems.stop,
      sampling=sampling.SamplingParams(temperature=chosen.temperature),
    )

  whole_rows = dataclasses.replace(config, many_rows=True)  # faster to train
  model = models.transformer(whole_rows, remat=chosen.remat)
  update = (_dpo if chosen.objective == DPO else _policy_gradient)(setup, model)
  places = None
  if setup.mesh is not None:
    whole = devices.everywhere(setup.mesh)
    places = finetune_layout.state_places(setup, state), whole
  return roll_out, jax.jit(update, donate_argnums=0, out_shardings=places)


def _policy_gradient(setup: Setup, model: models.LanguageModel):
  """The update of a policy gradient, `(state, frozen, rollout, filled)`."""
  chosen = setup.chosen
  update = finetuning.make_policy_update(
    model,
    chosen.optimizer,
    chosen.loss,
    adapt=setup.adapt,
    temperature=chosen.temperature,
    num_epochs=chosen.num_epochs,
    num_micro_batches=chosen.num_micro_batches,
    group_parts=chosen.group_parts,
    dtype=None if chosen.dtype == 'float32' else chosen.dtype,
  )
  return lambda state, frozen, rollout, filled: update(
    state, frozen, rollout, is_filled=filled
  )


def _dpo(setup: Setup, model: models.LanguageModel):
  """The same for the best and the worst of each group.

  Of equals that is the first; where they were judged, the one with most points,
  of those that give an answer.
  """
  chosen = setup.chosen
  update = finetuning.make_dpo_update(
    model,
    chosen.optimizer,
    beta=chosen.dpo_beta,
    adapt=setup.adapt,
    temperature=chosen.temperature,
    num_epochs=chosen.num_epochs,
    num_micro_batches=chosen.num_micro_batches,
    dtype=None if chosen.dtype == 'float32' else chosen.dtype,
  )

  def learn(state, frozen, rollout, filled, judged=None):
    rewards = rollout.rewards.reshape(*rollout.responses.lengths.shape, -1)
    total = rewards.sum(axis=-1)
    of = finetuning.is_alive(total)[:, None] & filled[:, None]
    points = ()
    if judged is not None:
      of, points = of & judged.answers, (judged.as_right, judged.as_wrong)
    pairs = finetuning.pick_pairs(
      of & (total == total.max(axis=1, keepdims=True)),
      of & (total == total.min(axis=1, keepdims=True)),
      *points,
    )
    state, metrics = update(
      state,
      frozen,
      finetuning.preferences(rollout.prompt, rollout.responses, pairs),
    )
    told = finetuning.rollout_metrics(rollout) | {'pairs': pairs.is_pair.mean()}
    return state, metrics | told

  return learn
