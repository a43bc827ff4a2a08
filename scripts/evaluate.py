"""Draws samples, grades them, and shows accuracy against compute.

  python scripts/evaluate.py --config=configs/smollm2_arithmetic.py \\
      --workdir=runs/smollm2 --config.num_samples=64

Four stages, each a function of what the one before wrote into the workdir:

  sample     model and tasks  -> run.json, samples.jsonl
  grade      samples.jsonl    -> scores.jsonl
  aggregate  both             -> metrics.jsonl
  report     the curves       -> report.md, scaling.png

Only the first touches the model. It can be killed at any time and run again: it
goes on with the (item, sample) pairs that are missing, and since a sample
depends on nothing but the seed, its problem and its index, the records are the
same. With --distributed each process takes its share of the items.
"""

import functools
import hashlib
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from absl import app, flags, logging
from ml_collections import config_flags

from ttc import evaluation, io, models, sampling, search, tasks
from ttc.evaluation import SampleRecord, ScoreRecord
from ttc.kernels import block_topk
from ttc.scaling import costs, kinetics
from ttc.types import FinishReason

_CONFIG = config_flags.DEFINE_config_file(
  'config', 'configs/smollm2_arithmetic.py', lock_config=True
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory for all output.')
_ALLOW_CONFIG_CHANGE = flags.DEFINE_bool(
  'allow_config_change', False, 'Resume although the configuration differs.'
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed', False, 'Start jax.distributed and share the items.'
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator', None, 'HOST:PORT of process 0; found by itself on TPU pods.'
)
_NUM_PROCESSES = flags.DEFINE_integer('num_processes', None, 'In all.')
_PROCESS_ID = flags.DEFINE_integer('process_id', None, 'Of this one.')
flags.mark_flag_as_required('workdir')

_VERIFIERS = ('log_prob', 'exact')
_GRADER_VERSION = '1'


def main(argv):
  """Runs the four stages; bad input is one line and exit status 1."""
  logging.set_verbosity(logging.WARNING)
  if len(argv) > 1:
    sys.exit(f'evaluate: unexpected argument {argv[1]!r}')
  io.enable_compilation_cache()
  if _DISTRIBUTED.value:
    jax.distributed.initialize(
      _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
    )
  try:
    run(_CONFIG.value, pathlib.Path(_WORKDIR.value))
  except (ValueError, OSError, ImportError) as error:
    sys.exit(f'evaluate: {" ".join(str(error).split())}')


def run(config, workdir):
  """Samples, grades, aggregates and reports."""
  methods = check(config)
  todo = [load_task(config, name) for name in config.tasks]
  start(config, workdir)
  sample(config, workdir, todo)
  if jax.process_count() > 1:
    barrier('sampled')
  if jax.process_index() == 0:
    evaluation.merge_shards(workdir, SampleRecord)
    grade(workdir, todo)
    curves = aggregate(config, workdir, todo, methods)
    report(config, workdir, curves)
  if jax.process_count() > 1:
    barrier('reported')


def check(config):
  """Refuses values that mean nothing; returns (label, select, verifier)s."""
  for name in ('num_samples', 'num_items', 'batch_size', 'num_permutations'):
    if config[name] < 1:
      raise ValueError(f'{name}={config[name]} must be at least 1')
  wrong = [n for n in config.budgets if not 1 <= n <= config.num_samples]
  if wrong or not config.budgets:
    raise ValueError(
      f'budgets={wrong} must be numbers of samples, '
      f'1 to num_samples={config.num_samples}'
    )
  sampling.check_sampling_params(sampling_params(config))
  attention_of(config)
  known = {m.name: m for m in search.METHODS if m.select is not None}
  methods = []
  for text in config.methods:
    name, _, verifier = text.partition(':')
    if name not in known:
      raise ValueError(f'method {name!r} is not one of {sorted(known)}')
    if verifier and verifier not in _VERIFIERS:
      raise ValueError(f'verifier {verifier!r} is not one of {_VERIFIERS}')
    label = known[name].title + (f', {verifier} verifier' if verifier else '')
    methods.append((label, known[name].select, verifier or 'log_prob'))
  return methods


def sampling_params(config):
  """The law that samples are drawn from."""
  return sampling.SamplingParams(
    config.temperature, config.top_k, config.top_p, config.min_p
  )


def attention_of(config):
  """What decoding attends to; None for everything."""
  if config.attention == 'dense':
    return None
  rules = {
    name: rule
    for name, rule in vars(block_topk).items()
    if isinstance(rule, block_topk.SelectionRule)
  }
  if config.attention not in rules:
    known = ['dense', *sorted(rules)]
    raise ValueError(f'attention {config.attention!r} is not one of {known}')
  return models.SparseAttention(
    rules[config.attention], config.block_size, config.kv_budget
  )


def load_task(config, name):
  """A text task of the configured size."""
  return tasks.load(
    name,
    num_items=config.num_items,
    seed=config.task_seed,
    path=config.task_path or None,
  )


def start(config, workdir):
  """Writes run.json, or checks that it is of this configuration."""
  if jax.process_index() == 0:
    evaluation.start_run(
      workdir,
      config.to_dict(),
      config.seed,
      dtype=config.dtype,
      model={'name': config.model},
      allow_config_change=_ALLOW_CONFIG_CHANGE.value,
    )
  if jax.process_count() > 1:
    barrier('started')


def sample(config, workdir, todo):
  """Draws the samples that the workdir lacks."""
  done = evaluation.recorded_keys(workdir, SampleRecord)
  missing = {
    item.id: [j for j in range(config.num_samples) if (item.id, j) not in done]
    for task in todo
    for item in sampling.share(
      task.items, jax.process_index(), jax.process_count()
    )
  }
  if not any(missing.values()):
    return
  loaded = models.load(config.model, dtype=config.dtype)
  if loaded.tokenizer is None:
    raise ValueError(f'{config.model} has no tokenizer')
  params, place = put_on_devices(config, loaded.params)
  total = sum(map(len, missing.values()))
  with tqdm.tqdm(total=total, unit=' samples', dynamic_ncols=True) as bar:
    for task in todo:
      bar.set_description(task.name)
      items = [item for item in task.items if missing.get(item.id)]
      draw_task(
        config, workdir, task, items, missing, loaded, params, place, bar
      )


def draw_task(
  config, workdir, task, items, missing, loaded, params, place, bar
):
  """Draws what is missing of one task and appends it batch by batch."""
  tokenizer, model = loaded.tokenizer, loaded.model
  if attention := attention_of(config):
    model = models.transformer(loaded.config, attention)
  capacity = config.max_new_tokens or task.max_new_tokens
  prompts = [encode(tokenizer, task, item) for item in items]
  problems = [
    sampling.Problem(
      tokens, evaluation.problem_key(config.seed, item.id), missing[item.id]
    )
    for tokens, item in zip(prompts, items, strict=True)
  ]
  sample_fn = functools.partial(
    sampling.generate,
    model=model,
    capacity=capacity,
    stop=sampling.stop_at_texts(tokenizer, model.vocab_size, task.stop),
    sampling=sampling_params(config),
    preset=config.preset,
  )
  shape = costs.model_shape(loaded.config, models.num_params(loaded.params))
  tokens, began = 0, time.perf_counter()
  for indices, generation in sampling.decode_batches(
    params,
    problems,
    sample_fn,
    config.num_samples,
    config.batch_size,
    model.max_length - capacity,
    place,
  ):
    records = []
    for row, index in enumerate(indices):
      ids = problems[index].sample_ids
      one = jax.tree.map(lambda x: x[row, : len(ids)], generation)  # noqa: B023
      records += to_records(
        config, items[index], prompts[index], ids, one, tokenizer, shape
      )
    evaluation.append_records(
      workdir,
      records,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )
    tokens += sum(record.completion_tokens for record in records)
    rate = tokens / (time.perf_counter() - began)
    bar.set_postfix_str(f'{rate:.0f} tokens/s')
    bar.update(len(records))


def encode(tokenizer, task, item):
  """Token ids of the prompt of an item."""
  text = task.prompt(item)
  if task.is_chat:
    return tokenizer.chat([{'role': 'user', 'content': text}])
  return tokenizer.encode(text)


def to_records(config, item, prompt, ids, generation, tokenizer, shape):
  """One record for each sample of an item."""
  reason = {
    FinishReason.STOP: 'stop',
    FinishReason.LENGTH: 'length',
    FinishReason.CANCELLED: 'budget',
  }
  flops = decode_flops(config, shape, len(prompt), generation.lengths)
  records = []
  for n, sample_id in enumerate(ids):
    length = int(generation.lengths[n])
    text = tokenizer.decode(generation.tokens[n, :length].tolist())
    log_prob = float(generation.log_probs[n, :length].sum())
    records.append(
      SampleRecord(
        item_id=item.id,
        sample_idx=int(sample_id),
        seed=evaluation.sample_seed(config.seed, item.id, int(sample_id)),
        prompt_hash=hashlib.sha256(np.asarray(prompt, '<i4')).hexdigest(),
        prompt_tokens=len(prompt),
        completion_tokens=length,
        completion=text,
        finish_reason=reason[int(generation.finish_reasons[n])],
        sum_logprob=log_prob,
        mean_logprob=log_prob / max(length, 1),
        flops_est=float(flops[n]),
        kv_bytes_est=float(shape.kv_bytes_per_token * length),
      )
    )
  return records


def decode_flops(config, shape, prompt_length, lengths):
  """FLOPs of each response, with the attention of the configuration."""
  if config.attention == 'dense':
    return costs.decode_flops(shape, [prompt_length], lengths[None])[0]
  return kinetics.sparse_cost(
    shape,
    prompt_length,
    lengths,
    config.kv_budget + config.block_size,
    block_size=config.block_size,
  ).flops


def put_on_devices(config, params):
  """Shards parameters and batches over all local devices."""
  if len(jax.local_devices()) == 1:
    return params, lambda batch: batch
  parallel = config.model_parallel
  mesh = jax.make_mesh(
    (len(jax.local_devices()) // parallel, parallel),
    ('data', 'model'),
    axis_types=(jax.sharding.AxisType.Auto,) * 2,
    devices=jax.local_devices(),
  )
  place = lambda batch: models.shard_batch(batch, mesh)
  return models.shard(params, mesh), place


def grade(workdir, todo):
  """Grades the samples that have no grade yet."""
  done = evaluation.recorded_keys(workdir, ScoreRecord)
  records = evaluation.read_records(workdir, SampleRecord)
  home = {item.id: (task, item) for task in todo for item in task.items}
  scores = []
  for record in records:
    if record.item_id not in home:
      continue
    task, item = home[record.item_id]
    if (*record.key, task.name) in done:
      continue
    found = task.grade(item, record.completion)
    cut = record.finish_reason == 'length'
    scores.append(
      ScoreRecord(
        item_id=record.item_id,
        sample_idx=record.sample_idx,
        grader=task.name,
        grader_version=_GRADER_VERSION,
        extracted=None if cut else found.extracted,
        score=0.0 if cut else found.score,
        detail='cut by the length limit' if cut else found.detail,
        category=[task.name],
      )
    )
  evaluation.append_records(workdir, scores)


def aggregate(config, workdir, todo, methods):
  """Curves of every method on every task, written to metrics.jsonl."""
  samples = evaluation.read_records(workdir, SampleRecord)
  scores = evaluation.read_records(workdir, ScoreRecord)
  metrics = workdir / 'metrics.jsonl'
  metrics.unlink(missing_ok=True)
  writer = io.JsonlWriter(metrics)
  results = {}
  for task in todo:
    ids = {item.id for item in task.items}
    mine = [record for record in samples if record.item_id in ids]
    grades = [score for score in scores if score.item_id in ids]
    table = evaluation.tabulate(mine, grades)
    curves = {
      label: draw_curve(config, table, select, verifier)
      for label, select, verifier in methods
    }
    for label, summary in curves.items():
      for i, n in enumerate(config.budgets):
        prefix = f'{task.name}/{label}/'
        writer.write_scalars(n, evaluation.scalars(summary, i, prefix))
    reasons = [record.finish_reason for record in mine]
    results[task.name] = evaluation.TaskSummary(
      curves=curves,
      num_items=len(table.item_ids),
      num_samples=table.correct.shape[1],
      prompt_tokens=float(table.prompt_tokens.mean()),
      finish_rates={r: reasons.count(r) / len(reasons) for r in set(reasons)},
    )
  writer.close()
  return results


def draw_curve(config, table, select, verifier):
  """Accuracy and cost of one method over random orders of the samples."""
  samples = table.samples
  if verifier == 'exact':
    samples = samples._replace(scores=table.correct.astype(np.float32))
  key = jax.random.key(config.seed)
  curve = evaluation.scaling_curve(
    key,
    select,
    jax.tree.map(jnp.asarray, samples),
    jnp.asarray(table.gold),
    jnp.asarray(config.budgets),
    config.num_permutations,
  )
  flops_per_token = table.flops.sum(1) / table.samples.lengths.sum(1)
  return evaluation.summarize_curve(
    key, curve, flops_per_token, config.num_resamples
  )


def report(config, workdir, results):
  """Writes report.md and scaling.png."""
  text = evaluation.markdown_report(
    f'{config.model} on {", ".join(results)}', config.budgets, results
  )
  (workdir / 'report.md').write_text(text, encoding='utf-8')
  panels = {
    label: {
      task: {
        name: io.PlotCurve(getattr(c, field), c.accuracy, c.low, c.high)
        for name, c in result.curves.items()
      }
      for task, result in results.items()
    }
    for field, label in (
      ('tokens', 'generated tokens per item'),
      ('flops', 'FLOPs per item'),
    )
  }
  io.save_scaling_figure(workdir / 'scaling.png', panels)
  tqdm.tqdm.write(text)
  tqdm.tqdm.write(f'wrote {workdir}/report.md and {workdir}/scaling.png')


def barrier(name):
  """Waits for all processes."""
  from jax.experimental import multihost_utils

  multihost_utils.sync_global_devices(name)


if __name__ == '__main__':
  app.run(main)
