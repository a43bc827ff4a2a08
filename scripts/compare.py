"""Compares every method at equal generated tokens, paired by problem.

  python scripts/compare.py --workdir=runs/compare
  python scripts/compare.py --workdir=runs/try --config.worlds="('table',)" \\
      --config.methods="('best_of_n', 'beam_search', 'self_consistency')"

A world is a policy, problems and a verifier (scripts/worlds). Methods that
choose among samples share one pool, drawn once per world and seed; the others
steer the decoder themselves, once for every budget. All see the same problems
and keys. What was measured is in outcomes.jsonl, one line for each world, seed,
method and budget, so a killed run goes on where it was. compare.md has the
tables, compare.png the curves against tokens and against FLOPs, those of the
verifier included.
"""

import functools
import importlib
import json
import os
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from absl import app, flags, logging
from ml_collections import config_flags

from ttc import evaluation, io, search, strategies

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = config_flags.DEFINE_config_file(
  'config', str(_ROOT / 'configs' / 'compare.py'), lock_config=True
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory for all output.')
_REPORT_ONLY = flags.DEFINE_bool(
  'report_only', False, 'Measure nothing; report what has been measured.'
)
flags.mark_flag_as_required('workdir')

WORLDS = sorted(
  path.stem
  for path in (_ROOT / 'scripts' / 'worlds').glob('*.py')
  if 'def build(' in path.read_text(encoding='utf-8')
)


def main(argv):
  """Measures what is missing and reports; bad input is one line."""
  logging.set_verbosity(logging.WARNING)
  if len(argv) > 1:
    sys.exit(f'compare: unexpected argument {argv[1]!r}')
  io.enable_compilation_cache()
  try:
    run(_CONFIG.value, pathlib.Path(_WORKDIR.value))
  except (ValueError, OSError, ImportError) as error:
    sys.exit(f'compare: {" ".join(str(error).split())}')


def run(config, workdir):
  """Measures all methods on all worlds and reports."""
  methods = check(config)
  # What else there is to measure may change from one start to the next.
  fixed = ('pool_size', 'num_problems', 'num_items', 'num_permutations')
  settings = {name: config[name] for name in fixed}
  evaluation.start_run(workdir, settings, base_seed=0)
  if not _REPORT_ONLY.value:
    measure_all(config, workdir, methods)
  report(config, workdir, methods, read_outcomes(workdir))


def measure_all(config, workdir, methods):
  """Measures what has no outcome yet, with a bar."""
  done = read_outcomes(workdir)
  todo = len(config.worlds) * config.num_seeds * len(methods)
  with tqdm.tqdm(total=todo, unit=' methods', dynamic_ncols=True) as bar:
    for name in config.worlds:
      for seed in range(config.num_seeds):
        measure(config, workdir, name, seed, methods, done, bar)


def check(config):
  """Refuses values that mean nothing; returns the methods."""
  if unknown := set(config.worlds) - set(WORLDS):
    raise ValueError(f'world {unknown.pop()!r} is not one of {WORLDS}')
  for name in ('num_seeds', 'num_problems', 'num_items', 'num_permutations'):
    if config[name] < 1:
      raise ValueError(f'{name}={config[name]} must be at least 1')
  wrong = [n for n in config.budgets if not 1 <= n <= config.pool_size]
  if wrong or not config.budgets:
    raise ValueError(
      f'budgets={wrong} must be numbers of responses, '
      f'1 to pool_size={config.pool_size}'
    )
  everything = (*search.METHODS, *strategies.METHODS)
  known = {m.name: m for m in everything if m.select or m.decode}
  names = list(known) if 'all' in config.methods else list(config.methods)
  if config.baseline not in names:
    names.append(config.baseline)
  for name in names:
    if name not in known:
      raise ValueError(f'method {name!r} is not one of {sorted(known)}')
  return [known[name] for name in names]


def measure(config, workdir, name, seed, methods, done, bar):
  """Runs on one world and seed what has no outcome yet."""
  bar.set_description(f'{name} {seed}')
  wanted = lambda m: (
    {*config.budgets, config.pool_size}  # others may spend a little more
    if m.name == config.baseline
    else set(config.budgets)
  )
  missing = {
    m: [n for n in sorted(wanted(m)) if (name, seed, m.name, n) not in done]
    for m in methods
  }
  if any(missing.values()):
    module = importlib.import_module(f'worlds.{name}')
    size = config.num_items if name == 'smollm2' else config.num_problems
    world = module.build(seed, size)
    keys = jnp.stack([evaluation.problem_key(seed, i) for i in world.item_ids])
    draw_pool = functools.cache(lambda: draw(config, world, keys))
    shared = {
      'world': name,
      'title': world.title,
      'seed': seed,
      'items': world.item_ids,
      'flops_per_token': world.flops_per_token,
      'flops_per_call': world.flops_per_call,
    }
  for method, budgets in missing.items():
    bar.set_postfix_str(method.name)
    if budgets and can_run(method, world):
      outcomes = (
        choose(config, world, draw_pool(), method, budgets)
        if method.decode is None
        else (decode(world, keys, method, n) for n in budgets)
      )
      for n, outcome in zip(budgets, outcomes, strict=True):
        line = {**shared, 'method': method.name, 'budget': n, **outcome}
        append_line(workdir / 'outcomes.jsonl', line)
    bar.update()


def can_run(method, world):
  """Whether the world has what the method cannot do without."""
  setting = world.setting_fn(world.params, world.problems)
  return method.needs is None or getattr(setting, method.needs) is not None


def draw(config, world, keys):
  """Samples that all methods without a decoder of their own choose from."""

  @jax.jit
  def pool(params, problems, prompt, keys):
    setting = world.setting_fn(params, problems)
    generation = setting.sample_fn(
      setting.params, keys, prompt, config.pool_size
    )
    return search.observe(
      prompt, generation, setting.finished_answer_fn, setting.score_fn
    )

  return pool(world.params, world.problems, world.prompt, keys)


def choose(config, world, pool, method, budgets):
  """Outcomes at all budgets, averaged over orders of the pool."""
  curve = jax.jit(evaluation.scaling_curve, static_argnums=(1, 5))(
    jax.random.key(0),
    method.select,
    pool,
    jnp.asarray(world.gold),
    jnp.asarray(budgets),
    config.num_permutations,
  )
  reads = 'verification' in method.how
  for i, n in enumerate(budgets):
    calls = [n * reads] * len(world.gold)
    at_n = lambda x: np.asarray(x[:, i], np.float64).round(4).tolist()  # noqa: B023
    yield to_outcome(*map(at_n, curve), calls)


def decode(world, keys, method, num_samples):
  """Outcome at one budget of a method that steers decoding."""

  @jax.jit
  def solve(params, problems, prompt, keys):
    setting = world.setting_fn(params, problems)
    return search.solve(method, setting, keys, prompt, num_samples)

  chosen = solve(world.params, world.problems, world.prompt, keys)
  answer, *costs = jax.device_get(chosen)
  right = (answer == world.gold) & (answer >= 0)
  full = lambda x: np.broadcast_to(x, right.shape).tolist()
  return to_outcome(*map(full, (right.astype(float), *costs)))


def to_outcome(right, tokens, depth, verifier_calls):
  """What is kept of each problem."""
  return {
    'right': right,
    'tokens': tokens,
    'depth': depth,
    'verifier_calls': verifier_calls,
  }


def append_line(path, line):
  """Appends JSON and waits until it is on disk."""
  with path.open('a', encoding='utf-8') as file:
    file.write(json.dumps(line) + '\n')
    file.flush()
    os.fsync(file.fileno())


def read_outcomes(workdir):
  """What has been measured, by (world, seed, method, budget)."""
  path = workdir / 'outcomes.jsonl'
  if not path.exists():
    return {}
  *lines, rest = path.read_text(encoding='utf-8').split('\n')
  if rest:  # cut short by a kill
    path.write_text('\n'.join([*lines, '']), encoding='utf-8')
  found = {}
  for number, text in enumerate(lines, start=1):
    try:
      line = json.loads(text)
      key = line['world'], line['seed'], line['method'], line['budget']
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(f'{path}:{number}: corrupt line: {error}') from None
    found[key] = line
  return found


def report(config, workdir, methods, outcomes):
  """Writes compare.md and compare.png."""
  results = {}
  for name in config.worlds:
    lines = [line for key, line in outcomes.items() if key[0] == name]
    if not lines:
      continue
    measured = {}  # methods of each seed; one that is under way is left out
    for line in lines:
      measured.setdefault(line['seed'], set()).add(line['method'])
    most = max(measured.values(), key=len)
    lines = [line for line in lines if measured[line['seed']] == most]
    by_method = {
      method.title: evaluation.pool_outcomes(
        [line for line in lines if line['method'] == method.name]
      )
      for method in methods
      if any(line['method'] == method.name for line in lines)
    }
    results[lines[0]['title']] = by_method
  baseline = next(m.title for m in methods if m.name == config.baseline)
  text = evaluation.comparison_report(results, baseline)
  (workdir / 'compare.md').write_text(text, encoding='utf-8')
  drawn = [m.title for m in methods if m.name in config.drawn] or [baseline]
  panels = {
    label: {
      title: {
        name: io.PlotCurve(
          getattr(by_method[name], field),
          *by_method[name].accuracy_interval(),
        )
        for name in drawn
        if name in by_method
      }
      for title, by_method in results.items()
    }
    for field, label in (
      ('mean_tokens', 'generated tokens per problem'),
      ('mean_flops', 'FLOPs per problem, verifier included'),
    )
  }
  io.save_scaling_figure(workdir / 'compare.png', panels)
  tqdm.tqdm.write(text)
  tqdm.tqdm.write(f'wrote {workdir}/compare.md and {workdir}/compare.png')


if __name__ == '__main__':
  app.run(main)
