"""What weights in fewer bits cost a model, and what they bring."""

import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation, models, sampling, search, tasks
from ttc.drivers.timing import interleaved
from ttc.io import files
from ttc.tasks.text_task import cut
from ttc.types import Prompt

# `models.load`'s settings of each form of the weights, by the name printed.
KINDS: dict[str, Mapping[str, Any]] = {
  'float32': {},
  'bfloat16': {'dtype': 'bfloat16'},
  'int8': {'quantization': 'int8'},
  'w8a8': {'quantization': 'w8a8'},
}
_PROMPT_TOKENS = 8  # so few that reading them is one more step
_WINDOW = 256  # tokens of text that are read at once
_COPIED = 2**26  # numbers of float32


class Bench(NamedTuple):
  """What is measured."""

  model: str = 'smollm2-135m'
  kinds: tuple[str, ...] = tuple(KINDS)
  num_tokens: int = 2048  # of text; 0 for none
  text: str | None = None  # a file; None for Python's own manual
  tasks: tuple[str, ...] = ('times_table', 'addition_1digit')
  num_items: int = 80
  num_samples: tuple[int, ...] = (1, 4, 16, 64)
  new_tokens: int = 64
  repetitions: int = 5


def bench_weights(bench: Bench, out: files.Path | None) -> None:
  """Measures errors, then speeds, and prints a table of each.

  Args:
    bench: what to measure.
    out: JSON file for every single figure; rewritten as they come.

  Raises:
    ValueError: for a kind, task or number that means nothing.
    OSError: if a file cannot be read or written, before anything is measured.
  """
  check(bench)
  report: dict[str, Any] = {'errors': {}, 'speeds': {}}

  def write():
    if out is not None:
      files.write_atomically(out, files.to_json(report, indent=2) + '\n')

  write()
  if bench.num_tokens or bench.tasks:
    text = _text(bench)
    reference = None
    for kind in bench.kinds:
      found, reference = errors(bench, kind, text, reference)
      report['errors'][kind] = found
      write()
    print_errors(bench, report['errors'])
  if bench.num_samples:
    print_speeds(bench, speeds(bench, write, report['speeds']))


def check(bench: Bench) -> None:
  """Refuses what means nothing."""
  for kind in bench.kinds:
    if kind not in KINDS:
      raise ValueError(f'--kinds: {kind!r} is not one of {", ".join(KINDS)}')
  num = bench.num_tokens
  if num == 1 or (num > _WINDOW and num % _WINDOW):
    raise ValueError(
      f'--num_tokens={num} must be 0, 2 to {_WINDOW}, or a multiple of that'
    )
  if not bench.kinds or bench.kinds[0] != 'float32':
    raise ValueError('--kinds must begin with float32, which others stand by')
  for name in bench.tasks:
    tasks.load(name, num_items=1)


class Reference(NamedTuple):
  """What the first kind said."""

  log_probs: np.ndarray  # [windows, tokens, V]
  answers: dict[str, list[str]]  # by task


def errors(
  bench: Bench, kind: str, text: str, reference: Reference | None
) -> tuple[dict[str, float], Reference]:
  """Figures of one kind beside the reference, which is itself the first."""
  loaded = models.load(bench.model, scan_layers=True, **KINDS[kind])
  if loaded.tokenizer is None:
    raise ValueError(f'{bench.model} has no tokenizer')
  found = {}
  log_probs, tokens = read_text(loaded, text, bench.num_tokens)
  answers, right = {}, {}
  for name in bench.tasks:
    task = tasks.load(name, num_items=bench.num_items)
    answers[name] = answer(loaded, task)
    right[name] = [
      task.grade(*pair).score
      for pair in zip(task.items, answers[name], strict=True)
    ]
  if reference is None:
    reference = Reference(log_probs, answers)
  if bench.num_tokens:
    of_next = np.take_along_axis(log_probs[:, :-1], tokens[:, 1:, None], -1)
    found['nll'] = -float(np.mean(of_next))
    first = reference.log_probs
    found['same_top'] = np.mean(first.argmax(-1) == log_probs.argmax(-1))
    found['kl'] = np.mean(np.sum(np.exp(first) * (first - log_probs), -1))
  for name in bench.tasks:
    pairs = zip(reference.answers[name], answers[name], strict=True)
    found[f'{name} accuracy'] = np.mean(right[name])
    found[f'{name} same'] = np.mean([mine == own for mine, own in pairs])
  return {name: float(value) for name, value in found.items()}, reference


