"""Scores optimisers by the time they take to a target (2306.07179).

Targets come first: many trials of four optimisers, the best one run again with
other seeds, the median of what these reach in three quarters of the steps. Then
every submission is tuned by drawing, a few trials a study. A trial's clock runs
while it compiles and trains, and stands still while it is evaluated.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm

from ttc import evaluation
from ttc.drivers.journal import Journal
from ttc.io import files
from ttc.io.matplotlib_extra import save_figure
from ttc.io.paths import as_path
from ttc.io.profile_plots import plot_performance_profiles
from ttc.testbeds import learned_optimizers, optimizers
from ttc.testbeds.optimizers import Submission
from ttc.testbeds.training_workloads import WORKLOADS, Workload

NAMES = (*(s.name for s in optimizers.BY_HAND), 'learned')
MAX_RATIO = 4.0
TARGET_BUDGET = 0.75  # of the steps, to set targets in (protocol, from memory)


@dataclasses.dataclass(frozen=True)
class TimeToTargetOptions:
  """What may be chosen; defaults are the protocol's.

  Attributes:
    workloads: names; none for all.
    submissions: names; none for all.
    num_studies: of a submission on a workload.
    num_trials: of a study.
    target_trials: of each optimiser that sets targets.
    target_reruns: of the best of these.
    held_out: whether a workload counts only with its variant.
    generations: of evolution, that `learned` is learned with.
    seed: of everything.
  """

  workloads: Sequence[str] = ()
  submissions: Sequence[str] = ()
  num_studies: int = 3
  num_trials: int = 5
  target_trials: int = 200
  target_reruns: int = 20
  held_out: bool = True
  generations: int = 300
  seed: int = 0


class Program(NamedTuple):
  """A compiled training.

  Attributes:
    start: `(key, hyper) -> state`.
    go_on: `(state, hyper) -> state`, to the next evaluation.
    error: `state -> error`.
    seconds: that `start` and `go_on` took to compile.
  """

  start: Callable[..., Any]
  go_on: Callable[..., Any]
  error: Callable[..., Any]
  seconds: float


def time_to_target(chosen: TimeToTargetOptions, workdir: files.Path) -> str:
  """Measures what has not been measured yet, and reports.

  Writes journal.jsonl (a line a target and a trial; what is there is not
  measured again), scores.md and profiles.png.

  Args:
    chosen: sizes.
    workdir: of the run.

  Returns:
    The report, Markdown.

  Raises:
    ValueError: for what means nothing, before anything is measured.
  """
  check(chosen)
  workdir = as_path(workdir)
  makers = [
    make
    for make in WORKLOADS
    if not chosen.workloads or make.__name__ in chosen.workloads
  ]
  variants = (False, True) if chosen.held_out else (False,)
  with files.lock_directory(workdir):
    journal = Journal(workdir / 'journal.jsonl')
    submissions = _submissions(chosen, workdir)
    per_variant = 1 + len(submissions) * chosen.num_studies * chosen.num_trials
    total = len(makers) * len(variants) * per_variant
    results = {}
    with tqdm.tqdm(total=total, unit='trial') as bar:
      for make in makers:
        for held_out in variants:
          workload = make(held_out)
          bar.set_postfix_str(f'{workload.name}{" held out" * held_out}')
          results[workload.name, held_out] = _measure(
            chosen, workload, held_out, submissions, journal, bar
          )
    text = report(chosen, results)
    files.write_atomically(workdir / 'scores.md', text)
    draw(chosen, results, workdir / 'profiles.png')
  return text


def check(chosen: TimeToTargetOptions) -> None:
  """Raises ValueError with a line for what means nothing."""
  known = {
    'workloads': [make.__name__ for make in WORKLOADS],
    'submissions': list(NAMES),
  }
  for name, values in known.items():
    for value in getattr(chosen, name):
      if value not in values:
        raise ValueError(
          f'--{name}: {value!r} is unknown, expected some of '
          f'{", ".join(values)}'
        )
  for name in ('num_studies', 'num_trials', 'target_trials', 'target_reruns'):
    if getattr(chosen, name) < 1:
      raise ValueError(f'--{name}={getattr(chosen, name)} must be at least 1')
  if chosen.generations < 0:
    raise ValueError(f'--generations={chosen.generations} must be at least 0')


def _names(chosen: TimeToTargetOptions) -> list[str]:
  return [n for n in NAMES if not chosen.submissions or n in chosen.submissions]


def _submissions(chosen, workdir) -> list[Submission]:
  names = _names(chosen)
  found = [s for s in optimizers.BY_HAND if s.name in names]
  if 'learned' in names:
    meta = learned_optimizers.learned(
      chosen.seed, chosen.generations, workdir / 'learned'
    )
    found.append(optimizers.learned(meta))
  return found


def _measure(chosen, workload, held_out, submissions, journal, bar):
  """Target, and times `[submissions, studies, trials]` by the clock."""
  where = {'workload': workload.name, 'held_out': held_out, 'seed': chosen.seed}
  what = where | {
    'target_trials': chosen.target_trials,
    'target_reruns': chosen.target_reruns,
  }
  if what not in journal:
    journal.append(what, **set_target(chosen, workload))
  target = journal[what]['target']
  bar.update()
  shape = (len(submissions), chosen.num_studies, chosen.num_trials)
  times = {clock: np.full(shape, np.inf) for clock in ('seconds', 'steps')}
  for i, submission in enumerate(submissions):
    program = None  # compiled when the first trial asks for it
    for study, trial in np.ndindex(shape[1:]):
      what = where | {
        'submission': submission.name,
        'study': study,
        'trial': trial,
      }
      if submission.name == 'learned':
        what['generations'] = chosen.generations
      if what not in journal:
        program = program or compiled(workload, submission)
        key = jax.random.fold_in(jax.random.key(chosen.seed + 1), study)
        key = jax.random.fold_in(key, trial)
        journal.append(what, **run_trial(program, workload, submission, key))
      line = journal[what]
      for clock, reached in times.items():
        reached[i, study, trial] = evaluation.time_to_target(
          jnp.array(line[clock]), jnp.array(line['errors'], float), target
        )
      bar.update()
  return {'target': target, **times}


def training(workload: Workload, submission: Submission, num_steps: int):
  """`start`, `go_on` and `error` as in `Program`, not compiled."""

  def start(key, hyper):
    init_key, key = jax.random.split(key)
    params = workload.init(init_key)
    optimizer = submission.optimizer(hyper, num_steps)
    return params, optimizer.init(params), jnp.int32(0), key

  def go_on(state, hyper):
    optimizer = submission.optimizer(hyper, num_steps)

    def step(state, _):
      params, opt_state, count, key = state
      grads = jax.grad(workload.loss)(params, jax.random.fold_in(key, count))
      changes, opt_state = optimizer.update(grads, opt_state, params)
      params = optax.apply_updates(params, changes)
      return (params, opt_state, count + 1, key), None

    return jax.lax.scan(step, state, length=workload.eval_every)[0]

  def error(state):
    params, opt_state, *_ = state
    return workload.error(submission.evaluated(opt_state, params))

  return start, go_on, error


def compiled(workload: Workload, submission: Submission) -> Program:
  """Compiles a training, with the clock running."""
  start, go_on, error = training(workload, submission, workload.num_steps)
  key = jax.random.key(0)
  hyper = optimizers.draw_hyper(submission, key)
  state = jax.eval_shape(start, key, hyper)
  begin = time.perf_counter()
  starts = jax.jit(start).lower(key, hyper).compile()
  goes_on = jax.jit(go_on).lower(state, hyper).compile()
  seconds = time.perf_counter() - begin
  return Program(starts, goes_on, jax.jit(error), seconds)


def run_trial(
  program: Program, workload: Workload, submission: Submission, key: jax.Array
) -> dict[str, Any]:
  """One training: seconds, steps and error of each evaluation."""
  hyper_key, key = jax.random.split(key)
  hyper = optimizers.draw_hyper(submission, hyper_key)
  clock, seconds, errors = program.seconds, [], []
  state = jax.block_until_ready(program.start(key, hyper))
  for _ in range(workload.num_steps // workload.eval_every):
    begin = time.perf_counter()
    state = jax.block_until_ready(program.go_on(state, hyper))
    clock += time.perf_counter() - begin
    seconds.append(clock)
    errors.append(float(program.error(state)))
  steps = workload.eval_every * np.arange(1, len(errors) + 1)
  return {
    'hyper': {name: float(x) for name, x in hyper.items()},
    'seconds': seconds,
    'steps': steps.tolist(),
    'errors': errors,
    'compile_seconds': program.seconds,
  }


def set_target(
  chosen: TimeToTargetOptions, workload: Workload
) -> dict[str, Any]:
  """The protocol's procedure; trials of an optimiser are one program."""
  num_parts = int(TARGET_BUDGET * workload.num_steps) // workload.eval_every
  num_steps = num_parts * workload.eval_every

  def best_errors(submission, keys, hyper):
    start, go_on, error = training(workload, submission, num_steps)

    def one(key_and_hyper):
      key, hyper = key_and_hyper

      def part(state, _):
        state = go_on(state, hyper)
        return state, error(state)

      errors = jax.lax.scan(part, start(key, hyper), length=num_parts)[1]
      return jnp.nanmin(jnp.where(jnp.isnan(errors), jnp.inf, errors))

    return jax.jit(lambda x: jax.lax.map(one, x, batch_size=20))((keys, hyper))

  def draw_keys(number, count):
    key = jax.random.fold_in(jax.random.key(chosen.seed), number)
    return jax.random.split(key, count)

  found = []
  for i, submission in enumerate(optimizers.TARGET_SETTERS):
    hyper = jax.vmap(lambda key, s=submission: optimizers.draw_hyper(s, key))(
      draw_keys(2 * i, chosen.target_trials)
    )
    keys = draw_keys(2 * i + 1, chosen.target_trials)
    errors = np.asarray(best_errors(submission, keys, hyper))
    at = int(errors.argmin())
    point = jax.tree.map(lambda x, at=at: x[at], hyper)
    found.append((float(errors[at]), submission, point))
  best_trial, submission, hyper = min(found, key=lambda trial: trial[0])
  again = jax.tree.map(
    lambda x: jnp.broadcast_to(x, (chosen.target_reruns,)), hyper
  )
  reruns = best_errors(submission, draw_keys(99, chosen.target_reruns), again)
  return {
    'target': float(evaluation.median_target(reruns)),
    'set_by': submission.name,
    'hyper': {name: float(x) for name, x in hyper.items()},
    'best_trial': best_trial,
  }


