"""Frozen rules on environments and horizons that they may never have seen."""

import dataclasses
import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from ttc import agents, metarl
from ttc.drivers import options
from ttc.drivers.meta_options import MetaTestOptions, tasks_of
from ttc.evaluation import aggregates, tables
from ttc.evaluation.bootstrap import percentile_interval
from ttc.io import files
from ttc.io.matplotlib_extra import save_figure
from ttc.io.paths import as_path
from ttc.io.plots import COLORS

UNLEARNED = tuple(
  make.__name__ for make in metarl.RULES if make not in metarl.LEARNED
)


def meta_test(config: Mapping[str, Any], workdir: files.Path) -> str:
  """Lives by every rule, on every environment, for every horizon.

  Writes returns.json, results.md and horizons.png.

  Args:
    config: see `MetaTestOptions`.
    workdir: of the run.

  Returns:
    The tables, in Markdown.

  Raises:
    ValueError: for a value that means nothing, before any life.
  """
  chosen = options.parse(MetaTestOptions, config)
  rules = [find_rule(name) for name in chosen.rules]
  tasks = tasks_of(chosen, max(chosen.horizons))
  workdir = as_path(workdir)
  with files.lock_directory(workdir):
    returns = _live(chosen, rules, tasks)
    lines = _tables(chosen, returns)
    report = {'config': dataclasses.asdict(chosen), 'returns': returns}
    plain = jax.tree.map(lambda x: np.asarray(x).tolist(), report['returns'])
    files.write_atomically(
      workdir / 'returns.json',
      files.to_json({**report, 'returns': plain}, indent=2) + '\n',
    )
    files.write_atomically(workdir / 'results.md', lines + '\n')
    draw(chosen, returns, workdir / 'horizons.png')
  print(lines)
  return lines


def find_rule(name: str) -> metarl.Discovered:
  """A rule without meta-parameters, or a learned one.

  Raises:
    ValueError: naming what there is.
  """
  makers = {make.__name__: make for make in metarl.RULES}
  if name in UNLEARNED:
    return metarl.Discovered(makers[name](), {}, {})
  if not name.endswith('.npz') and name not in metarl.rule_names():
    known = (*UNLEARNED, *metarl.rule_names())
    raise ValueError(
      f'config.rules: {name!r} is not known; there are {", ".join(known)}, and '
      'files *.npz'
    )
  return metarl.load_rule(name)


def _live(chosen, rules, tasks) -> dict[str, Any]:
  """Returns `[environments, horizons, seeds]` of rules, and of random play."""
  shape = (len(tasks), len(chosen.horizons), chosen.num_seeds)
  returns = {name: np.zeros(shape) for name in ('random', *chosen.rules)}
  keys = agents.seed_keys(chosen.seed, chosen.num_seeds)
  with tqdm.tqdm(total=len(rules) * shape[0] * shape[1], unit='run') as bar:
    for e, task in enumerate(tasks):
      returns['random'][e] = np.asarray(jax.jit(jax.vmap(_play(task)))(keys))
      for name, found in zip(chosen.rules, rules, strict=True):
        run = jax.jit(jax.vmap(_life(task, found), in_axes=(0, None)))
        for h, horizon in enumerate(chosen.horizons):
          returns[name][e, h] = np.asarray(run(keys, horizon))
          bar.update()
  return returns


def _life(task, found):
  """Return at the end of a life of a horizon up to `task.high`.

  Levels depend on neither rule nor horizon, and the horizon compiles nothing
  anew: shorter lives take the time of the longest.
  """

  def live(key, horizon):
    life = metarl.draw_life(task, key)._replace(horizon=horizon)
    return metarl.outcome(task, found.rule, found.params, life).fitness

  return live


def _play(task):
  """Return of random play on the level of a life."""

  def play(key):
    life = metarl.draw_life(task, key)
    return agents.evaluate(
      task.env,
      agents.random_policy(),
      (),
      life.key,
      task.eval_episodes,
      task.max_episode_steps,
      env_params=life.env_params,
    ).returns.mean()

  return play


