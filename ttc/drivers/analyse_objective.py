"""Pictures of what a rule teaches, and of lives lived by it."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ttc import agents, metarl
from ttc.agents.actor_critic import Judged, Outputs
from ttc.agents.distributions import Categorical
from ttc.agents.rollouts import Rollout
from ttc.drivers import options
from ttc.drivers.meta_options import MetaTestOptions, tasks_of
from ttc.drivers.meta_test import find_rule
from ttc.io import files
from ttc.io.matplotlib_extra import save_figure
from ttc.io.paths import as_path
from ttc.io.plots import COLORS

MOMENTS = (0.0, 0.5, 1.0)  # n / N


def analyse_objective(config: dict[str, Any], workdir: files.Path) -> None:
  """Draws each rule of a test.

  Writes, for a rule of mirror learning, drift-<rule>.png: the drift over ratio
  and advantage at the beginning, the middle and the end of life; for LPG
  targets-<rule>.png: what it says of a step that ends an episode, by reward and
  by how probable the action was; and for all together lives.png: entropy, and
  the size of updates, through lives of each horizon.

  Args:
    config: see `MetaTestOptions`; the first environment is lived in.
    workdir: of the pictures.

  Raises:
    ValueError: for a value that means nothing, before anything is drawn.
  """
  chosen = options.parse(MetaTestOptions, config)
  rules = {name: find_rule(name) for name in chosen.rules}
  task = tasks_of(chosen, chosen.horizons[0])[0]
  workdir = as_path(workdir)
  with files.lock_directory(workdir):
    written = []
    for name, found in rules.items():
      stem = pathlib.Path(name).stem
      if found.rule.drift is not None:
        draw_drift(found, workdir / f'drift-{stem}.png')
        written.append(f'drift-{stem}.png')
      elif 'lpg' in found.rule.name:
        path = workdir / f'targets-{stem}.png'
        draw_targets(found, chosen.discount, chosen.horizons, path)
        written.append(f'targets-{stem}.png')
    lives = {
      name: {N: _lives(chosen, task, found, N) for N in chosen.horizons}
      for name, found in rules.items()
    }
    draw_lives(lives, workdir / 'lives.png')
  print(f'{workdir}: {", ".join((*written, "lives.png"))}')


def drift_grid(
  found: metarl.Discovered, progress: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Ratios, advantages, and the drift `[advantages, ratios]`."""
  ratios, advantages = np.linspace(0.5, 1.5, 81), np.linspace(-2, 2, 81)
  grid = jnp.meshgrid(jnp.float32(ratios), jnp.float32(advantages))
  assert found.rule.drift is not None  # or there is nothing to draw
  drift = found.rule.drift(found.params, jnp.float32(progress))
  return ratios, advantages, np.asarray(drift(*grid))


def draw_drift(found: metarl.Discovered, path: files.Path) -> None:
  """A panel for each moment of life."""
  from matplotlib.figure import Figure

  figure = Figure(figsize=(10.5, 3.3), layout='constrained')
  axes = figure.subplots(1, 3, sharey=True)
  panels = [drift_grid(found, moment) for moment in MOMENTS]
  top = max(panel[2].max() for panel in panels)
  images = []
  for ax, moment, (ratios, advantages, values) in zip(
    axes, MOMENTS, panels, strict=True
  ):
    image = ax.pcolormesh(
      ratios,
      advantages,
      values,
      vmin=0,
      vmax=top,
      cmap='magma_r',
      rasterized=True,
    )
    images.append(image)
    ax.axvline(1.0, color='#333333', lw=0.6)
    ax.set_title(f'n / N = {moment:g}', fontsize=11)
    ax.set_xlabel('ratio')
  axes[0].set_ylabel('advantage')
  figure.colorbar(images[-1], ax=axes, label='drift')
  figure.suptitle(found.rule.name)
  save_figure(figure, path, dpi=150)


