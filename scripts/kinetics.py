r"""Prices test-time compute in equivalent FLOPs, and draws what follows.

  python scripts/kinetics.py --workdir=runs/kinetics
  python scripts/kinetics.py --workdir=runs/kinetics --hardware=h200 \
      --records=runs/small --records=runs/large

An eFLOP charges a byte read from memory as many FLOPs as the machine could have
done meanwhile (Kinetics, arXiv 2506.05333). From the formulas and the Qwen3
model cards alone this writes into the workdir

  report.md     claims with their figures, and the pictures
  claims.json   the same claims, for programs
  split.png     what a response costs: parameters, attention, reads of the cache
  isocost.png   model sizes and lengths of one price: FLOPs, dense, sparse
  tokens.png    the tokens that a price buys from each model

and, from the records that evaluate.py left in each --records directory,

  records.png   accuracy (pass@N) against eFLOPs, FLOPs and tokens, with the
                frontier over all models and numbers of trials

The claims are those of the paper's machine; the pictures follow the flags. Exit
status 1 if a claim does not hold.
"""

import json
import pathlib
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

from ttc import evaluation, io
from ttc.evaluation import SampleRecord, ScoreRecord
from ttc.io import kinetics_plots
from ttc.scaling import frontier, kinetics, kinetics_claims
from ttc.scaling.hardware import HARDWARE, QWEN3

_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory for all output.')
_HARDWARE = flags.DEFINE_enum(
  'hardware', 'b200_fp8', sorted(HARDWARE), "Machine; b200_fp8 is the paper's."
)
_COMBINE = flags.DEFINE_enum(
  'combine', 'sum', ['sum', 'max'], 'FLOPs and bytes add up, or overlap.'
)
_PROMPT_TOKENS = flags.DEFINE_integer('prompt_tokens', 256, 'Lin.', 1)
_KV_BUDGET = flags.DEFINE_integer(
  'kv_budget', 256, 'Tokens that sparse attention attends to.', 1
)
_BLOCK_SIZE = flags.DEFINE_integer(
  'block_size', 16, 'Tokens of a block of sparse attention.', 1
)
_RECORDS = flags.DEFINE_multi_string(
  'records', [], 'Directory of evaluate.py; repeat, or separate by commas.'
)
flags.mark_flag_as_required('workdir')

_NUM_LIMITS = 17  # points of an accuracy curve


class Run(NamedTuple):
  """What the records of one model say of each task and number of trials."""

  accuracy: np.ndarray  # [tasks, trials]
  costs: dict[str, np.ndarray]  # by axis, each [tasks, trials]


def main(argv):
  """Writes everything; bad input is one line and exit status 1."""
  logging.set_verbosity(logging.WARNING)
  if len(argv) > 1:
    sys.exit(f'kinetics: unexpected argument {argv[1]!r}')
  try:
    claims = run(pathlib.Path(_WORKDIR.value))
  except (ValueError, OSError, ImportError) as error:
    sys.exit(f'kinetics: {" ".join(str(error).split())}')
  failed = [claim.claim for claim in claims if not claim.holds]
  if failed:
    sys.exit(f'kinetics: {"; ".join(failed)}: did not hold')


def run(workdir):
  """Checks the claims, draws the pictures and writes the report."""
  paths = [p for text in _RECORDS.value for p in text.split(',') if p]
  runs = read_runs([pathlib.Path(p) for p in paths])
  workdir.mkdir(parents=True, exist_ok=True)
  claims = [check() for check in kinetics_claims.CLAIMS]
  draw_split(workdir / 'split.png')
  draw_iso_cost(workdir / 'isocost.png')
  draw_tokens(workdir / 'tokens.png')
  lines = report(claims)
  if runs:
    lines += draw_records(workdir / 'records.png', runs)
  text = '\n'.join(lines) + '\n'
  (workdir / 'report.md').write_text(text, encoding='utf-8')
  rows = [claim._asdict() for claim in claims]
  (workdir / 'claims.json').write_text(json.dumps(rows, indent=2) + '\n')
  print(text, end='')
  print(f'wrote {workdir}/report.md and its pictures')
  return claims


# ----------------------------------------------------------------- pictures


def price(cost):
  """Equivalent FLOPs on the machine of the flags."""
  intensity = HARDWARE[_HARDWARE.value].intensity
  return kinetics.eflops(cost, intensity, _COMBINE.value)


def attention(shape, length, *, sparse):
  """The cost of a response with the attention and the prompt of the flags."""
  if sparse:
    return kinetics.sparse_cost(
      shape,
      _PROMPT_TOKENS.value,
      length,
      _KV_BUDGET.value,
      block_size=_BLOCK_SIZE.value,
    )
  return kinetics.dense_cost(shape, _PROMPT_TOKENS.value, length)


def titles():
  """Names of the two kinds of attention."""
  blocks = f'{_KV_BUDGET.value} KV tokens in blocks of {_BLOCK_SIZE.value}'
  return {'dense attention': False, blocks: True}


