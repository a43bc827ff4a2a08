"""What sparse decoding costs a real model, and what it saves.

Three measurements of block top-k and its neighbours (Kinetics, 2506.05333), by
KV budget, each a line of records.jsonl, from which a killed run goes on:

  text     log-probability per token of the last tokens of long texts (Python's
           own reference manual), beside dense decoding
  lookup   one code among a hundred (`tasks.code_lookup`): accuracy of greedy
           answers and the log-probability of the right ones
  speed    seconds per decoded token against the length of the context, dense
           and sparse, on this machine
"""

import functools
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from ttc import models, sampling, tasks
from ttc.drivers import journal, sparse_report
from ttc.io import files
from ttc.io.paths import as_path, fetched
from ttc.kernels import block_topk
from ttc.types import Prompt

RULES = {
  'block top-k': block_topk.mean_pool,
  'Quest': block_topk.quest,
  'sink + window': block_topk.sink_window,
  'random blocks': block_topk.random_blocks,
  'oracle blocks': block_topk.oracle,
}
PARTS = ('text', 'lookup', 'speed')
_SCORED = 64  # tokens of each text
_BATCH = 4
_TIMED_STEPS = 8


class Study(NamedTuple):
  """What is measured."""

  model: str = 'smollm2-135m'  # see `models.load`
  parts: tuple[str, ...] = PARTS
  rules: tuple[str, ...] = tuple(RULES)[:4]
  budgets: tuple[int, ...] = (64, 128, 256)  # tokens per layer and KV head
  block_size: int = 16
  dense_layers: int = 1  # the first so many layers stay dense
  contexts: tuple[int, ...] = (1024, 4096)  # tokens before those scored
  texts: int = 8  # of each length
  items: int = 32  # prompts of the lookup
  speed_contexts: tuple[int, ...] = (256, 1024, 2048, 4096, 8000)
  rows: int = 8  # responses that are timed together


def measure_sparse_decoding(study: Study, workdir: files.Path) -> None:
  """Measures what is missing, with a bar, then reports.

  Args:
    study: what to measure.
    workdir: for records.jsonl, report.md and the pictures.

  Raises:
    ValueError: for sizes that do not fit the model or each other.
  """
  check(study)
  loaded = models.load(fetched(study.model))
  if loaded.tokenizer is None:
    raise ValueError(f'{study.model} has no tokenizer')
  for context in contexts(study):
    if context + _SCORED > loaded.model.max_length:
      raise ValueError(
        f'context={context} and {_SCORED} tokens exceed the '
        f'{loaded.model.max_length} of {loaded.name}'
      )
  workdir = as_path(workdir)
  with files.lock_directory(workdir):
    records = journal.Journal(workdir / 'records.jsonl')
    todo = [what for what in plan(study) if what not in records]
    measures = {'text': text, 'lookup': lookup, 'speed': speed}
    with tqdm.tqdm(total=len(todo), dynamic_ncols=True) as bar:
      for what in todo:
        bar.set_description(' '.join(str(x) for x in what.values()))
        records.append(what, **measures[what['part']](study, loaded, what))
        bar.update()
    lines = records.lines()
    sparse_report.report(
      workdir,
      {part: [x for x in lines if x['what']['part'] == part] for part in PARTS},
    )


def check(study: Study) -> None:
  """Raises ValueError for a budget that a rule cannot spend."""
  least = 2 * study.block_size
  for budget in study.budgets:
    if budget < least or budget % study.block_size:
      raise ValueError(
        f'--budget={budget} must be a multiple of --block_size='
        f'{study.block_size}, at least {least}'
      )
  for context in contexts(study):
    if context < 1:
      raise ValueError(f'--context={context} must be at least 1')


def contexts(study: Study) -> list[int]:
  """The lengths that the chosen parts measure."""
  of_part = {'text': study.contexts, 'speed': study.speed_contexts}
  return [n for part in study.parts for n in of_part.get(part, ())]