def last_step_targets(
  found: metarl.Discovered,
  discount: float,
  rewards: np.ndarray,
  probabilities: np.ndarray,
  n: int,
  horizon: int,
) -> np.ndarray:
  """`pi_hat` of the only step of an episode, `[probabilities, rewards]`.

  Predictions are uniform.
  """
  num_predictions = found.rule.num_further(0)
  reward, probability = jnp.meshgrid(
    jnp.float32(rewards), jnp.float32(probabilities)
  )
  shape = (1, *reward.shape)
  no, zeros = jnp.zeros(shape, bool), jnp.zeros(shape, jnp.float32)
  uniform = jnp.zeros((*shape, num_predictions), jnp.float32)
  rollout = Rollout(
    obs=zeros[..., None],
    legal=no[..., None],
    reset=no,
    active=~no,
    action=zeros.astype(jnp.int32),
    reward=reward[None],
    terminated=jnp.ones(shape[:2], bool),
    truncated=no[..., 0],
    cut_value=zeros,
    kept=Judged(zeros[..., None], jnp.log(probability)[None], zeros, uniform),
  )
  last = Outputs(Categorical(zeros), zeros[0], uniform[0])
  (pi_hat, _), _ = found.rule.targets(
    found.params,
    (),
    metarl.Experience(rollout, last, {}, lambda params: (last, last)),
    metarl.Lifetime(jnp.int32(n), horizon),
    agents.PPO(discount=discount),
  )
  return np.asarray(pi_hat[0])


def draw_targets(
  found: metarl.Discovered,
  discount: float,
  horizons: tuple[int, ...],
  path: files.Path,
) -> None:
  """`pi_hat` over rewards, by probability of the action; rows are horizons."""
  from matplotlib.figure import Figure

  rewards, probabilities = np.linspace(-2, 2, 41), np.array([0.05, 0.5, 0.95])
  figure = Figure(figsize=(9.5, 2.6 * len(horizons)), layout='constrained')
  axes = figure.subplots(
    len(horizons), 3, sharex=True, sharey=True, squeeze=False
  )
  for row, N in zip(axes, horizons, strict=True):
    for ax, moment in zip(row, MOMENTS, strict=True):
      values = last_step_targets(
        found, discount, rewards, probabilities, round(moment * N), N
      )
      for i, p in enumerate(probabilities):
        ax.plot(rewards, values[i], color=COLORS[i], label=f'pi(a|s) = {p:g}')
      ax.axhline(0, color='#999999', lw=0.6)
      ax.set_title(f'N = {N}, n / N = {moment:g}', fontsize=10)
      ax.spines[['top', 'right']].set_visible(False)
    row[0].set_ylabel('pi_hat')
  for ax in axes[-1]:
    ax.set_xlabel('reward of a last step')
  axes[0, 0].legend(frameon=False, fontsize=8)
  save_figure(figure, path, dpi=150)


def _lives(chosen, task, found, horizon):
  """Entropy and size of updates, `[seeds, N]` each."""
  task = task._replace(low=horizon, high=horizon)

  @jax.jit
  @jax.vmap
  def live(key):
    life = metarl.draw_life(task, key)
    learner = metarl.learner(
      task.env,
      found.rule,
      found.params,
      horizon,
      task.agent,
      env_params=life.env_params,
    )

    def step(state, _):
      after, metrics = learner.update(state)
      old, new = learner.params(state), learner.params(after)
      square = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), old, new)
      return after, (metrics['entropy'], sum(jax.tree.leaves(square)) ** 0.5)

    return jax.lax.scan(step, learner.init(life.key), length=horizon)[1]

  keys = agents.seed_keys(chosen.seed, chosen.num_seeds)
  return jax.tree.map(np.asarray, live(keys))


def draw_lives(lives: dict[str, dict[int, Any]], path: files.Path) -> None:
  """Entropy above, sizes of updates below, a column for each horizon."""
  from matplotlib.figure import Figure

  horizons = list(next(iter(lives.values())))
  figure = Figure(figsize=(3.2 * len(horizons), 5), layout='constrained')
  axes = figure.subplots(2, len(horizons), sharey='row', squeeze=False)
  for column, N in zip(axes.T, horizons, strict=True):
    for i, (name, by_horizon) in enumerate(lives.items()):
      for ax, values in zip(column, by_horizon[N], strict=True):
        ax.plot(
          np.arange(N) / N,
          np.nanmean(values, axis=0),
          color=COLORS[i],
          label=pathlib.Path(name).stem,
        )
        ax.spines[['top', 'right']].set_visible(False)
    column[0].set_title(f'N = {N}', fontsize=11)
    column[1].set_xlabel('n / N')
  axes[0, 0].set_ylabel('entropy of the policy, nats')
  axes[1, 0].set_ylabel('size of an update')
  figure.legend(
    *axes[0, 0].get_legend_handles_labels(),
    loc='outside lower center',
    ncols=4,
    frameon=False,
  )
  save_figure(figure, path, dpi=150)
