"""Prices test-time compute in equivalent FLOPs, and draws what follows.

An eFLOP charges a byte read from memory as many FLOPs as the machine could have
done meanwhile (Kinetics, arXiv 2506.05333).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation, io
from ttc.drivers import journal
from ttc.evaluation import SampleRecord, ScoreRecord
from ttc.io import files, kinetics_plots
from ttc.io.matplotlib_extra import save_figure
from ttc.io.paths import AnyPath, as_path
from ttc.scaling import frontier, kinetics, kinetics_claims
from ttc.scaling.hardware import HARDWARE, QWEN3, Hardware

_NUM_LIMITS = 17  # points of an accuracy curve


class Prices(NamedTuple):
  """On what machine, and with what attention, tokens are paid for."""

  hardware: str = 'b200_fp8'  # of `scaling.hardware.HARDWARE`; the paper's
  combine: Literal['sum', 'max'] = 'sum'  # FLOPs and bytes add up, or overlap
  prompt_tokens: int = 256
  kv_budget: int = 256  # tokens that sparse attention attends to
  block_size: int = 16

  @property
  def machine(self) -> Hardware:
    """The machine."""
    return HARDWARE[self.hardware]

  @property
  def titles(self) -> dict[str, bool]:
    """Names of the two kinds of attention, and whether it is sparse."""
    sparse = f'{self.kv_budget} KV tokens in blocks of {self.block_size}'
    return {'dense attention': False, sparse: True}

  def of(self, cost: kinetics.DecodeCost):
    """Equivalent FLOPs."""
    return kinetics.eflops(cost, self.machine.intensity, self.combine)

  def attention(self, shape, length, *, sparse: bool) -> kinetics.DecodeCost:
    """The cost of a response."""
    if not sparse:
      return kinetics.dense_cost(shape, self.prompt_tokens, length)
    return kinetics.sparse_cost(
      shape,
      self.prompt_tokens,
      length,
      self.kv_budget,
      block_size=self.block_size,
    )


class Run(NamedTuple):
  """What the records of one model say of each task and number of trials."""

  accuracy: np.ndarray  # [tasks, trials]
  costs: dict[str, np.ndarray]  # by axis, each [tasks, trials]


def price_everything(
  prices: Prices, workdir: files.Path, records: Sequence[files.Path]
) -> list[str]:
  """Checks the claims, draws the pictures and writes the report.

  Args:
    prices: machine, attention and prompt of the pictures.
    workdir: for all output.
    records: directories of evaluations, drawn together; may be none.

  Returns:
    The claims that do not hold.

  Raises:
    ValueError: if a directory has no records, or they share no item.
  """
  workdir = as_path(workdir)
  runs = read_runs(prices, [as_path(path) for path in records])
  workdir.mkdir(parents=True, exist_ok=True)
  claims = [check() for check in kinetics_claims.CLAIMS]
  draw_split(prices, workdir / 'split.png')
  draw_iso_cost(prices, workdir / 'isocost.png')
  draw_tokens(prices, workdir / 'tokens.png')
  lines = report(prices, claims)
  if runs:
    lines += draw_records(workdir / 'records.png', runs)
  text = '\n'.join(lines) + '\n'
  files.write_atomically(workdir / 'report.md', text)
  rows = [claim._asdict() for claim in claims]
  files.write_atomically(
    workdir / 'claims.json', files.to_json(rows, indent=2) + '\n'
  )
  print(text, end='')
  print(f'wrote {workdir}/report.md and its pictures')
  return [claim.claim for claim in claims if not claim.holds]


# ----------------------------------------------------------------- pictures


def draw_split(prices: Prices, path: AnyPath) -> None:
  """Parts of the price of a response of 8192 tokens."""
  figure, axes = kinetics_plots.new_figure(2)
  models = kinetics.stack_models(list(QWEN3.values()))
  intensity = prices.machine.intensity
  for ax, (title, sparse) in zip(axes, prices.titles.items(), strict=True):
    cost = prices.attention(models, 8192, sparse=sparse)
    parts = {
      'parameters (FLOPs)': cost.param_flops,
      'attention (FLOPs)': cost.attention_flops,
      'KV cache (bytes times intensity)': intensity * cost.kv_bytes,
    }
    kinetics_plots.plot_shares(ax, list(QWEN3), parts)
    ax.set_title(f'8192 tokens, {title}', fontsize=10)
  kinetics_plots.finish_figure(figure, axes)
  save_figure(figure, path, bbox_inches='tight')


def draw_iso_cost(prices: Prices, path: AnyPath) -> None:
  """Lengths that each model writes for the price of 8B at some lengths."""
  figure, axes = kinetics_plots.new_figure(3)
  models = kinetics.stack_models(list(QWEN3.values()))
  laws = {'FLOPs of the parameters': lambda m, n: 2.0 * m.num_params * n}
  for title, sparse in prices.titles.items():
    laws[f'eFLOPs, {title}'] = lambda m, n, sparse=sparse: prices.of(
      prices.attention(m, n, sparse=sparse)
    )
  for ax, (title, law) in zip(axes, laws.items(), strict=True):
    lines = {}
    for tokens in (2048, 8192, 32768):
      spent = law(QWEN3['8B'], np.float64(tokens))
      lengths = kinetics.affordable_length(
        lambda n, law=law: law(models, n), spent
      )
      lines[f'8B at {tokens // 1024}k'] = models.num_params / 1e9, lengths
    kinetics_plots.plot_log_lines(
      ax, lines, x_label='parameters (billions)', y_label='tokens', markers=True
    )
    ax.set_title(title, fontsize=10)
  kinetics_plots.finish_figure(figure, axes)
  save_figure(figure, path, bbox_inches='tight')


def draw_tokens(prices: Prices, path: AnyPath) -> None:
  """Tokens that a price buys from each model."""
  figure, axes = kinetics_plots.new_figure(2)
  limits = np.geomspace(1e13, 1e17, 33)
  for ax, (title, sparse) in zip(axes, prices.titles.items(), strict=True):
    lines = {}
    for name, shape in QWEN3.items():
      bought = kinetics.affordable_length(
        lambda n, shape=shape, sparse=sparse: prices.of(
          prices.attention(shape, n, sparse=sparse)
        ),
        limits,
      )
      lines[name] = limits, bought
    kinetics_plots.plot_log_lines(
      ax, lines, x_label='eFLOPs', y_label='tokens of one response'
    )
    ax.set_title(title, fontsize=10)
  kinetics_plots.finish_figure(figure, axes)
  save_figure(figure, path, bbox_inches='tight')


# ------------------------------------------------------------------ records


def read_runs(prices: Prices, paths: Sequence[AnyPath]) -> dict[str, Run]:
  """The runs by name, on the tasks that all of them have."""
  names = [path.resolve().name for path in paths]
  if len(set(names)) < len(names):
    names = [str(path) for path in paths]
  records = [journal.read_records(path, SampleRecord) for path in paths]
  shared = [{record.item_id for record in rows} for rows in records]
  for path, ids in zip(paths, shared, strict=True):
    if not ids:
      raise ValueError(f'no records of evaluate.py in {path}')
  common = set.intersection(*shared) if shared else set()
  if paths and not common:
    raise ValueError('the --records directories have no item in common')
  return {
    name: read_run(prices, path, [r for r in rows if r.item_id in common])
    for name, path, rows in zip(names, paths, records, strict=True)
  }


def read_run(prices: Prices, path: AnyPath, records: list[SampleRecord]) -> Run:
  """Accuracies and costs of one model for 1, 2, 4, ... trials."""
  # Of the table only what was said of single samples is used, no votes.
  scores = [
    dataclasses.replace(score, extracted=None, cluster_id=None)
    for score in journal.read_records(path, ScoreRecord)
  ]
  table = evaluation.tabulate(records, scores)
  of_cache = [r for r in records if r.kv_bytes_est and r.completion_tokens]
  if not of_cache or not table.flops.any():
    raise ValueError(f'{path} has no estimates of FLOPs and KV bytes')
  first = of_cache[0]
  kv_bytes = (first.kv_bytes_est or 0.0) / first.completion_tokens
  num_samples = table.correct.shape[1]
  trials = 2 ** np.arange(int(np.log2(num_samples)) + 1)
  lengths = table.samples.lengths.astype(np.float64)
  flops = trials * table.flops.mean(axis=1, keepdims=True)
  prompt_reads = table.prompt_tokens * lengths.mean(axis=1)
  own_reads = trials * (lengths**2).mean(axis=1, keepdims=True) / 2
  nothing = np.zeros_like(flops)
  cost = kinetics.DecodeCost(  # the records do not tell the FLOPs apart
    nothing, flops, nothing, kv_bytes * (prompt_reads[:, None] + own_reads)
  )
  return Run(
    accuracy=frontier.pass_at_trials(
      num_samples, table.correct.sum(axis=1), trials.tolist()
    ),
    costs={
      f'eFLOPs per problem ({prices.hardware})': prices.of(cost),
      'FLOPs per problem': flops,
      'tokens per problem': frontier.equivalent_tokens(
        lengths[:, None], trials
      ),
    },
  )


def draw_records(path: AnyPath, runs: Mapping[str, Run]) -> list[str]:
  """Accuracy of each model against each cost; lines of the report."""
  axes_names = list(next(iter(runs.values())).costs)
  figure, axes = kinetics_plots.new_figure(len(axes_names))
  owner = np.repeat(list(runs), [r.accuracy.shape[1] for r in runs.values()])
  num_tasks = len(next(iter(runs.values())).accuracy)
  lines = [
    '',
    '## Our records',
    '',
    f'pass@N on {num_tasks} problems. The frontier takes the best model and N '
    'of each problem, with hindsight.',
    '',
    '![accuracy against cost](records.png)',
    '',
  ]
  rows = []
  for ax, axis in zip(axes, axes_names, strict=True):
    costs = np.concatenate([r.costs[axis] for r in runs.values()], axis=1)
    accuracy = np.concatenate([r.accuracy for r in runs.values()], axis=1)
    limits = np.geomspace(costs.min(), costs.max(), _NUM_LIMITS)
    best = frontier.frontier(costs, accuracy, limits)
    curves = {}
    if len(runs) > 1:
      for name, r in runs.items():
        own = frontier.frontier(r.costs[axis], r.accuracy, limits)
        curves[name] = curve(limits, own.accuracy)
    curves['frontier'] = curve(limits, best.accuracy)
    io.plot_scaling_curves(ax, curves, compute_label=axis, direct_labels=False)
    ax.get_legend().remove()
    for j in (_NUM_LIMITS // 2, _NUM_LIMITS - 1):
      used = owner[best.choice[best.choice[:, j] >= 0, j]]
      shares = ', '.join(f'{m} {100 * np.mean(used == m):.0f}%' for m in runs)
      mean = 100 * best.accuracy[:, j].mean()
      rows.append((axis, f'{limits[j]:.3g}', f'{mean:.1f}', shares))
  kinetics_plots.finish_figure(figure, axes)
  save_figure(figure, path, bbox_inches='tight')
  header = ['cost', 'at', 'frontier', 'model chosen']
  return lines + evaluation.markdown_table(header, rows)


def curve(limits: np.ndarray, accuracy: np.ndarray) -> io.PlotCurve:
  """Means over problems, with a bootstrap band."""
  replicates = evaluation.bootstrap(
    jax.random.key(0), jnp.asarray(accuracy, jnp.float32), num_resamples=1000
  )
  low, high = evaluation.percentile_interval(replicates)
  return io.PlotCurve(
    limits, accuracy.mean(axis=0), np.asarray(low), np.asarray(high)
  )


def report(
  prices: Prices, claims: Sequence[kinetics_claims.Claim]
) -> list[str]:
  """Lines of Markdown."""
  lines = [
    '# The price of test-time compute',
    '',
    f'Pictures for {prices.hardware} ({prices.machine.intensity:.1f} FLOPs per '
    f'byte; {prices.machine.source}), FLOPs and bytes combined by '
    f'{prices.combine}, prompts of {prices.prompt_tokens} tokens. Claims for '
    'the machine of the paper.',
    '',
  ]
  verdict = lambda claim: '' if claim.holds else '**does not hold**: '
  lines += evaluation.markdown_table(
    ['claim', 'from the formulas', 'control'],
    [(c.claim, verdict(c) + c.figure, c.control) for c in claims],
  )
  for name, text in (
    ('split', 'what a response costs'),
    ('isocost', 'model sizes and lengths of one price'),
    ('tokens', 'the tokens that a price buys'),
  ):
    lines += ['', f'![{text}]({name}.png)']
  return lines
