"""What sparse decoding costs a real model, and what it saves.

  python scripts/sparse_decoding.py --workdir=runs/sparse
  python scripts/sparse_decoding.py --workdir=runs/sparse --part=speed

Three measurements of block top-k and its neighbours (Kinetics, 2506.05333), by
KV budget, each appended to records.jsonl, from which a killed run goes on:

  text     log-probability per token of the last tokens of long texts (Python's
           own reference manual), beside dense decoding
  lookup   one code among a hundred (`tasks.code_lookup`): accuracy of greedy
           answers and the log-probability of the right ones
  speed    seconds per decoded token against the length of the context, dense
           and sparse, on this machine

The report has the tables; loss.png, lookup.png and speed.png the curves. On two
CPU cores the first two take some 20 minutes with SmolLM2.
"""

import functools
import json
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from absl import app, flags, logging

from ttc import evaluation, io, models, sampling, tasks
from ttc.io.kinetics_plots import new_figure
from ttc.io.plots import COLORS, MARKERS
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

_MODEL = flags.DEFINE_string('model', 'smollm2-135m', 'See `models.load`.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory for all output.')
_PART = flags.DEFINE_multi_enum('part', PARTS, PARTS, 'Measurements.')
_RULES = flags.DEFINE_multi_enum('rule', list(RULES)[:4], list(RULES), 'Rules.')
_BUDGETS = flags.DEFINE_multi_integer(
  'budget', [64, 128, 256], 'Tokens read per layer and KV head.'
)
_BLOCK_SIZE = flags.DEFINE_integer('block_size', 16, 'Tokens of a block.', 1)
_DENSE_LAYERS = flags.DEFINE_integer(
  'dense_layers', 1, 'The first so many layers stay dense.', 0
)
_CONTEXTS = flags.DEFINE_multi_integer(
  'context', [1024, 4096], 'Tokens of the texts before those that are scored.'
)
_TEXTS = flags.DEFINE_integer('texts', 8, 'Texts of each length.', 1)
_ITEMS = flags.DEFINE_integer('items', 32, 'Prompts of the lookup.', 1)
_SPEED_CONTEXTS = flags.DEFINE_multi_integer(
  'speed_context', [256, 1024, 2048, 4096, 8000], 'Lengths that are timed.'
)
_ROWS = flags.DEFINE_integer('rows', 8, 'Responses that are timed together.', 1)
flags.mark_flag_as_required('workdir')

_SCORED = 64  # tokens of each text
_BATCH = 4
_TIMED_STEPS = 8


def main(argv):
  """Measures what is missing; bad input is one line and exit status 1."""
  logging.set_verbosity(logging.WARNING)
  if len(argv) > 1:
    sys.exit(f'sparse_decoding: unexpected argument {argv[1]!r}')
  io.enable_compilation_cache()
  try:
    run(pathlib.Path(_WORKDIR.value))
  except (ValueError, OSError, ImportError) as error:
    sys.exit(f'sparse_decoding: {" ".join(str(error).split())}')


def run(workdir):
  """Measures, then reports."""
  loaded = models.load(_MODEL.value)
  if loaded.tokenizer is None:
    raise ValueError(f'{_MODEL.value} has no tokenizer')
  workdir.mkdir(parents=True, exist_ok=True)
  path = workdir / 'records.jsonl'
  records = (
    [json.loads(x) for x in path.read_text().splitlines()]
    if (path.exists())
    else []
  )
  done = {json.dumps(r['what']) for r in records}
  todo = [w for w in plan() if json.dumps(w) not in done]
  with tqdm.tqdm(total=len(todo), dynamic_ncols=True) as bar:
    for what in todo:
      bar.set_description(' '.join(str(x) for x in what.values()))
      measure = {'text': text, 'lookup': lookup, 'speed': speed}[what['part']]
      line = json.dumps({'what': what, **measure(loaded, what)})
      with path.open('a') as file:
        file.write(line + '\n')
      records.append(json.loads(line))
      bar.update()
  report(workdir, records)


def plan():
  """Every measurement; a batch is read once for all rules and budgets."""
  for part in _PART.value:
    if part == 'speed':
      for context in _SPEED_CONTEXTS.value:
        yield {'part': part, 'context': context, 'rows': _ROWS.value}
      continue
    number = _TEXTS.value if part == 'text' else _ITEMS.value
    for context in _CONTEXTS.value if part == 'text' else [0]:
      for first in range(0, number, _BATCH):
        yield {'part': part, 'context': context, 'first': first}


