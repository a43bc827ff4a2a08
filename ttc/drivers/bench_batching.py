"""Many problems of uneven lengths: continuous batching beside whole batches."""

import functools
import heapq
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, sampling
from ttc.drivers import journal
from ttc.drivers.timing import interleaved, spread
from ttc.evaluation import SampleRecord
from ttc.io import files
from ttc.models.published import TINY
from ttc.types import Params, Prompt


class Bench(NamedTuple):
  """What is timed.

  Attributes:
    model: see `models.load`; None for a tiny random one.
    records: workdir of `evaluate.py` whose lengths are drawn again; None for
      geometric lengths.
    num_problems: with geometric lengths.
    num_samples: of each.
    mean_tokens: of a sample, with geometric lengths.
    most_tokens: where they are cut.
    num_rows: that are decoded together, in whole batches and in slots.
    repetitions: timed runs of each.
    front: tokens that all prompts begin with; if there are some, slots that
      read them once are timed beside slots that read them each time.
  """

  model: str | None = 'smollm2-135m'
  records: str | None = None
  num_problems: int = 24
  num_samples: int = 16
  mean_tokens: int = 24
  most_tokens: int = 192
  num_rows: int = 32
  repetitions: int = 3
  front: int = 0

  @property
  def front_tokens(self) -> list[int]:
    """The tokens."""
    return [1 + i % 7 for i in range(self.front)]


CHECK = Bench(None, None, 5, 4, 4, 12, 8, 2, front=128)


class Work(NamedTuple):
  """Prompts and how many tokens each of their samples has."""

  prompts: list[list[int]]
  lengths: list[list[int]]

  @property
  def tokens(self) -> int:
    """Of all samples."""
    return sum(map(sum, self.lengths))


class Way(NamedTuple):
  """How rows are shared out; without slots, whole batches of whole problems."""

  name: str
  num_slots: int | None
  num_rows: int
  front: Sequence[int] = ()


def bench_batching(bench: Bench, out: files.Path | None) -> None:
  """Times all ways and prints a table.

  Args:
    bench: what to time.
    out: JSON file for every single figure.

  Raises:
    ValueError: for sizes that mean nothing, or a workdir without records.
    OSError: if `out` cannot be written.
  """
  if bench.num_rows < bench.num_samples:
    raise ValueError(
      f'--num_rows={bench.num_rows} must be at least the {bench.num_samples} '
      'samples of a problem, which make a whole batch'
    )
  work = make_work(bench)
  model, params = load(bench)
  problems = [
    sampling.Request(
      prompt, jax.random.key(i), range(len(lengths)), max_new_tokens=lengths
    )
    for i, (prompt, lengths) in enumerate(zip(*work, strict=True))
  ]
  ways = make_ways(bench)
  row_steps: dict[str, int] = {}

  def run(way: Way) -> None:
    row_steps[way.name] = decode(way, model, params, problems)

  seconds = interleaved(
    {way.name: functools.partial(run, way) for way in ways}, bench.repetitions
  )
  report = {
    'bench': bench._asdict(),
    'tokens': work.tokens,
    'seconds': seconds,
    'row_steps': row_steps,
    'list_scheduling': {way.name: least_row_steps(way, work) for way in ways},
  }
  if out:
    files.write_atomically(out, files.to_json(report, indent=2) + '\n')
  print_report(report)


def make_work(bench: Bench) -> Work:
  """Prompts of random tokens and the lengths of their samples."""
  if bench.records is None:
    rng = np.random.default_rng(0)
    shape = bench.num_problems, bench.num_samples
    drawn = rng.geometric(1 / bench.mean_tokens, size=shape)
    lengths = np.minimum(drawn, bench.most_tokens).tolist()
    sizes = rng.integers(8, 120, size=bench.num_problems).tolist()
  else:
    of_item: dict[str, list[SampleRecord]] = {}
    for record in journal.read_records(bench.records, SampleRecord):
      of_item.setdefault(record.item_id, []).append(record)
    if not of_item:
      raise ValueError(f'--records={bench.records} holds no samples.jsonl')
    num_samples = bench.num_samples
    whole = [rows for rows in of_item.values() if len(rows) >= num_samples]
    if not whole:
      most = max(map(len, of_item.values()))
      raise ValueError(
        f'--num_samples={num_samples} is more than the {most} of a problem in '
        f'--records={bench.records}'
      )
    chosen = [rows[:num_samples] for rows in whole[: bench.num_problems]]
    lengths = [[max(1, r.completion_tokens) for r in rows] for rows in chosen]
    sizes = [rows[0].prompt_tokens for rows in chosen]
  prompts = [[1 + i % 200 for i in range(size)] for size in sizes]
  return Work([bench.front_tokens + prompt for prompt in prompts], lengths)


