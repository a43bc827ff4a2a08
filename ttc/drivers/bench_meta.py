"""Speed of meta-training by evolution, beside evosax with gymnax and flax.

Both sides train LPG on the same game: the same population, lives, agents and
evaluations (`ttc.drivers.evosax_peer` says how theirs is put together). A
generation is one compiled program on either side.
"""

import importlib.util
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import optax

from ttc import agents, envs, metarl
from ttc.drivers import meta_profile
from ttc.drivers.timing import interleaved, spread
from ttc.evaluation.tables import markdown_table
from ttc.io import files
from ttc.metarl.meta_task import MetaTask
from ttc.metarl.rules.interface import UpdateRule

OURS, THEIRS = 'ttc', 'evosax'
PARTS = ('speed', 'profile', 'growth')
SIGMA, META_RATE = 0.1, 0.01
NUM_PREDICTIONS = 8


class Game(NamedTuple):
  """A game that both have, and its agent.

  Attributes:
    make: our maker.
    reference: gymnax's name.
    widths: of the agent's hidden layers; none for a linear one.
    optimizer: of the agent.
    max_episode_steps: of an evaluation: no episode is longer.
  """

  make: Callable[[], envs.Environment]
  reference: str
  widths: tuple[int, ...]
  optimizer: optax.GradientTransformation
  max_episode_steps: int


GAMES = {
  'catch': Game(envs.catch, 'Catch-bsuite', (), optax.sgd(1.0), 9),
  'cart_pole': Game(
    envs.cart_pole, 'CartPole-v1', (32,), optax.adam(1e-3), 500
  ),
}


class Bench(NamedTuple):
  """What is timed.

  Attributes:
    games: of `GAMES`; all if empty.
    parts: of `PARTS`.
    num_pairs: half of the population.
    horizon: updates of a life.
    num_envs: of an agent.
    num_steps: of an update.
    rule_width: of LPG's GRU.
    eval_episodes: at the end of a life.
    repetitions: timed generations of each.
    pairs: populations to grow over, in pairs.
    horizons: lives to grow over.
    chunk_size: of these, in pairs.
  """

  games: tuple[str, ...] = ()
  parts: tuple[str, ...] = PARTS
  num_pairs: int = 32
  horizon: int = 20
  num_envs: int = 16
  num_steps: int = 20
  rule_width: int = 32
  eval_episodes: int = 16
  repetitions: int = 7
  pairs: tuple[int, ...] = (8, 16, 32, 64)
  horizons: tuple[int, ...] = (10, 20, 40)
  chunk_size: int = 8


CHECK = Bench(
  games=('catch',),
  num_pairs=2,
  horizon=2,
  num_envs=2,
  num_steps=3,
  rule_width=4,
  eval_episodes=2,
  repetitions=1,
  pairs=(1, 2),
  horizons=(1, 2),
  chunk_size=1,
)


def bench_meta(bench: Bench, out: files.Path | None = None) -> str:
  """Times generations, in turns, in one process.

  Args:
    bench: what to time.
    out: JSON file for every figure; rewritten after each game.

  Returns:
    Markdown tables, one for each part.

  Raises:
    ValueError: for games or parts that are not known, or sizes that mean
      nothing.
    ImportError: without the peer, naming the extra.
    OSError: if `out` cannot be written, before anything is timed.
  """
  check(bench)
  report = {
    'jax': jax.__version__,
    'device': jax.devices()[0].device_kind,
    'sizes': bench._asdict(),
    **{part: {} for part in bench.parts},
  }
  run = {
    'speed': speed,
    'profile': lambda name, bench: meta_profile.shares(
      *training(name, bench), bench.num_pairs, bench.repetitions
    ),
    'growth': growth,
  }

  def write():
    if out:
      files.write_atomically(out, files.to_json(report, indent=2) + '\n')

  write()
  for part in bench.parts:
    for name in bench.games or GAMES:
      report[part][name] = run[part](name, bench)
      write()
  return markdown(report)


def check(bench: Bench) -> None:
  """Raises for what cannot be timed; see `bench_meta`."""
  for what, values, known in (
    ('game', bench.games, GAMES),
    ('part', bench.parts, PARTS),
  ):
    if unknown := [name for name in values if name not in known]:
      raise ValueError(
        f'{what} {unknown[0]!r} is not known; there are {", ".join(known)}'
      )
  for name, value in bench._asdict().items():
    if name not in ('games', 'parts'):
      values = value if isinstance(value, Sequence) else [value]
      if min(values, default=0) < 1:
        raise ValueError(f'{name}={value}, expected at least 1')
  if wrong := [n for n in bench.pairs if n % bench.chunk_size]:
    raise ValueError(
      f'pairs={wrong[0]} is no multiple of chunk_size={bench.chunk_size}'
    )
  if 'speed' in bench.parts and (
    importlib.util.find_spec('evosax') is None
    or importlib.util.find_spec('gymnax') is None
  ):
    raise ImportError(
      "the peer is not installed: pip install 'ttc-jax[oracle]'"
    )


def training(name: str, bench: Bench) -> tuple[MetaTask, UpdateRule]:
  """Our lives on a game, all of one length, and the rule."""
  game = GAMES[name]
  agent = metarl.Agent(
    agents.PPO(
      bench.num_envs, bench.num_steps, num_epochs=1, num_minibatches=1
    ),
    agents.Architecture(
      game.widths, activation='relu', biases=bool(game.widths)
    ),
    clipped(game),
  )
  task = MetaTask(
    game.make(),
    low=bench.horizon,
    high=bench.horizon,
    agent=agent,
    eval_episodes=bench.eval_episodes,
    max_episode_steps=game.max_episode_steps,
  )
  return task, metarl.lpg(NUM_PREDICTIONS, bench.rule_width)