def read_text(
  loaded: models.Loaded, text: str, num_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
  """Log-probabilities `[windows, T, V]` of a text, and its tokens."""
  window = min(num_tokens, _WINDOW)
  if not window:
    return np.zeros((0, 0, 1)), np.zeros((0, 0), np.int32)
  assert loaded.tokenizer is not None
  tokens = np.array(loaded.tokenizer.encode(text)[:num_tokens], np.int32)
  if len(tokens) < num_tokens:
    raise ValueError(
      f'--num_tokens={num_tokens}: the text has only {len(tokens)}'
    )
  tokens = tokens[: num_tokens // window * window].reshape(-1, window)

  @jax.jit
  def read(params, tokens):
    logits = models.forward(loaded.model, params, tokens[None])
    return jax.nn.log_softmax(logits[0])

  rows = [np.asarray(read(loaded.params, row)) for row in tokens]
  return np.stack(rows), tokens


def answer(loaded: models.Loaded, task: tasks.TextTask) -> list[str]:
  """The greedy answer to each item."""
  tokenizer = loaded.tokenizer
  assert tokenizer is not None
  prompts = [search.prompt_tokens(tokenizer, task, x) for x in task.items]
  lengths = np.array([len(prompt) for prompt in prompts], np.int32)
  tokens = np.zeros((len(prompts), lengths.max()), np.int32)
  for row, prompt in zip(tokens, prompts, strict=True):
    row[: len(prompt)] = prompt
  draw = functools.partial(
    sampling.generate,
    num_samples=1,
    model=loaded.model,
    capacity=task.max_new_tokens,
    stop=sampling.stop_rules(loaded.config.vocab_size, tokenizer.eos_ids),
    sampling=sampling.SamplingParams(0.0),
  )
  keys = jax.random.split(jax.random.key(0), len(prompts))
  given = Prompt(jnp.asarray(tokens), jnp.asarray(lengths))
  drawn = jax.device_get(jax.jit(draw)(loaded.params, keys, given))
  return [
    cut(tokenizer.decode(row[0][: length[0]].tolist()), task.stop)
    for row, length in zip(drawn.tokens, drawn.lengths, strict=True)
  ]


def speeds(
  bench: Bench, write: Callable[[], None], found: dict[str, Any]
) -> dict[str, Any]:
  """Seconds of runs in turns, a copy of memory among them."""
  loaded = {k: models.load(bench.model, **KINDS[k]) for k in bench.kinds}
  found['bytes'] = {k: bytes_read(one) for k, one in loaded.items()}
  found['copied_bytes'] = 2 * 4 * _COPIED
  found['seconds'] = {}
  for num_samples in bench.num_samples:
    engines = {'copy': _copying()}
    for kind, one in loaded.items():
      engines[kind] = decoding(one, num_samples, bench.new_tokens)
    seconds = interleaved(engines, bench.repetitions)
    found['seconds'][str(num_samples)] = seconds
    write()
  return found


def decoding(
  loaded: models.Loaded, num_samples: int, new_tokens: int
) -> Callable[[], object]:
  """Draws so many samples to a short prompt; nothing stops one early."""
  draw = functools.partial(
    sampling.generate,
    num_samples=num_samples,
    model=loaded.model,
    capacity=new_tokens,
    stop=sampling.stop_rules(loaded.config.vocab_size),
  )
  tokens = jnp.arange(1, 1 + _PROMPT_TOKENS, dtype=jnp.int32)[None]
  prompt = Prompt(tokens, jnp.array([_PROMPT_TOKENS], jnp.int32))
  args = loaded.params, jax.random.split(jax.random.key(0), 1), prompt
  compiled = jax.jit(draw).lower(*args).compile()
  return lambda: jax.block_until_ready(compiled(*args))


def bytes_read(loaded: models.Loaded) -> int:
  """Of weights in one step: all but a table that is only looked up."""
  params = dict(loaded.params)
  if not loaded.config.tie_embeddings:
    params.pop('embed')
  return sum(leaf.nbytes for leaf in jax.tree.leaves(params))


def _copying() -> Callable[[], object]:
  """Reads and writes an array in place."""
  held = [jnp.ones((_COPIED,), jnp.float32)]
  step = jax.jit(lambda x: x + 1, donate_argnums=0)

  def copy():
    held[0] = jax.block_until_ready(step(held[0]))

  return copy


def _text(bench: Bench) -> str:
  if bench.text is not None:
    with open(bench.text, encoding='utf-8') as file:
      return file.read()
  import pydoc_data.topics

  return '\n\n'.join(pydoc_data.topics.topics.values())


def print_errors(bench: Bench, found: Mapping[str, Mapping[str, float]]):
  """One row for each kind."""
  header = ['weights']
  if bench.num_tokens:
    header += ['NLL per token', 'KL from float32', 'same top token']
  for name in bench.tasks:
    header += [f'{name}, accuracy', 'same answer']
  rows = []
  for kind, row in found.items():
    cells = [kind]
    if bench.num_tokens:
      cells += [f'{row["nll"]:.4f}', f'{row["kl"]:.2g}']
      cells.append(f'{row["same_top"]:.1%}')
    for name in bench.tasks:
      figures = 'accuracy', 'same'
      cells += [f'{row[f"{name} {figure}"]:.1%}' for figure in figures]
    rows.append(cells)
  print(f'{bench.num_tokens} tokens of text, {bench.num_items} items, greedy\n')
  print('\n'.join(evaluation.markdown_table(header, rows)))


def print_speeds(bench: Bench, found: Mapping[str, Any]) -> None:
  """One row for each kind; ratios are of neighbouring runs."""
  header = ['weights', 'MB read a step']
  for num_samples in found['seconds']:
    header += [f'N = {num_samples}, tokens/s', 'beside float32', 'of bandwidth']
  rows = []
  for kind, size in found['bytes'].items():
    cells = [kind, f'{size / 1e6:.0f}']
    for num_samples, seconds in found['seconds'].items():
      tokens = int(num_samples) * bench.new_tokens
      step = [s / bench.new_tokens for s in seconds[kind]]
      copied = [found['copied_bytes'] / s for s in seconds['copy']]
      cells += [
        f'{tokens / min(seconds[kind]):.0f}',
        f'{_ratio(seconds["float32"], seconds[kind]):.2f}',
        f'{_ratio([size / s for s in step], copied):.0%}',
      ]
    rows.append(cells)
  print()
  print('\n'.join(evaluation.markdown_table(header, rows)))


def _ratio(above: Sequence[float], below: Sequence[float]) -> float:
  """Median of the ratios of neighbours."""
  pairs = zip(above, below, strict=True)
  return statistics.median(x / y for x, y in pairs)