def draw_split(path):
  """Parts of the price of a response of 8192 tokens."""
  figure, axes = kinetics_plots.new_figure(2)
  models = kinetics.stack_models(list(QWEN3.values()))
  intensity = HARDWARE[_HARDWARE.value].intensity
  for ax, (title, sparse) in zip(axes, titles().items(), strict=True):
    cost = attention(models, 8192, sparse=sparse)
    parts = {
      'parameters (FLOPs)': cost.param_flops,
      'attention (FLOPs)': cost.attention_flops,
      'KV cache (bytes times intensity)': intensity * cost.kv_bytes,
    }
    kinetics_plots.plot_shares(ax, list(QWEN3), parts)
    ax.set_title(f'8192 tokens, {title}', fontsize=10)
  kinetics_plots.finish_figure(figure, axes)
  figure.savefig(path, bbox_inches='tight')


def draw_iso_cost(path):
  """Lengths that each model writes for the price of 8B at some lengths."""
  figure, axes = kinetics_plots.new_figure(3)
  models = kinetics.stack_models(list(QWEN3.values()))
  laws = {'FLOPs of the parameters': lambda m, n: 2.0 * m.num_params * n}
  for title, sparse in titles().items():
    laws[f'eFLOPs, {title}'] = lambda m, n, sparse=sparse: price(
      attention(m, n, sparse=sparse)
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
  figure.savefig(path, bbox_inches='tight')


def draw_tokens(path):
  """Tokens that a price buys from each model."""
  figure, axes = kinetics_plots.new_figure(2)
  limits = np.geomspace(1e13, 1e17, 33)
  for ax, (title, sparse) in zip(axes, titles().items(), strict=True):
    lines = {}
    for name, shape in QWEN3.items():
      bought = kinetics.affordable_length(
        lambda n, shape=shape, sparse=sparse: price(
          attention(shape, n, sparse=sparse)
        ),
        limits,
      )
      lines[name] = limits, bought
    kinetics_plots.plot_log_lines(
      ax, lines, x_label='eFLOPs', y_label='tokens of one response'
    )
    ax.set_title(title, fontsize=10)
  kinetics_plots.finish_figure(figure, axes)
  figure.savefig(path, bbox_inches='tight')


# ------------------------------------------------------------------ records


def read_runs(paths):
  """The runs by name, on the tasks that all of them have."""
  names = [path.resolve().name for path in paths]
  if len(set(names)) < len(names):
    names = [str(path) for path in paths]
  records = [evaluation.read_records(path, SampleRecord) for path in paths]
  shared = [{record.item_id for record in rows} for rows in records]
  for path, ids in zip(paths, shared, strict=True):
    if not ids:
      raise ValueError(f'no records of evaluate.py in {path}')
  common = set.intersection(*shared) if shared else set()
  if paths and not common:
    raise ValueError('the --records directories have no item in common')
  return {
    name: read_run(path, [r for r in rows if r.item_id in common])
    for name, path, rows in zip(names, paths, records, strict=True)
  }


def read_run(path, records):
  """Accuracies and costs of one model for 1, 2, 4, ... trials."""
  scores = evaluation.read_records(path, ScoreRecord)
  table = evaluation.tabulate(records, scores)
  of_cache = [r for r in records if r.kv_bytes_est and r.completion_tokens]
  if not of_cache or not table.flops.any():
    raise ValueError(f'{path} has no estimates of FLOPs and KV bytes')
  kv_bytes = of_cache[0].kv_bytes_est / of_cache[0].completion_tokens
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
      f'eFLOPs per problem ({_HARDWARE.value})': price(cost),
      'FLOPs per problem': flops,
      'tokens per problem': frontier.equivalent_tokens(
        lengths[:, None], trials
      ),
    },
  )


def draw_records(path, runs):
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
    '| cost | at | frontier | model chosen |',
    '| --- | ---: | ---: | --- |',
  ]
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
      lines.append(
        f'| {axis} | {limits[j]:.3g} | {100 * best.accuracy[:, j].mean():.1f} '
        f'| {shares} |'
      )
  kinetics_plots.finish_figure(figure, axes)
  figure.savefig(path, bbox_inches='tight')
  return lines


def curve(limits, accuracy):
  """Means over problems, with a bootstrap band."""
  replicates = evaluation.bootstrap(
    jax.random.key(0), jnp.asarray(accuracy, jnp.float32), num_resamples=1000
  )
  low, high = evaluation.percentile_interval(replicates)
  return io.PlotCurve(
    limits, accuracy.mean(axis=0), np.asarray(low), np.asarray(high)
  )


def report(claims):
  """Lines of Markdown."""
  machine = HARDWARE[_HARDWARE.value]
  lines = [
    '# The price of test-time compute',
    '',
    f'Pictures for {_HARDWARE.value} ({machine.intensity:.1f} FLOPs per byte; '
    f'{machine.source}), FLOPs and bytes combined by {_COMBINE.value}, prompts '
    f'of {_PROMPT_TOKENS.value} tokens. Claims for the machine of the paper.',
    '',
    '| claim | from the formulas | control |',
    '| --- | --- | --- |',
  ]
  for claim in claims:
    verdict = '' if claim.holds else '**does not hold**: '
    lines.append(
      f'| {claim.claim} | {verdict}{claim.figure} | {claim.control} |'
    )
  for name, text in (
    ('split', 'what a response costs'),
    ('isocost', 'model sizes and lengths of one price'),
    ('tokens', 'the tokens that a price buys'),
  ):
    lines += ['', f'![{text}]({name}.png)']
  return lines


if __name__ == '__main__':
  app.run(main)