def clipped(game: Game) -> optax.GradientTransformation:
  """The agent's optimiser behind clipping."""
  return optax.chain(optax.clip_by_global_norm(0.5), game.optimizer)


def our_evolution(
  task: MetaTask, rule: UpdateRule, num_pairs: int, chunk_size: int | None
) -> metarl.Evolution:
  """The strategy of all that is timed here."""
  return metarl.evolution(
    metarl.final_return(task, rule),
    optax.adam(META_RATE),
    num_pairs,
    sigma=SIGMA,
    shaping=metarl.centered_ranks,
    chunk_size=chunk_size,
  )


def peer_of(name: str, bench: Bench) -> Any:
  """The peer's training on a game."""
  from ttc.drivers import evosax_peer

  game = GAMES[name]
  return evosax_peer.Peer(
    game.reference,
    game.widths,
    clipped(game),
    bench.rule_width,
    NUM_PREDICTIONS,
    bench.num_pairs,
    bench.horizon,
    bench.num_envs,
    bench.num_steps,
    bench.eval_episodes,
    game.max_episode_steps,
    discount=agents.PPO().discount,
    prediction_weight=0.5,
    sigma=SIGMA,
    meta_rate=META_RATE,
  )


def speed(name: str, bench: Bench) -> dict[str, Any]:
  """Seconds of generations of both, and what fitness they begin with."""
  from ttc.drivers import evosax_peer

  task, rule = training(name, bench)
  ours = our_evolution(task, rule, bench.num_pairs, None)
  init, update = evosax_peer.evolution(peer_of(name, bench))
  states = {
    OURS: ours.init(rule.init(jax.random.key(0)), jax.random.key(1)),
    THEIRS: jax.jit(init)(jax.random.key(0)),
  }
  engines, compile_s, fitness = {}, {}, {}
  for side, update_fn in {OURS: ours.update, THEIRS: update}.items():
    engines[side], compile_s[side], fitness[side] = meta_profile.generations(
      update_fn, states[side]
    )
  seconds = interleaved(engines, bench.repetitions)
  mean = {side: statistics.mean(values) for side, values in fitness.items()}
  return {'seconds': seconds, 'compile_s': compile_s, 'fitness': mean}


def growth(name: str, bench: Bench) -> list[dict[str, Any]]:
  """Seconds and memory by population and by lifetime, in chunks."""
  small = min(bench.pairs)
  cases = [(n, bench.horizon) for n in bench.pairs]
  cases += [(small, n) for n in bench.horizons if n != bench.horizon]
  engines, lines = {}, []
  for num_pairs, horizon in cases:
    task, rule = training(name, bench._replace(horizon=horizon))
    es = our_evolution(task, rule, num_pairs, bench.chunk_size)
    state = es.init(rule.init(jax.random.key(0)), jax.random.key(1))
    compiled = jax.jit(es.update).lower(state).compile()
    memory = compiled.memory_analysis()
    case = (num_pairs, horizon)
    engines[case] = meta_profile.next_generation(compiled, state)
    lines.append(
      {
        'num_pairs': num_pairs,
        'horizon': horizon,
        'temp_bytes': memory.temp_size_in_bytes if memory else None,
      }
    )
  seconds = interleaved(engines, bench.repetitions)
  for line, values in zip(lines, seconds.values(), strict=True):
    line['seconds'] = values
  return lines


def markdown(report: Mapping[str, Any]) -> str:
  """The tables of the parts that were timed."""
  tables = {
    'speed': _speed_table,
    'profile': meta_profile.markdown,
    'growth': _growth_table,
  }
  return '\n\n'.join(
    table(report[part]) for part, table in tables.items() if part in report
  )


def _speed_table(results):
  rows = []
  for name, result in results.items():
    seconds = result['seconds']
    rate = {side: [1 / s for s in values] for side, values in seconds.items()}
    pairs = zip(rate[OURS], rate[THEIRS], strict=True)
    rows.append(
      [
        name,
        spread(rate[OURS], '.2f'),
        spread(rate[THEIRS], '.2f'),
        spread([a / b for a, b in pairs], '.2f'),
        *(f'{result["compile_s"][side]:.1f}' for side in (OURS, THEIRS)),
        *(f'{result["fitness"][side]:.2f}' for side in (OURS, THEIRS)),
      ]
    )
  header = [
    'game',
    f'{OURS}, generations/s',
    f'{THEIRS}, generations/s',
    'ratio',
    f'{OURS}, s to compile',
    THEIRS,
    f'{OURS}, first mean return',
    THEIRS,
  ]
  return '\n'.join(markdown_table(header, rows, num_left=1))


def _growth_table(results):
  rows = []
  for name, lines in results.items():
    first = lines[0]
    for line in lines:
      ratio = [
        a / b for a, b in zip(line['seconds'], first['seconds'], strict=True)
      ]
      size = line['temp_bytes']
      work = line['num_pairs'] * line['horizon']
      rows.append(
        [
          name,
          str(2 * line['num_pairs']),
          str(line['horizon']),
          spread(line['seconds'], '.3f'),
          f'{work / (first["num_pairs"] * first["horizon"]):.2f}',
          spread(ratio, '.2f'),
          '-' if size is None else f'{size / 2**20:.2f}',
        ]
      )
  header = [
    'game',
    'population',
    'updates of a life',
    's a generation',
    'updates, to the first line',
    'time, to the first line',
    'temporary memory, MiB',
  ]
  return '\n'.join(markdown_table(header, rows, num_left=1))