@functools.cache
def attentions():
  """What a query attends to, by rule and budget."""
  size = _BLOCK_SIZE.value
  choices = {('dense', 0): None}
  for rule in _RULES.value:
    for budget in _BUDGETS.value:
      # A window takes all of the budget that the sink leaves it.
      local = budget - 2 * size + 1 if rule == 'sink + window' else size
      choices[rule, budget] = models.SparseAttention(
        RULES[rule],
        size,
        budget,
        local=local,
        dense_layers=tuple(range(_DENSE_LAYERS.value)),
      )
  return choices


@functools.cache
def readers(config, function, *args):
  """A jitted function of each attention: `(params, state, *arrays)`."""
  return {
    choice: jax.jit(functools.partial(function, config, attention, *args))
    for choice, attention in attentions().items()
  }


def start(config, attention, state):
  """The densely prefilled state as that of a model with another attention."""
  model = models.transformer(config, attention)
  lengths = state.prefix_lengths
  prefix = models.summarise_prefix(state.prefix, lengths, attention)
  B, R, capacity = state.tokens.shape
  suffix = model.make_suffix(B, R, capacity)
  return model, state._replace(prefix=prefix, suffix=suffix)


# -------------------------------------------------------------- measurements


def text(loaded, what):
  """Log-probability per token of the end of each text."""
  context = what['context']
  length = context + _SCORED
  if length > loaded.model.max_length:
    raise ValueError(
      f'context={context} and {_SCORED} tokens exceed the '
      f'{loaded.model.max_length} of {loaded.name}'
    )
  tokens = manual(loaded.tokenizer, length)[what['first'] :][:_BATCH]
  lengths = jnp.full((len(tokens),), context, jnp.int32)
  prompt = Prompt(jnp.asarray(tokens[:, :context]), lengths)
  state = prefill(loaded.model, loaded.params, prompt, 1, _SCORED)
  rest = jnp.asarray(tokens[:, None, context:])
  counts = jnp.full(rest.shape[:2], _SCORED, jnp.int32)
  scores = {
    choice: score(loaded.params, state, rest, counts) / _SCORED
    for choice, score in readers(loaded.config, total_log_prob).items()
  }
  return {'log_prob': by_rule(scores)}