def load(bench: Bench) -> tuple[models.LanguageModel, Params]:
  """The model."""
  if bench.model is not None:
    loaded = models.load(bench.model)
    return loaded.model, loaded.params
  model = models.transformer(TINY)
  return model, jax.jit(model.init)(jax.random.key(0))


def make_ways(bench: Bench) -> list[Way]:
  """Whole batches first, then slots of fewer and more rows."""
  ways = [Way('whole batches', None, bench.num_rows)]
  for rows in sorted({1, min(4, bench.num_samples), bench.num_samples}):
    slots = bench.num_rows // rows
    ways.append(Way(f'{slots} slots of {rows}', slots, rows))
    if bench.front:
      name = f'{slots} slots of {rows}, front once'
      ways.append(Way(name, slots, rows, bench.front_tokens))
  return ways


def decode(
  way: Way,
  model: models.LanguageModel,
  params: Params,
  problems: Sequence[sampling.Request],
) -> int:
  """Draws all samples; returns the rows that the model ran on."""
  longest = max(max(p.max_new_tokens or [1]) for p in problems)
  capacity = 1 << (longest - 1).bit_length()
  stop = sampling.stop_rules(model.vocab_size)
  if way.num_slots is None:
    return _in_batches(way, model, params, problems, capacity, stop)
  *_, last = sampling.decode_stream(
    params,
    problems,
    model=model,
    capacity=capacity,
    stop=stop,
    num_slots=way.num_slots,
    num_rows=way.num_rows,
    front=way.front,
  )
  return last.row_steps


def _in_batches(way, model, params, problems, capacity, stop) -> int:
  """Batches of whole problems, each until its longest sample ends."""
  draw = _compiled(model, capacity, len(problems[0].sample_ids))
  size = way.num_rows // len(problems[0].sample_ids)
  row_steps = 0
  lengths = [len(problem.tokens) for problem in problems]
  for width, indices in sampling.plan_streams(lengths, size):
    for begin in range(0, len(indices), size):
      batch = [problems[i] for i in indices[begin : begin + size]]
      batch += [batch[-1]._replace(max_new_tokens=None)] * (size - len(batch))
      tokens = np.zeros((size, width), np.int32)
      limits = np.zeros((size, len(batch[0].sample_ids)), np.int32)
      for row, problem in enumerate(batch):
        tokens[row, : len(problem.tokens)] = problem.tokens
        limits[row] = problem.max_new_tokens or 0
      sizes = [len(problem.tokens) for problem in batch]
      prompt = Prompt(jnp.array(tokens), jnp.array(sizes, jnp.int32))
      keys = jnp.stack([problem.key for problem in batch])
      output = jax.device_get(draw(params, keys, prompt, limits, stop))
      row_steps += int(output.lengths.max()) * limits.size
  return row_steps


@functools.lru_cache
def _compiled(model, capacity, num_samples):
  return jax.jit(
    lambda params, keys, prompt, limits, stop: sampling.generate(
      params,
      keys,
      prompt,
      num_samples,
      model=model,
      capacity=capacity,
      stop=stop,
      max_new_tokens=limits,
    )
  )


def least_row_steps(way: Way, work: Work) -> int | None:
  """Rows of list scheduling: samples onto rows, problems onto slots."""
  if way.num_slots is None:
    return None
  problems = [makespan(lengths, way.num_rows) for lengths in work.lengths]
  return makespan(problems, way.num_slots) * way.num_slots * way.num_rows


def makespan(lengths: Sequence[int], num_machines: int) -> int:
  """When the last job ends, if each begins where first there is a place."""
  ends = [0] * num_machines
  for length in lengths:
    heapq.heappush(ends, heapq.heappop(ends) + length)
  return max(ends)


def print_report(report: dict) -> None:
  """A table with a line for each way."""
  seconds, tokens = report['seconds'], report['tokens']
  base = seconds['whole batches']
  print('| | times as fast | tokens/s | rows a token | to list scheduling |')
  print('|---|---|---|---|---|')
  for name, runs in seconds.items():
    ratios = [a / b for a, b in zip(base, runs, strict=True)]
    rows, least = report['row_steps'][name], report['list_scheduling'][name]
    print(
      f'| {name} | {spread(ratios, ".2f")} | {tokens / min(runs):.0f} '
      f'| {rows / tokens:.2f} | {f"{rows / least:.3f}" if least else ""} |'
    )
