"""What a verifier learns from: the records of an evaluation, read once.

Every different response of an item is one example. Its label is the share of
its samples that were right; the label of a step before the last is the share of
the policy's own continuations that are, see `ttc/verifiers/rollouts.py`. Nobody
labels anything. Continuations are lines of `rollouts.jsonl`, features files of
`features/`, one an item: what is there is not made again.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from ttc import evaluation, models, sampling, tasks, verifiers
from ttc.drivers import journal, runs
from ttc.evaluation import SampleRecord, ScoreRecord
from ttc.io import files
from ttc.io.arrays import read_arrays, write_arrays
from ttc.io.paths import AnyPath, as_path, fetched
from ttc.search import prompt_tokens
from ttc.types import FinishReason

_AT_ONCE = 8  # items whose continuations are drawn together


class Example(NamedTuple):
  """A response of an item.

  Attributes:
    text: of the response.
    indices: samples that are it.
    correct: share of them that is right.
  """

  text: str
  indices: tuple[int, ...]
  correct: float


class Run(NamedTuple):
  """What an evaluation left behind.

  Attributes:
    config: of the evaluation.
    items: by their ids, each with its task.
    examples: of each item, by its id, in the order of their texts.
    samples: of each item, in the order of their indices.
    correct: whether each is right, in the same order.
    digest: of all of it.
  """

  config: Mapping
  items: dict[str, tuple[tasks.TextTask, tasks.Item]]
  examples: dict[str, list[Example]]
  samples: dict[str, list[SampleRecord]]
  correct: dict[str, np.ndarray]
  digest: str


def read_run(directory: files.Path) -> Run:
  """Reads an evaluation that has been drawn and graded.

  Raises:
    FileNotFoundError: if there is none.
    ValueError: if a sample has no grade, or no item.
  """
  directory = as_path(directory)
  if not (directory / 'run.json').exists():
    raise FileNotFoundError(
      f'{directory}/run.json: no such file; scripts/evaluate.py makes one'
    )
  config = runs.read_run(directory).config
  items = {}
  for name in config['tasks']:
    task = tasks.load(
      name,
      num_items=config['num_items'],
      seed=config['task_seed'],
      path=fetched(config['task_path']) or None,
    )
    items |= {item.id: (task, item) for item in task.items}
  grades = {
    (score.item_id, score.sample_idx): score.score >= 1
    for score in journal.read_records(directory, ScoreRecord)
  }
  samples: dict[str, list[SampleRecord]] = {}
  for record in journal.read_records(directory, SampleRecord):
    for known, what in ((items, record.item_id), (grades, record.key)):
      if what not in known:
        raise ValueError(
          f'{directory}: sample {record.key} has no '
          f'{"item" if known is items else "grade"}; run evaluate.py again'
        )
    samples.setdefault(record.item_id, []).append(record)
  if not samples:
    raise ValueError(f'{directory}: there is no sample')
  for rows in samples.values():
    rows.sort(key=lambda record: record.sample_idx)
  correct = {
    name: np.array([grades[record.key] for record in rows])
    for name, rows in samples.items()
  }
  examples = {name: _examples(samples[name], correct[name]) for name in samples}
  facts = [repr((name, examples[name])) for name in sorted(examples)]
  digest = runs.hash_texts(*facts)
  return Run(config, items, examples, samples, correct, digest)


def _examples(rows: Sequence[SampleRecord], correct) -> list[Example]:
  """The different responses of an item."""
  of_text: dict[str, list[int]] = {}
  for n, record in enumerate(rows):
    of_text.setdefault(record.completion, []).append(n)
  return [
    Example(
      text,
      tuple(rows[n].sample_idx for n in places),
      float(np.mean(correct[places])),
    )
    for text, places in sorted(of_text.items())
  ]


def split_items(run: Run, num_held_out: int, seed: int) -> tuple[list, list]:
  """Ids of items to learn from, and of those held out.

  Raises:
    ValueError: if none is left to learn from.
  """
  names = sorted(
    run.examples,
    key=lambda name: hashlib.sha256(f'{seed}/{name}'.encode()).digest(),
  )
  if num_held_out >= len(names):
    raise ValueError(
      f'config.num_held_out={num_held_out} must be below the {len(names)} '
      'items of the run'
    )
  return names[num_held_out:], names[:num_held_out]


def problem_text(run: Run, name: str) -> str:
  """What the verifier is shown of an item: what the policy was."""
  task, item = run.items[name]
  return task.prompt(item)


def label_steps(
  run: Run,
  names: Sequence[str],
  kind: verifiers.Kind,
  loaded: models.Loaded,
  workdir: AnyPath,
  num_rollouts: int,
  seed: int,
) -> dict[str, list[np.ndarray]]:
  """The label of each step of each example.

  Args:
    run: of the policy.
    names: of the items.
    kind: says what the steps are.
    loaded: the policy.
    workdir: where continuations are kept.
    num_rollouts: continuations of each step but a last one.
    seed: of the continuations.

  Returns:
    For each item and example, shares in [0, 1] by step.
  """
  labels, wanted = {}, []
  for name in names:
    labels[name] = []
    for example in run.examples[name]:
      steps = verifiers.split_steps(kind, example.text)
      labels[name].append(np.full(len(steps), example.correct))
      wanted += [
        (name, len(labels[name]) - 1, k, kind.split.join(steps[: k + 1]))
        for k in range(len(steps) - 1)
      ]
  if not wanted:
    return labels
  kept = journal.Journal(workdir / 'rollouts.jsonl')
  what = lambda name, text: {'item': name, 'prefix': text}
  missing = [w for w in wanted if what(w[0], w[3]) not in kept]
  with tqdm.tqdm(total=len(missing), unit=' steps') as bar:
    bar.set_description('continuations')
    for (name, *_, text), value in _continue(
      run, missing, kind, loaded, num_rollouts, seed
    ):
      if what(name, text) not in kept:  # two responses may share a beginning
        kept.append(what(name, text), value=value)
      bar.update()
  for name, index, k, text in wanted:
    labels[name][index][k] = kept[what(name, text)]['value']
  return labels


def _continue(
  run: Run, wanted, kind, loaded, num_rollouts, seed
) -> Iterator[tuple[tuple, float]]:
  """Each beginning of a response with the share of continuations right."""
  tokenizer, model = loaded.tokenizer, loaded.model
  by_task: dict[str, list] = {}
  for one in wanted:
    by_task.setdefault(run.items[one[0]][0].name, []).append(one)
  for ones in by_task.values():
    task = run.items[ones[0][0]][0]
    capacity = run.config['max_new_tokens'] or task.max_new_tokens
    problems = []
    for name, *_, text in ones:
      tokens = tokenizer.encode(text + kind.split)
      front = prompt_tokens(tokenizer, task, run.items[name][1])
      key = evaluation.problem_key(seed, f'{name}/{text}')
      problem = sampling.Request([*front, *tokens], key, range(num_rollouts))
      problems.append(problem)
    for index, drawn, _ in sampling.decode_stream(
      loaded.params,
      problems,
      model=model,
      capacity=capacity,
      stop=sampling.stop_at_texts(tokenizer, model.vocab_size, task.stop),
      num_slots=_AT_ONCE,
      sampling=sampling.SamplingParams(
        temperature=run.config['temperature'],
        top_k=run.config['top_k'],
        top_p=run.config['top_p'],
        min_p=run.config['min_p'],
        preset=run.config['preset'],
      ),
    ):
      name, *_, text = ones[index]
      item = run.items[name][1]
      right = []
      for n in range(num_rollouts):
        reason = drawn.finish_reasons[n]
        ids = drawn.tokens[n, : drawn.lengths[n]]
        rest = sampling.response_text(tokenizer, ids, reason, task.stop)
        grade = task.grade(item, text + kind.split + rest)
        is_whole = reason == FinishReason.STOP
        right.append(is_whole and grade.score >= 1)
      yield ones[index], float(np.mean(right))


def first_layers(loaded: models.Loaded, num_layers: int) -> models.Loaded:
  """A model without its last layers; what they would say no head needs.

  Args:
    loaded: the model.
    num_layers: how many stay; 0 for all.

  Returns:
    The model, whose final norm follows the last layer that stays.

  Raises:
    ValueError: if it has not so many.
  """
  config, layers = loaded.config, loaded.params['layers']
  if num_layers > config.num_layers:
    raise ValueError(
      f'config.num_layers={num_layers} must be at most the '
      f'{config.num_layers} of {loaded.name}'
    )
  if num_layers in (0, config.num_layers):
    return loaded
  differing = config.experts, config.windowed_layers, config.rotary_layers
  if any(x is not None for x in differing):
    raise ValueError(
      f'config.num_layers={num_layers} must be 0 for {loaded.name}, whose '
      'layers differ'
    )
  config = dataclasses.replace(config, num_layers=num_layers)
  layers = (
    jax.tree.map(lambda x: x[:num_layers], layers)
    if config.scan_layers
    else layers[:num_layers]
  )
  return loaded._replace(
    model=models.transformer(config),
    config=config,
    params={**loaded.params, 'layers': layers},
  )


def read_features(
  run: Run,
  names: Sequence[str],
  write: verifiers.Writer,
  loaded: models.Loaded,
  workdir: AnyPath,
) -> dict[str, list[np.ndarray]]:
  """What a head reads of each step of each example, `[steps, D]`.

  Args:
    run: whose responses are read.
    names: of the items.
    write: texts to tokens.
    loaded: the model that reads.
    workdir: where features are kept.

  Returns:
    For each item and example its features by step.
  """
  rows = {
    name: [write(problem_text(run, name), e.text) for e in run.examples[name]]
    for name in names
  }
  folder = workdir / 'features'
  path_of = lambda name: (
    folder / f'{hashlib.sha256(name.encode()).hexdigest()[:16]}.npz'
  )
  missing = [name for name in names if not path_of(name).exists()]
  missing.sort(key=lambda name: len(rows[name]))  # alike: few are filled up
  read = jax.jit(functools.partial(verifiers.step_features, loaded.model))
  with tqdm.tqdm(total=len(missing), unit=' items', desc='reading') as bar:
    for begin in range(0, len(missing), _AT_ONCE):
      batch = missing[begin : begin + _AT_ONCE]
      reading = _arranged([rows[name] for name in batch])
      on_device = jax.tree.map(jnp.asarray, reading)
      features = np.asarray(read(loaded.params, on_device))
      for row, name in enumerate(batch):
        own = features[row][reading.is_step[row]]
        total = sum(len(w.reads) for w in rows[name])
        write_arrays(path_of(name), {'features': own[:total]})
      bar.update(len(batch))
  found = {}
  for name in names:
    counts = np.cumsum([len(w.reads) for w in rows[name]])[:-1]
    found[name] = np.split(read_arrays(path_of(name))['features'], counts)
  return found


def _arranged(rows: list[list[verifiers.Written]]) -> verifiers.Reading:
  """Items of one batch, filled up with copies to one of few shapes."""
  most = -(-max(map(len, rows)) // 4) * 4
  rows = rows + rows[:1] * (_AT_ONCE - len(rows))
  return verifiers.arrange([r + r[:1] * (most - len(r)) for r in rows])