def plan(study: Study) -> Iterator[dict[str, Any]]:
  """Every measurement; a batch is read once for all rules and budgets."""
  for part in study.parts:
    if part == 'speed':
      for context in study.speed_contexts:
        yield {'part': part, 'context': context, 'rows': study.rows}
      continue
    number = study.texts if part == 'text' else study.items
    for context in study.contexts if part == 'text' else (0,):
      for first in range(0, number, _BATCH):
        yield {'part': part, 'context': context, 'first': first}


@functools.cache
def attentions(study: Study):
  """What a query attends to, by rule and budget."""
  size = study.block_size
  choices: dict[tuple[str, int], models.SparseAttention | None] = {
    ('dense', 0): None
  }
  for rule in study.rules:
    for budget in study.budgets:
      # A window takes all of the budget that the sink leaves it.
      local = budget - 2 * size + 1 if rule == 'sink + window' else size
      choices[rule, budget] = models.SparseAttention(
        RULES[rule],
        size,
        budget,
        local=local,
        dense_layers=tuple(range(study.dense_layers)),
      )
  return choices


@functools.cache
def readers(study: Study, config, function):
  """A jitted function of each attention: `(params, state, *arrays)`."""
  return {
    choice: jax.jit(functools.partial(function, config, attention))
    for choice, attention in attentions(study).items()
  }


def start(config, attention, state):
  """The densely prefilled state as that of a model with another attention."""
  model = models.transformer(config, attention)
  lengths = state.prefix_lengths
  prefix = models.summarise_prefix(state.prefix, lengths, attention)
  B, R, capacity = state.tokens.shape
  suffix = model.make_suffix(B, R, capacity)
  return model, state._replace(prefix=prefix, suffix=suffix)


def text(study: Study, loaded: models.Loaded, what) -> dict[str, Any]:
  """Log-probability per token of the end of each text."""
  context = what['context']
  tokens = manual(study, loaded.tokenizer, context + _SCORED)[what['first'] :][
    :_BATCH
  ]
  lengths = jnp.full((len(tokens),), context, jnp.int32)
  prompt = Prompt(jnp.asarray(tokens[:, :context]), lengths)
  state = prefill(loaded.model, loaded.params, prompt, 1, _SCORED)
  rest = jnp.asarray(tokens[:, None, context:])
  counts = jnp.full(rest.shape[:2], _SCORED, jnp.int32)
  scores = {
    choice: score(loaded.params, state, rest, counts) / _SCORED
    for choice, score in readers(study, loaded.config, total_log_prob).items()
  }
  return {'log_prob': by_rule(scores)}


def lookup(study: Study, loaded: models.Loaded, what) -> dict[str, Any]:
  """Whether each code is found, and the right one's log-probability."""
  tokenizer = loaded.tokenizer
  if tokenizer is None:
    raise ValueError(f'{study.model} has no tokenizer')
  task = tasks.code_lookup(num_items=study.items)
  stop = sampling.stop_at_texts(tokenizer, loaded.model.vocab_size, task.stop)
  prompts = [tokenizer.prompt(task.prompt(item)) for item in task.items]
  width = max(map(len, prompts))
  batch = slice(what['first'], what['first'] + _BATCH)
  items = task.items[batch]
  golds = [tokenizer.encode(f' {item.answer}') for item in items]
  gold, counts = padded(golds, task.max_new_tokens)
  state = prefill(
    loaded.model,
    loaded.params,
    Prompt(*padded(prompts[batch], width)),
    1,
    task.max_new_tokens,
  )
  scores = {
    choice: score(loaded.params, state, gold[:, None], counts[:, None])
    for choice, score in readers(study, loaded.config, total_log_prob).items()
  }
  found = {}
  for choice, answer in readers(study, loaded.config, greedy).items():
    drawn = jax.device_get(answer(loaded.params, state, stop))
    found[choice] = np.array(
      [
        task.grade(
          item, sampling.response_text(tokenizer, row[:n], reason, task.stop)
        ).score
        for item, row, n, reason in zip(items, *drawn, strict=True)
      ]
    )
  return {'found': by_rule(found), 'log_prob': by_rule(scores)}


prefill = jax.jit(sampling.prefill, static_argnums=(0, 3, 4))


