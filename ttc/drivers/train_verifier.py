"""Trains the head of a verifier on the records of an evaluation.

The policy that drew the responses also reads them; a head learns from what it
thinks at the end of a response (`outcome`), or of each step (`process`), with
labels that cost no human: final answers, and continuations. Some items are held
out, and what best-of-N by the verifier gains on them over the policy's own mean
log-probability is what the report says. Three stages, each kept on disk:

  continuations, features, and the head, from its last checkpoint on.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm

from ttc import evaluation, finetuning, models, verifiers
from ttc.drivers import (
  options,
  resuming,
  training_files,
  verifier_examples,
)
from ttc.drivers.options import option
from ttc.drivers.verifier_examples import Run
from ttc.io import files
from ttc.io.paths import AnyPath, as_path, fetched, local_directory
from ttc.types import Params

_whole, _real = options.whole, options.real
_EVERY = 100  # steps from one checkpoint to the next


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainVerifierOptions:
  """Of one training; configs/train_verifier.py explains each."""

  run: str = option(options.text())
  head: str = option(options.one_of(('outcome', 'process')))
  two_layers: bool = option(options.truth())
  num_layers: int = option(_whole())
  split: str = option(options.text(empty=True))
  end: str = option(options.text(empty=True))
  num_rollouts: int = option(_whole(1, 1000))
  num_held_out: int = option(_whole(1))
  seed: int = option(options.seed())
  num_steps: int = option(_whole(1))
  batch_size: int = option(_whole(1))
  learning_rate: float = option(_real(0.0, 10.0, above=True))
  decay: float = option(_real(0.0, 1000.0))


def train_verifier(config: Mapping[str, Any], workdir: files.Path) -> None:
  """Labels, reads, trains, writes the verifier and says what it is worth.

  Writes config.json, rollouts.jsonl, features/, checkpoints/, metrics.jsonl,
  verifier/ (which `load_verifier` reads), held_out.jsonl and report.md. After a
  kill it goes on where it was.

  Args:
    config: see `TrainVerifierOptions`.
    workdir: of the training.

  Raises:
    ValueError: for a value that means nothing; if the workdir holds another
      training or is in use.
    FileNotFoundError: if there is no such run.
  """
  chosen = options.parse(TrainVerifierOptions, config)
  if chosen.head == 'process' and not chosen.split:
    raise ValueError(
      "config.split='' must be a text that separates the steps of a process"
    )
  run = verifier_examples.read_run(chosen.run)
  learn, held_out = verifier_examples.split_items(
    run, chosen.num_held_out, chosen.seed
  )
  workdir = as_path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  asked = dataclasses.asdict(chosen) | {'records': run.digest}
  with training_files.hold(asked, workdir):
    _run(chosen, run, learn, held_out, workdir)


def _run(chosen, run: Run, learn, held_out, workdir: AnyPath) -> None:
  source = fetched(run.config['model'])
  loaded = models.load(source, dtype=run.config['dtype'], scan_layers=True)
  if loaded.tokenizer is None:
    raise ValueError(f'{source} has no tokenizer')
  reader = verifier_examples.first_layers(loaded, chosen.num_layers)
  name, kind = _kind(chosen, run)
  if kind.messages[0][0] != 'text' and not (
    os.path.isdir(source) and loaded.tokenizer.layout is not None
  ):
    raise ValueError(
      f'{chosen.run} is a run of chats: its verifier needs a model from a '
      f'directory with a known chat template, not {source}'
    )
  (workdir / 'metrics.jsonl').touch()  # begun: features are of this config
  labels = verifier_examples.label_steps(
    run, learn, kind, loaded, workdir, chosen.num_rollouts, chosen.seed
  )
  write = verifiers.Writer(
    kind, loaded.tokenizer, None, loaded.tokenizer.bos_ids
  )
  features = verifier_examples.read_features(
    run, [*learn, *held_out], write, reader, workdir
  )
  rows = [
    (x, y, 1 / len(ys))
    for item in learn
    for example, xs, ys in zip(
      run.examples[item], features[item], labels[item], strict=True
    )
    for x, y in zip(xs, ys, strict=True)
  ]
  data = tuple(
    np.array(column, np.float32) for column in zip(*rows, strict=True)
  )
  head = _train(chosen, data, workdir)
  with local_directory(workdir / 'verifier') as path:
    verifiers.save_verifier(
      path,
      name,
      kind,
      reader.config,
      {'model': reader.params, 'head': head},
      loaded.tokenizer,
      like=source if os.path.isdir(source) else None,
    )
  _report(chosen, run, kind, head, features, held_out, workdir)


def _kind(chosen: TrainVerifierOptions, run: Run):
  """The kind to be trained: read where the policy's own text ends a step."""
  name = 'qwen_process' if chosen.two_layers else 'token_classification'
  is_chat = any(task.is_chat for task, _ in run.items.values())
  end = chosen.end.replace('{', '{{').replace('}', '}}')
  split = chosen.split if chosen.head == 'process' else ''
  behind = split.replace('{', '{{').replace('}', '}}')
  last = '{steps}' + end + ('{read}' if not split else '')
  return name, verifiers.KINDS[name]._replace(
    messages=[['user', '{problem}'], ['assistant', last]]
    if is_chat
    else [['text', '{problem}' + last]],
    split=split,
    strip=False,
    step='{step}' + (behind + '{read}' if split else ''),
    mark='',
    front='tokenizer',
    aggregate='last',
  )