def table_of(chosen: TimeToTargetOptions, results: Any, clock: str) -> Any:
  """Times `[submissions, workloads]` of the protocol."""

  def times(held_out):
    columns = [
      evaluation.time_of_studies(jnp.asarray(found[clock]))
      for (_, variant), found in results.items()
      if variant == held_out
    ]
    return jnp.stack(columns, axis=1)

  if not chosen.held_out:
    return times(False)
  return evaluation.with_held_out(times(False), times(True))


def report(chosen: TimeToTargetOptions, results: Any) -> str:
  """Times and scores by both clocks, Markdown."""
  workloads = [name for name, held_out in results if not held_out]
  lines = []
  for clock in ('seconds', 'steps'):
    times = table_of(chosen, results, clock)
    scores = evaluation.algoperf_score(times, MAX_RATIO)
    order = np.argsort(-np.asarray(scores), kind='stable')
    lines += evaluation.markdown_table(
      ['submission', f'score by {clock}', *workloads],
      [
        [
          _names(chosen)[i],
          f'{scores[i]:.3f}',
          *(f'{t:.3g}' if np.isfinite(t) else '∞' for t in times[i]),
        ]
        for i in order
      ],
    )
    lines.append('')
  targets = ', '.join(
    f'{name}{" held out" * held_out} {found["target"]:.3g}'
    for (name, held_out), found in results.items()
  )
  return '\n'.join([*lines, f'Targets: {targets}.', ''])


def draw(chosen: TimeToTargetOptions, results: Any, path: files.Path) -> None:
  """Profiles by both clocks."""
  from matplotlib.figure import Figure

  figure = Figure(figsize=(9, 3.8), layout='constrained')
  taus = np.linspace(1, MAX_RATIO, 601)
  panels = figure.subplots(1, 2, sharey=True)
  for ax, clock in zip(panels, ('seconds', 'steps'), strict=True):
    ratios = evaluation.performance_ratios(
      table_of(chosen, results, clock), MAX_RATIO
    )
    profiles = evaluation.performance_profile(ratios, jnp.asarray(taus))
    named = dict(zip(_names(chosen), np.asarray(profiles), strict=True))
    plot_performance_profiles(ax, taus, named, title=f'by {clock}')
  panels[1].set_ylabel('')
  figure.legend(
    *panels[0].get_legend_handles_labels(),
    loc='outside lower center',
    ncols=4,
    frameon=False,
    fontsize=9,
  )
  save_figure(figure, path, dpi=150)