def normalized(returns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Random play is 0, the best rule's mean on the environment is 1.

  The best is taken over all rules and horizons, so horizons can be compared.
  """
  low = returns['random'].mean(axis=(1, 2))
  rest = {name: x for name, x in returns.items() if name != 'random'}
  high = np.max([x.mean(axis=2).max(axis=1) for x in rest.values()], axis=0)
  span = np.maximum(high - low, 1e-6)[:, None, None]
  return {name: (x - low[:, None, None]) / span for name, x in rest.items()}


def _tables(chosen, returns) -> str:
  """Interquartile means, chances of improvement, and plain returns."""
  scores = normalized(returns)
  horizons = [f'N={N}' for N in chosen.horizons]
  rows = [
    [name, *(_iqm(scores[name][:, h].T) for h in range(len(horizons)))]
    for name in chosen.rules
  ]
  lines = ['Interquartile mean of normalised returns (95% by bootstrap)', '']
  lines += tables.markdown_table(['rule', *horizons], rows)
  first = chosen.rules[0]
  if len(chosen.rules) > 1:
    rows = [
      [
        f'{first} over {name}',
        *(
          _improvement(scores[first][:, h].T, scores[name][:, h].T)
          for h in range(len(horizons))
        ),
      ]
      for name in chosen.rules[1:]
    ]
    lines += ['', 'Probability of improvement', '']
    lines += tables.markdown_table(['', *horizons], rows)
  lines += ['', 'Mean return over seeds', '']
  rows = [
    [
      env,
      name,
      *(
        f'{x.mean():.3g} ± {x.std(ddof=1) / len(x) ** 0.5:.2g}'
        for x in returns[name][e]
      ),
    ]
    for e, env in enumerate(chosen.environments)
    for name in ('random', *chosen.rules)
  ]
  lines += tables.markdown_table(['environment', 'rule', *horizons], rows)
  return '\n'.join(lines)


def _interval(statistic, scores) -> str:
  scores = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), scores)
  draws = aggregates.stratified_bootstrap(
    jax.random.key(0), scores, statistic, 2000
  )
  low, high = percentile_interval(draws, 0.95)
  return (
    f'{float(statistic(scores)):.2f} ({float(low):.2f} to {float(high):.2f})'
  )


def _iqm(scores) -> str:
  return _interval(aggregates.interquartile_mean, scores)


def _improvement(ours, theirs) -> str:
  return _interval(
    lambda both: aggregates.probability_of_improvement(*both), (ours, theirs)
  )


def draw(
  chosen: MetaTestOptions, returns: Mapping[str, np.ndarray], path: files.Path
) -> None:
  """Returns against horizons, a panel for each environment."""
  from matplotlib.figure import Figure

  panels: Sequence[str] = chosen.environments
  figure = Figure(figsize=(3.4 * len(panels), 3.2), layout='constrained')
  axes = np.atleast_1d(figure.subplots(1, len(panels)))
  for e, ax in enumerate(axes):
    for i, name in enumerate(chosen.rules):
      x = returns[name][e]
      error = 2 * x.std(axis=1, ddof=1) / x.shape[1] ** 0.5
      label = pathlib.Path(name).stem
      ax.errorbar(
        chosen.horizons, x.mean(axis=1), error, color=COLORS[i], label=label
      )
    ax.axhline(
      returns['random'][e].mean(), color='#999999', ls=':', label='random'
    )
    ax.set_title(textwrap.fill(panels[e], 34), fontsize=9)
    ax.set_xlabel('N, updates of a life')
    ax.set_xscale('log')
    ax.set_xticks(chosen.horizons, [str(N) for N in chosen.horizons])
    ax.minorticks_off()
    ax.spines[['top', 'right']].set_visible(False)
  axes[0].set_ylabel('return at the end of life')
  figure.legend(
    *axes[0].get_legend_handles_labels(),
    loc='outside lower center',
    ncols=len(chosen.rules) + 1,
    frameon=False,
    fontsize=9,
  )
  save_figure(figure, path, dpi=150)