def total_log_prob(config, attention, params, state, tokens, counts):
  """Of given tokens, read one by one; one number per prompt."""
  model, state = start(config, attention, state)
  log_probs = sampling.score_stepwise(model, params, state, tokens, counts)
  return jnp.sum(log_probs, axis=(1, 2))


def greedy(config, attention, params, state, stop):
  """The most likely response to each prompt."""
  model, state = start(config, attention, state)
  keys = jax.random.split(jax.random.key(0), len(state.tokens))
  choice = sampling.SamplingParams(temperature=0.0)
  drawn = sampling.sample(model, params, keys, state, stop, sampling=choice)
  one = jax.tree.map(lambda x: x[:, 0], drawn.generation)
  return one.tokens, one.lengths, one.finish_reasons


def by_rule(values):
  """`{(rule, budget): numbers}` as nested dictionaries."""
  nested = {rule: {} for rule, _ in values}
  for (rule, budget), numbers in values.items():
    nested[rule][budget] = np.asarray(numbers).tolist()
  return nested


def manual(study: Study, tokenizer, length: int) -> np.ndarray:
  """Texts of Python's reference manual, which every installation carries."""
  from pydoc_data import topics

  ids = tokenizer.encode('\n\n'.join(topics.topics.values()))
  front, total = tokenizer.bos_ids, length
  length -= len(front)
  available = len(ids) // length
  if available < study.texts:
    raise ValueError(
      f'texts={study.texts} of {total} tokens are more than the {available} '
      f'of the manual'
    )
  starts = np.linspace(0, len(ids) - length, study.texts).astype(int)
  return np.stack([[*front, *ids[s : s + length]] for s in starts])


def padded(sequences, width):
  """Token ids as an array, and their lengths."""
  rows = np.zeros((len(sequences), width), np.int32)
  for row, ids in zip(rows, sequences, strict=True):
    row[: len(ids)] = ids
  return jnp.asarray(rows), jnp.asarray([len(ids) for ids in sequences])


def speed(study: Study, loaded: models.Loaded, what) -> dict[str, Any]:
  """Seconds of a decoding step, dense (budget 0) and by block top-k.

  `response`: the context is each row's own, as in long chains of thought.
  `prompt`: the rows share it, and dense attention reads it once for all.
  """
  context, seconds = what['context'], {'response': {}, 'prompt': {}}
  for kind, by_kind in seconds.items():
    own = context if kind == 'response' else 0
    for (rule, budget), attention in attentions(study).items():
      if rule not in ('dense', 'block top-k'):
        continue
      model = models.transformer(loaded.config, attention)
      state = blank_state(model, what['rows'], context - own, own)
      step = jax.jit(functools.partial(decode_steps, model), donate_argnums=1)
      times = []
      for _ in range(6):
        begin = time.perf_counter()
        state = jax.block_until_ready(step(loaded.params, state))
        times.append((time.perf_counter() - begin) / _TIMED_STEPS)
      by_kind[budget] = sorted(times[1:])[2]  # the first one compiles
  return {'seconds': seconds}


def blank_state(model, rows, in_prompt, in_response):
  """A state with so many tokens in the cache, none of them ever read."""
  capacity = in_response + 64
  prefix = jax.tree.map(
    lambda x: x[:, 0], model.make_suffix(1, 1, max(in_prompt, 16))
  )
  state = sampling.DecodeState(
    prefix=prefix,
    prefix_lengths=jnp.full((1,), max(in_prompt, 1), jnp.int32),
    prefix_logits=jnp.zeros((1, model.vocab_size)),
    suffix=model.make_suffix(1, rows, capacity),
    tokens=jnp.ones((1, rows, capacity), jnp.int32),
    lengths=jnp.full((1, rows), in_response + 1, jnp.int32),
  )
  return jax.tree.map(jnp.array, state)


def decode_steps(model, params, state):
  """Feeds the pending token of every row, again and again."""

  def step(state, _):
    ones = jnp.ones_like(state.lengths)
    token = state.tokens[:, :, :1]
    return sampling.extend(model, params, state, token, ones), None

  return jax.lax.scan(step, state, None, length=_TIMED_STEPS)[0]
