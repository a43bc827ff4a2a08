"""Compares every method at equal generated tokens, paired by problem.

Methods that choose among samples share one pool, drawn once per bed and seed;
the others steer the decoder themselves, once for every budget. All see the same
problems and keys. What was measured is in outcomes.jsonl, one line for each
bed, seed, method and budget, so a killed run goes on where it was.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from ttc import evaluation, search, testbeds
from ttc.drivers import journal, options, processes, runs
from ttc.drivers.evaluate_options import METHODS as ALL
from ttc.drivers.options import option
from ttc.drivers.outcomes import compiled, curve_of, save_picture
from ttc.io import files
from ttc.io.paths import AnyPath, as_path, local_only
from ttc.types import Samples

BEDS = {bed.__name__: bed for bed in testbeds.TESTBEDS}
METHODS = {name: m for name, m in ALL.items() if m.select or m.decode}
_UNTRAINED = ('table', 'smollm2')
# What else there is to measure may change from one start to the next.
_FIXED = ('pool_size', 'num_problems', 'num_items', 'num_permutations')
_names = lambda known: options.several(options.one_of(tuple(known)))
_whole = options.whole


@dataclasses.dataclass(frozen=True)
class CompareOptions:
  """What a comparison chooses; configs/compare.py explains each."""

  worlds: tuple[str, ...] = option(_names(BEDS))
  methods: tuple[str, ...] = option(_names(('all', *METHODS)))
  budgets: tuple[int, ...] = option(options.several(_whole(1)))
  pool_size: int = option(_whole(1, 100_000))
  num_seeds: int = option(_whole(1, 1000))
  num_problems: int = option(_whole(1, 100_000))
  num_items: int = option(_whole(1, 100_000))
  baseline: str = option(options.one_of(tuple(METHODS)))
  num_permutations: int = option(_whole(1, 100_000))
  drawn: tuple[str, ...] = option(_names(METHODS))

  @property
  def chosen(self) -> list[search.Method]:
    """The methods, the baseline among them."""
    names = list(METHODS) if 'all' in self.methods else list(self.methods)
    if self.baseline not in names:
      names.append(self.baseline)
    return [METHODS[name] for name in names]


def compare(
  config: Mapping[str, Any],
  workdir: files.Path,
  cache: files.Path,
  *,
  report_only: bool = False,
) -> None:
  """Measures what is missing and reports.

  Args:
    config: see `CompareOptions`.
    workdir: for outcomes.jsonl, compare.md and compare.png.
    cache: where the beds keep what they train.
    report_only: measure nothing.

  Raises:
    ValueError: for a value that means nothing, before anything is computed.
  """
  chosen = options.parse(CompareOptions, config)
  for n in chosen.budgets:
    if n > chosen.pool_size:
      raise ValueError(
        f'config.budgets={chosen.budgets} must be numbers of responses, 1 to '
        f'pool_size={chosen.pool_size}'
      )
  trained = sorted(set(chosen.worlds) - set(_UNTRAINED))
  if trained and jax.process_count() > 1:
    raise ValueError(
      f'--distributed takes the beds {_UNTRAINED}, not {trained}, whose '
      'networks one process trains and keeps'
    )
  workdir = as_path(workdir)
  local_only(cache, '--cache')
  with processes.hold(workdir):
    outcomes = processes.open_journal(workdir / 'outcomes.jsonl')
    if processes.is_first():
      settings = {name: getattr(chosen, name) for name in _FIXED}
      has_records = bool(outcomes.lines())
      runs.start_run(workdir, settings, 0, has_records=has_records)
    processes.wait_for_all('started')
    if not report_only:
      _measure_all(chosen, cache, outcomes)
    processes.wait_for_all('measured')
    if processes.is_first():
      outcomes.merge()
      report(chosen, workdir, outcomes)


def _measure_all(chosen, cache, outcomes: journal.Journal) -> None:
  """Measures what has no outcome yet, with a bar."""
  beds = itertools.product(chosen.worlds, range(chosen.num_seeds))
  mine = processes.share(list(beds))
  todo = len(mine) * len(chosen.chosen)
  with tqdm.tqdm(total=todo, unit=' methods', dynamic_ncols=True) as bar:
    for name, seed in mine:
      bar.set_description(f'{name} {seed}')
      _measure(chosen, cache, name, seed, outcomes, bar)


def _measure(chosen, cache, name, seed, outcomes, bar) -> None:
  """Runs on one bed and seed what has no outcome yet."""
  key = lambda method, n: {
    'world': name,
    'seed': seed,
    'method': method.name,
    'budget': n,
  }
  missing = {}
  for method in chosen.chosen:
    budgets = set(chosen.budgets)
    if method.name == chosen.baseline:
      budgets.add(chosen.pool_size)  # others may spend a little more
    missing[method] = [
      n for n in sorted(budgets) if key(method, n) not in outcomes
    ]
  if not any(missing.values()):
    bar.update(len(missing))
    return
  num = chosen.num_items if name == 'smollm2' else chosen.num_problems
  world = BEDS[name](seed, testbeds.Size('compare', num_problems=num), cache)
  keys = jnp.stack([evaluation.problem_key(seed, i) for i in world.item_ids])
  draw_pool = functools.cache(lambda: draw(chosen.pool_size, world, keys))
  for method, budgets in missing.items():
    bar.set_postfix_str(method.name)
    if budgets and world.has(method):
      found = (
        choose(chosen, world, draw_pool(), method, budgets)
        if method.decode is None
        else (decode(world, keys, method, n) for n in budgets)
      )
      for n, outcome in zip(budgets, found, strict=True):
        outcomes.append(
          key(method, n),
          title=world.title,
          items=world.item_ids,
          flops_per_token=world.flops_per_token,
          flops_per_call=world.flops_per_call,
          **outcome,
        )
    bar.update()


def draw(pool_size: int, world: testbeds.World, keys: jax.Array) -> Samples:
  """Samples that all methods without a decoder of their own choose from."""

  @jax.jit
  def pool(params, problems, prompt, keys):
    setting = world.setting_fn(params, problems)
    generation = setting.sample_fn(setting.params, keys, prompt, pool_size)
    return search.observe(
      prompt, generation, setting.finished_answer_fn, setting.score_fn
    )

  return pool(world.params, world.problems, world.prompt, keys)


def choose(
  chosen: CompareOptions,
  world: testbeds.World,
  pool: Samples,
  method: search.Method,
  budgets: list[int],
) -> Iterator[dict[str, list]]:
  """Outcomes at all budgets, averaged over orders of the pool."""
  curve = curve_of(
    0, method, pool, world.gold, budgets, chosen.num_permutations
  )
  reads = 'verification' in method.how
  for i, n in enumerate(budgets):
    at_n = lambda x: np.asarray(x[:, i], np.float64).round(4).tolist()  # noqa: B023
    calls = [n * reads] * len(world.gold)
    yield to_outcome(*map(at_n, curve), verifier_calls=calls)


def decode(
  world: testbeds.World,
  keys: jax.Array,
  method: search.Method,
  num_samples: int,
) -> dict[str, list]:
  """Outcome at one budget of a method that steers decoding."""
  run = compiled(method, world.setting_fn, num_samples)
  chosen = run(world.params, world.problems, keys, world.prompt)
  chosen = jax.device_get(chosen)
  right = (chosen.answer == world.gold) & (chosen.answer >= 0)
  costs = chosen.tokens, chosen.depth, chosen.verifier_calls
  full = lambda x: np.broadcast_to(x, right.shape).tolist()
  return to_outcome(*map(full, (right.astype(float), *costs)))


def to_outcome(right, tokens, depth, verifier_calls) -> dict[str, list]:
  """What is kept of each problem."""
  return {
    'right': right,
    'tokens': tokens,
    'depth': depth,
    'verifier_calls': verifier_calls,
  }


def report(
  chosen: CompareOptions, workdir: AnyPath, outcomes: journal.Journal
) -> None:
  """Writes compare.md and compare.png."""
  everything = [{**line['what'], **line} for line in outcomes.lines()]
  results = {}
  for name in chosen.worlds:
    lines = [line for line in everything if line['world'] == name]
    if not lines:
      continue
    measured = {}  # methods of each seed; one that is under way is left out
    for line in lines:
      measured.setdefault(line['seed'], set()).add(line['method'])
    most = max(measured.values(), key=len)
    lines = [line for line in lines if measured[line['seed']] == most]
    results[lines[0]['title']] = {
      method.title: evaluation.pool_outcomes(
        [line for line in lines if line['method'] == method.name]
      )
      for method in chosen.chosen
      if any(line['method'] == method.name for line in lines)
    }
  baseline = METHODS[chosen.baseline].title
  text = evaluation.comparison_report(results, baseline)
  files.write_atomically(workdir / 'compare.md', text)
  titles = [m.title for m in chosen.chosen if m.name in chosen.drawn]
  drawn = {
    bed: {
      title: by_method[title]
      for title in titles or [baseline]
      if title in by_method
    }
    for bed, by_method in results.items()
  }
  intervals = evaluation.Outcomes.accuracy_interval
  save_picture(workdir / 'compare.png', drawn, intervals, 'problem')
  tqdm.tqdm.write(text)
  tqdm.tqdm.write(f'wrote {workdir}/compare.md and {workdir}/compare.png')
