"""What a fine-tuning leaves behind: the model, curves, held-out accuracy."""

import json
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ttc import finetuning, models, sampling, search, tasks
from ttc.drivers import evaluate as evaluation_run
from ttc.drivers import processes
from ttc.io import files
from ttc.io.learning_curves import save_learning_curves
from ttc.io.paths import AnyPath, local_directory
from ttc.testbeds.calibrated import unseen

if TYPE_CHECKING:
  from ttc.drivers.finetune import Setup

_SMOOTHED = 10  # updates in a running mean


def save(setup: 'Setup', trained: Any) -> None:
  """Writes `workdir/model`, and `workdir/adapter` if there is one."""
  chosen, loaded, workdir = setup.chosen, setup.loaded, setup.workdir
  params = trained
  if chosen.lora_rank:
    saved = finetuning.SavedAdapter(
      trained, chosen.lora_alpha, False, chosen.model
    )
    with local_directory(workdir / 'adapter') as path:
      finetuning.save_peft(path, saved)
    params = finetuning.merge_lora(
      loaded.params, trained, alpha=chosen.lora_alpha
    )
  is_directory = pathlib.Path(loaded.name).is_dir()
  ends = []
  if isinstance(setup.task, tasks.TokenTask):
    ends = [setup.task.eos_id]
  with local_directory(workdir / 'model') as path:
    models.save_safetensors(
      path,
      loaded.config,
      params,
      tokenizer=loaded.tokenizer,
      like=loaded.name if is_directory else None,
      eos_ids=ends,
    )


def sample_text(setup: 'Setup', drawn, rollout) -> str:
  """The first two prompts' first responses, a line each."""
  lines = []
  for p in range(min(2, len(drawn.names))):
    length = int(rollout.responses.lengths[p, 0])
    tokens = np.asarray(rollout.responses.tokens[p, 0, :length])
    reward = float(rollout.rewards[p, 0].sum())  # of all kinds
    asked = setup.problems.show(
      np.asarray(rollout.prompt.tokens[p, : int(rollout.prompt.lengths[p])])
    )
    asked = asked.rstrip().split('\n\n')[-1].replace('\n', ' ')
    answer = setup.problems.show(tokens)
    lines.append(f'  {reward:+.2f}  {asked} -> {answer!r}')
  return '\n'.join(lines)


def draw_curves(workdir: AnyPath) -> None:
  """Writes reward.png and length.png from metrics.jsonl."""
  lines = files.read_lines(workdir / 'metrics.jsonl')
  rows = [json.loads(line) for line in lines]
  updates = np.array([row['update'] for row in rows])
  labels = {
    'reward': 'mean reward of a response',
    'length': 'mean tokens of a response',
  }
  for name, label in labels.items():
    values = np.array([row[name] for row in rows])
    curves = {'each update': (updates, values[:, None])}
    if len(values) >= 2 * _SMOOTHED:
      window = np.ones(_SMOOTHED) / _SMOOTHED
      smooth = np.convolve(values, window, 'valid')[:, None]
      curves[f'mean of {_SMOOTHED}'] = (updates[_SMOOTHED - 1 :], smooth)
    save_learning_curves(
      workdir / f'{name}.png',
      curves,
      title=f'{name} in training',
      label=label,
      steps='updates',
    )


def evaluate(setup: 'Setup', params: Any) -> None:
  """Writes evaluation.json: accuracy and a vote, before and after."""
  if isinstance(setup.task, tasks.TokenTask):
    measure = token_accuracy(setup, setup.task)
    found = {'before': measure(setup.loaded.params), 'after': measure(params)}
  else:
    model = str(setup.workdir / 'model')
    found = {
      'before': text_accuracy(setup, setup.chosen.model, 'before'),
      'after': text_accuracy(setup, model, 'after'),
    }
  if not processes.is_first():
    return
  path = setup.workdir / 'evaluation.json'
  files.write_atomically(path, files.to_json(found, indent=2) + '\n')
  for when, figures in found.items():
    told = ', '.join(f'{name} {x:.3f}' for name, x in figures.items())
    print(f'{when}: {told}')


def token_accuracy(
  setup: 'Setup', task: tasks.TokenTask
) -> Callable[[Any], dict[str, float]]:
  """On problems that nothing was trained on: of a sample, and of a vote.

  A function of parameters, compiled once for those before and after.
  """
  chosen, loaded = setup.chosen, setup.loaded
  data_key, key = jax.random.split(jax.random.key(chosen.seed + 1))

  @jax.jit
  def measure(params):
    problems = unseen(task, data_key, chosen.num_eval_items)
    prompt = tasks.to_prompt(problems)
    responses = sampling.generate(
      params,
      jax.random.split(key, chosen.num_eval_items),
      prompt,
      chosen.num_eval_samples,
      model=loaded.model,
      capacity=setup.problems.capacity,
      stop=setup.problems.stop,
      sampling=sampling.SamplingParams(temperature=chosen.temperature),
    )
    samples = search.observe(prompt, responses, tasks.answer_fn(task, problems))
    vote = lambda samples: (
      search.majority_vote(samples, jnp.int32(chosen.num_eval_samples)).answer
    )
    right = jax.vmap(vote)(samples) == problems.answer
    single = samples.answers == problems.answer[:, None]
    return {
      'accuracy': single.mean(),
      f'vote of {chosen.num_eval_samples}': right.mean(),
      'tokens': responses.lengths.mean(),
    }

  return lambda params: {name: float(x) for name, x in measure(params).items()}


def text_accuracy(setup: 'Setup', model: str, name: str) -> dict[str, float]:
  """On the held-out items, by evaluate.py's own code."""
  chosen, workdir = setup.chosen, setup.workdir / name
  n = chosen.num_eval_samples
  config = {
    'seed': chosen.seed,
    'model': model,
    'dtype': 'float32',
    'tasks': (chosen.task,),
    'task_path': '',
    'num_items': chosen.num_eval_items,
    'task_seed': 0,
    'num_samples': n,
    'temperature': chosen.temperature,
    'top_k': 0,
    'top_p': 1.0,
    'min_p': 0.0,
    'preset': 'hf',
    'max_new_tokens': setup.problems.capacity,
    'methods': ('best_of_n:exact', 'self_consistency'),
    'budgets': tuple(sorted({1, n})),
    'num_permutations': 50,
    'num_resamples': 1000,
    'attention': 'dense',
    'kv_budget': 256,
    'block_size': 16,
    'batch_size': 4,
    'model_parallel': 1,
  }
  evaluation_run.evaluate(config, workdir)
  if not processes.is_first():
    return {}
  lines = files.read_lines(workdir / 'metrics.jsonl')
  rows = {}
  for line in map(json.loads, lines):
    rows.setdefault(line['step'], {}).update(line)
  at = lambda step, what: next(
    x for key, x in rows[step].items() if what in key and 'accuracy' in key
  )
  return {
    'accuracy': at(1, 'onsistency'),
    f'vote of {n}': at(n, 'onsistency'),
    f'coverage of {n}': at(n, 'exact'),
  }
