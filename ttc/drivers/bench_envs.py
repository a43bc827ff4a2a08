"""Speed of environments beside jaxmarl and gymnax: of a step, of compiling."""

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from ttc.drivers import env_peers
from ttc.drivers.timing import interleaved, spread
from ttc.evaluation.tables import markdown_table
from ttc.io import files

OURS, THEIRS = 'ttc', 'peer'


class Bench(NamedTuple):
  """What is timed.

  Attributes:
    names: of cases; all if empty.
    num_envs: sizes of batches.
    total_steps: environment steps of a timed run.
    repetitions: timed runs of each.
    compilations: timed compilations of each.
  """

  names: tuple[str, ...] = ()
  num_envs: tuple[int, ...] = (64, 1024)
  total_steps: int = 2**18
  repetitions: int = 5
  compilations: int = 3


CHECK = Bench(
  ('simple', 'switch_riddle', 'cart_pole'),
  num_envs=(4,),
  total_steps=64,
  repetitions=2,
  compilations=1,
)


def bench_envs(bench: Bench, out: files.Path | None = None) -> str:
  """Times environments of ours and of their peers in turns, in one process.

  A run is a scan over batches that reset by themselves. Actions and keys are
  drawn before and are the same for both, and so are observations, rewards and
  ends that have to be computed. A compilation is of a new function, with the
  tracing, after all caches were emptied. Seconds are those of the processor, of
  all threads together, where that is where the environments run, so that other
  work of the machine counts less; else those of the clock on the wall.

  Args:
    bench: what to time.
    out: JSON file for every figure; rewritten after each environment.

  Returns:
    A Markdown table.

  Raises:
    ValueError: for environments that are not known or sizes that mean nothing.
    ImportError: without a peer, naming the extra.
    OSError: if `out` cannot be written, before anything is timed.
  """
  _check_sizes(bench)
  cases = env_peers.chosen(bench.names)
  results = []

  def write():
    report = {
      'jax': jax.__version__,
      'device': jax.devices()[0].device_kind,
      'results': results,
    }
    if out:
      files.write_atomically(out, files.to_json(report, indent=2) + '\n')

  write()
  for case in cases:
    env, their_run = env_peers.ours(case), env_peers.their_run(case)
    for num_envs in bench.num_envs:
      makers = {
        OURS: functools.partial(env_peers.our_run, env, case.only_legal),
        THEIRS: their_run,
      }
      inputs = env_peers.inputs(
        env, case.only_legal, num_envs, bench.total_steps
      )
      start = time.perf_counter()
      figures = _measure(makers, inputs, num_envs, bench)
      figures['seconds'] = time.perf_counter() - start
      label = {'name': case.name, 'peer': case.peer, 'num_envs': num_envs}
      results.append({**label, **figures})
      write()
  return markdown(results)


def _check_sizes(bench):
  sizes = bench._asdict()
  del sizes['names']
  for name, value in sizes.items():
    if min(value if isinstance(value, Sequence) else [value], default=0) < 1:
      raise ValueError(f'bench_envs: {name}={value}, expected at least 1')


def _measure(makers, inputs, num_envs, bench):
  """Seconds of compilations, and microseconds of environment steps."""
  clock = _clock()
  compiled, compile_s = {}, {name: [] for name in makers}
  for _ in range(bench.compilations):
    for name, run in makers.items():
      jax.clear_caches()
      start = clock()
      compiled[name] = jax.jit(run).lower(*inputs).compile()
      compile_s[name].append(clock() - start)
  engines = {
    name: functools.partial(_wait_for, run, inputs)
    for name, run in compiled.items()
  }
  steps = inputs[1].shape[0] * num_envs
  seconds = interleaved(engines, bench.repetitions, clock)
  microseconds = {
    name: [1e6 * value / steps for value in values]
    for name, values in seconds.items()
  }
  return {'compile_s': compile_s, 'step_us': microseconds}


def _clock() -> Callable[[], float]:
  on_cpu = jax.default_backend() == 'cpu'
  return time.process_time if on_cpu else time.perf_counter


def _wait_for(run, inputs):
  jax.block_until_ready(run(*inputs))


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
  """One line an environment and size of batch."""
  rows = []
  for result in results:
    step, compile_s = result['step_us'], result['compile_s']
    pairs = zip(step[OURS], step[THEIRS], strict=True)
    middle = {name: statistics.median(v) for name, v in compile_s.items()}
    rows.append(
      [
        result['name'],
        result['peer'],
        str(result['num_envs']),
        spread(step[OURS], '.3f'),
        spread(step[THEIRS], '.3f'),
        f'{statistics.median(a / b for a, b in pairs):.2f}',
        f'{middle[OURS]:.2f}',
        f'{middle[THEIRS]:.2f}',
        f'{middle[OURS] / middle[THEIRS]:.2f}',
        f'{result["seconds"]:.0f}',
      ]
    )
  header = [
    'environment',
    'peer',
    'N',
    'ttc, us a step',
    'peer, us a step',
    'ratio',
    'ttc, s to compile',
    'peer',
    'ratio',
    'seconds',
  ]
  return '\n'.join(markdown_table(header, rows, num_left=2))