def lookup(loaded, what):
  """Whether each code is found, and the right one's log-probability."""
  tokenizer = loaded.tokenizer
  task = tasks.code_lookup(num_items=_ITEMS.value)
  stop = sampling.stop_at_texts(tokenizer, loaded.model.vocab_size, task.stop)
  prompts = [tokenizer.encode(task.prompt(item)) for item in task.items]
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
    for choice, score in readers(loaded.config, total_log_prob).items()
  }
  found = {}
  for choice, answer in readers(loaded.config, greedy).items():
    tokens, lengths = jax.device_get(answer(loaded.params, state, stop))
    found[choice] = np.array(
      [
        task.grade(item, tokenizer.decode(row[:n].tolist())).score
        for item, row, n in zip(items, tokens, lengths, strict=True)
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
  return drawn.generation.tokens[:, 0], drawn.generation.lengths[:, 0]


def by_rule(values):
  """`{(rule, budget): numbers}` as nested dictionaries."""
  nested = {rule: {} for rule, _ in values}
  for (rule, budget), numbers in values.items():
    nested[rule][budget] = np.asarray(numbers).tolist()
  return nested


def manual(tokenizer, length):
  """Texts of Python's reference manual, which every installation carries."""
  from pydoc_data import topics

  ids = tokenizer.encode('\n\n'.join(topics.topics.values()))
  available = len(ids) // length
  if available < _TEXTS.value:
    raise ValueError(
      f'texts={_TEXTS.value} of {length} tokens are more than the {available} '
      f'of the manual'
    )
  starts = np.linspace(0, len(ids) - length, _TEXTS.value).astype(int)
  return np.stack([ids[s : s + length] for s in starts])


def padded(sequences, width):
  """Token ids as an array, and their lengths."""
  rows = np.zeros((len(sequences), width), np.int32)
  for row, ids in zip(rows, sequences, strict=True):
    row[: len(ids)] = ids
  return jnp.asarray(rows), jnp.asarray([len(ids) for ids in sequences])


def speed(loaded, what):
  """Seconds of a decoding step, dense (budget 0) and by block top-k.

  `response`: the context is each row's own, as in long chains of thought.
  `prompt`: the rows share it, and dense attention reads it once for all.
  """
  context, seconds = what['context'], {'response': {}, 'prompt': {}}
  for kind, by_kind in seconds.items():
    own = context if kind == 'response' else 0
    for (rule, budget), attention in attentions().items():
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


# ------------------------------------------------------------------- report


def report(workdir, records):
  """Writes report.md and the pictures."""
  lines = ['# Sparse decoding', '']
  for part in PARTS:
    mine = [r for r in records if r['what']['part'] == part]
    if mine:
      lines += (report_speed if part == 'speed' else report_quality)(
        workdir, part, mine
      )
  (workdir / 'report.md').write_text('\n'.join(lines) + '\n')
  print('\n'.join(lines))
  print(f'wrote {workdir}/report.md and its pictures')


def report_quality(workdir, part, records):
  """What is lost against dense decoding, by rule and budget."""
  lines = []
  for context in sorted({r['what']['context'] for r in records}):
    mine = [r for r in records if r['what']['context'] == context]
    join = lambda field: jax.tree.map(
      lambda *parts: np.concatenate(parts).tolist(),
      *(r[field] for r in mine),  # noqa: B023
      is_leaf=lambda x: isinstance(x, list),
    )
    log_prob = join('log_prob')
    reference = log_prob.pop('dense')['0']
    loss = changes(log_prob, reference)
    right = {}
    if part == 'lookup':
      found = join('found')
      dense_found = found.pop('dense')['0']
      right = changes(found, dense_found)
    title = f'Texts, {context} tokens before' if context else 'Code lookup'
    mean = np.mean(reference)
    lines += [f'## {title}', '']
    if right:
      lines += [
        f'Dense: {100 * np.mean(dense_found):.1f}% found. Points lost '
        'or won [95% over prompts, paired], by KV budget:',
        '',
        *table(right, lambda c: f'{100 * c[0]:+.0f} [{100 * c[1]:+.0f}, '
               f'{100 * c[2]:+.0f}]'),
      ]  # fmt: skip
    unit = 'of the code' if right else 'per token'
    lines += [
      f'Dense log-probability {unit} {mean:.3f}. Change [95%, paired]:',
      '',
      *table(loss, lambda c: f'{c[0]:+.3f} [{c[1]:+.3f}, {c[2]:+.3f}]'),
    ]
    name = f'text_{context}.png' if context else 'lookup.png'
    curves = right or loss
    label = 'codes found, against dense' if right else 'log-prob. per token'
    draw(workdir / name, {
      rule: sorted((b, *c) for (r, b), c in curves.items() if r == rule)
      for rule in log_prob
    }, f'change of {label}', title)  # fmt: skip
  return lines


def changes(by_rule, reference):
  """The change of each rule and budget."""
  return {
    (rule, int(budget)): change(values, reference)
    for rule, by_budget in by_rule.items()
    for budget, values in by_budget.items()
  }


def change(values, reference):
  """Mean paired difference with its 95% interval."""
  gap = evaluation.paired_difference(
    jnp.asarray(values, jnp.float32), jnp.asarray(reference, jnp.float32)
  ).difference
  return (float(gap.mean), *map(float, evaluation.confidence_interval(gap)))


def table(cells, write):
  """Rules by budgets, in markdown."""
  budgets = sorted({budget for _, budget in cells})
  rules = list(dict.fromkeys(rule for rule, _ in cells))
  yield '| rule | ' + ' | '.join(map(str, budgets)) + ' |'
  yield '| --- |' + ' --- |' * len(budgets)
  for rule in rules:
    row = [write(cells[rule, b]) if (rule, b) in cells else '' for b in budgets]
    yield f'| {rule} | ' + ' | '.join(row) + ' |'
  yield ''


def report_speed(workdir, part, records):
  """Milliseconds of a step by context, and where sparse becomes faster."""
  del part
  lines = []
  for kind, title in (
    ('response', "Step time, each row's own context"),
    ('prompt', 'Step time, a shared prompt'),
  ):
    cells = {}
    for record in records:
      for budget, seconds in record['seconds'][kind].items():
        rule = 'dense' if budget == '0' else f'block top-k, {budget} tokens'
        cells[rule, record['what']['context']] = 1e3 * seconds
    rows = records[0]['what']['rows']
    lines += [f'## {title}', '', f'Milliseconds, {rows} rows, by context:', '']
    lines += table(cells, lambda ms: f'{ms:.1f}')
    draw(workdir / f'speed_{kind}.png', {
      rule: sorted((c, ms, ms, ms) for (r, c), ms in cells.items() if r == rule)
      for rule in dict.fromkeys(r for r, _ in cells)
    }, 'ms per step', title, x_label='tokens of context')  # fmt: skip
  return lines


def draw(path, curves, y_label, title, x_label='tokens read (KV budget)'):
  """Lines with bands; `curves` holds rows of x, y, low, high."""
  figure, axes = new_figure(1)
  ax = axes[0]
  for (name, points), color, marker in zip(
    curves.items(), COLORS, MARKERS, strict=False
  ):
    x, y, low, high = np.array(points).T
    ax.plot(x, y, color=color, marker=marker, label=name)
    ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
  ax.set(xscale='log', xlabel=x_label, ylabel=y_label, title=title)
  ax.set_xscale('log', base=2)
  ax.legend(frameon=False, fontsize=8)
  figure.savefig(path)


if __name__ == '__main__':
  app.run(main)