def _train(chosen: TrainVerifierOptions, data, workdir: AnyPath):
  """The head; goes on from the last checkpoint."""
  x, labels, weights = data
  mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
  x, labels = jnp.asarray((x - mean) / scale), jnp.asarray(labels)
  chances = jnp.asarray(weights / weights.sum())
  D = x.shape[1]

  def init(key):
    head: Params = {'kernel': jnp.zeros(D), 'bias': jnp.zeros(())}
    if chosen.two_layers:
      first, second = jax.random.split(key)
      kernel = jax.random.normal(first, (D, D)) / D**0.5
      head['hidden'] = {'kernel': kernel, 'bias': jnp.zeros(D)}
      head['kernel'] = jax.random.normal(second, (D,)) / D
    return head

  def loss_fn(head, index):
    logits = verifiers.head_logits(head, x[index])
    counts = jnp.ones(index.shape, bool)
    kernels = [leaf for leaf in jax.tree.leaves(head) if leaf.ndim > 0]
    size = sum(jnp.sum(jnp.square(kernel)) for kernel in kernels)
    loss = verifiers.cross_entropy(logits, labels[index], counts)
    return loss + 0.5 * chosen.decay * size

  def batch_fn(key):
    return jax.random.choice(key, len(x), (chosen.batch_size,), p=chances)

  optimizer = optax.adam(
    optax.cosine_decay_schedule(chosen.learning_rate, chosen.num_steps)
  )
  step = finetuning.make_train_step(loss_fn, optimizer)
  start = lambda: finetuning.init_state(
    init, optimizer, jax.random.key(chosen.seed)
  )
  path = workdir / 'metrics.jsonl'
  with resuming.open_run(workdir, 'step') as run:
    state, done = run.start(start), run.done
    training_files.forget_after(path, done)
    reports = finetuning.train(step, batch_fn, state, chosen.num_steps, _EVERY)
    head = state.params
    bar = run.progress(chosen.num_steps, done, 'step')
    for after, metrics in reports:
      losses = np.asarray(metrics['loss'])
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
      done += len(losses)
      head = jax.device_get(after.params)
      bar.update(len(losses))
      bar.set_postfix(loss=f'{losses.mean():.3f}')
      run.save(done, after)
  return _unscaled(jax.device_get(head), mean, scale)


def _unscaled(head, mean, scale):
  """The head for features as they are, and not `(x - mean) / scale`."""
  first = head.get('hidden', head)
  kernel = first['kernel'] / scale
  first = {'kernel': kernel, 'bias': first['bias'] - kernel @ mean}
  return {**head, 'hidden': first} if 'hidden' in head else first


def _report(
  chosen, run: Run, kind, head, features, held_out: Sequence[str], workdir
) -> None:
  """Best-of-N on the items that were held out, by whom it is chosen."""
  lines, right = [], {'verifier': [], 'log-probability': [], 'any': []}
  one = lambda x: float(
    verifiers.aggregate_steps(
      jax.nn.sigmoid(verifiers.head_logits(head, jnp.asarray(x))),
      jnp.ones(len(x), bool),
      kind.aggregate,
    )
  )
  for name in held_out:
    scores = {
      index: one(x)
      for example, x in zip(run.examples[name], features[name], strict=True)
      for index in example.indices
    }
    rows, correct = run.samples[name], run.correct[name]
    mine = np.array([scores[row.sample_idx] for row in rows])
    own = np.array([row.mean_logprob for row in rows])
    right['verifier'].append(float(correct[np.argmax(mine)]))
    right['log-probability'].append(float(correct[np.argmax(own)]))
    right['any'].append(float(correct.any()))
    lines += [
      files.to_json(
        {
          'item_id': name,
          'sample_idx': row.sample_idx,
          'score': float(score),
          'mean_logprob': row.mean_logprob,
          'correct': bool(z),
        }
      )
      for row, score, z in zip(rows, mine, correct, strict=True)
    ]
  files.write_atomically(workdir / 'held_out.jsonl', '\n'.join([*lines, '']))
  text = _table(right, len(run.samples[held_out[0]]))
  files.write_atomically(workdir / 'report.md', text)
  tqdm.tqdm.write(text)
  tqdm.tqdm.write(f'wrote {workdir}/verifier and {workdir}/report.md')


def _table(right: Mapping[str, Sequence[float]], num_samples: int) -> str:
  """Accuracies with their intervals, over items."""
  arrays = {name: jnp.array(x, jnp.float32) for name, x in right.items()}
  say = lambda mean, ends: (
    f'{100 * mean:.1f} [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]'
  )
  rows = []
  for name, x in arrays.items():
    found = evaluation.mean_and_standard_error(x)
    rows.append(
      f'| {name} | {say(found.mean, evaluation.confidence_interval(found))} |'
    )
  gap = evaluation.paired_difference(
    arrays['verifier'], arrays['log-probability']
  ).difference
  ends = evaluation.confidence_interval(gap)
  wins = float(ends[0]) > 0
  return '\n'.join(
    [
      f'# Best of {num_samples} on {len(arrays["any"])} held-out items',
      '',
      '| chosen by | right, % |',
      '| --- | --- |',
      *rows,
      '',
      f'Verifier less log-probability: {say(gap.mean, ends)} points; it '
      f"{'beats' if wins else 'does not beat'} the model's own confidence.",
      '',
    ]
  )
