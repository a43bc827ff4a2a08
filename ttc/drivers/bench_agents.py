"""Speed of training: the same learner on our environments and on jaxmarl's."""

import time
from collections.abc import Callable, Sequence

import jax

from ttc import agents, envs
from ttc.drivers import bench_envs
from ttc.drivers.timing import interleaved, spread
from ttc.evaluation.tables import markdown_table

HYPER = agents.PPO(num_envs=64, num_steps=64)


def bench_training(names: Sequence[str], repetitions: int = 5) -> str:
  """Times updates of IPPO, environment and learning, in turns.

  Args:
    names: of `bench_envs.CASES`.
    repetitions: timed updates of each.

  Returns:
    A Markdown table of thousands of environment steps a second.

  Raises:
    ValueError: for environments that are not known.
    ImportError: without jaxmarl, naming the extra.
  """
  rows = []
  for case in bench_envs.chosen(names):
    ours = case.make() if case.make else getattr(envs, case.name)()
    theirs = envs.from_jaxmarl(bench_envs.reference(case))
    updates, compile_s = {}, {}
    for name, env in {bench_envs.OURS: ours, bench_envs.THEIRS: theirs}.items():
      start = time.perf_counter()
      updates[name] = _updates(env)
      compile_s[name] = time.perf_counter() - start
    seconds = interleaved(updates, repetitions)
    steps = HYPER.num_envs * HYPER.num_steps
    rate = {k: [steps / s / 1e3 for s in v] for k, v in seconds.items()}
    ratio = [a / b for a, b in zip(*rate.values(), strict=True)]
    rows.append(
      [
        case.name,
        *(spread(values, '.1f') for values in rate.values()),
        spread(ratio, '.2f'),
        *(f'{s:.1f}' for s in compile_s.values()),
      ]
    )
  return '\n'.join(
    markdown_table(
      [
        'IPPO on',
        'ttc, 1000 steps/s',
        'jaxmarl, 1000 steps/s',
        'ratio',
        'ttc, s to the first update',
        'jaxmarl',
      ],
      rows,
      num_left=1,
    )
  )


def _updates(env: envs.Environment) -> Callable[[], None]:
  """A function that does the next update, after the first one."""
  learner = agents.ippo(env, HYPER)
  update = jax.jit(learner.update, donate_argnums=0)
  kept = [jax.jit(learner.init)(jax.random.key(0))]

  def run():
    kept[0] = jax.block_until_ready(update(kept[0])[0])

  run()
  return run
