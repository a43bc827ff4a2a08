"""The report of `sparse_decoding`: tables by rule and budget, and curves."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation
from ttc.io import files
from ttc.io.kinetics_plots import new_figure
from ttc.io.matplotlib_extra import save_figure
from ttc.io.paths import AnyPath
from ttc.io.plots import COLORS, MARKERS


def report(
  workdir: AnyPath, by_part: Mapping[str, list[dict[str, Any]]]
) -> None:
  """Writes report.md and the pictures."""
  lines = ['# Sparse decoding', '']
  for part, records in by_part.items():
    if records:
      write = report_speed if part == 'speed' else report_quality
      lines += write(workdir, part, records)
  files.write_atomically(workdir / 'report.md', '\n'.join(lines) + '\n')
  print('\n'.join(lines))
  print(f'wrote {workdir}/report.md and its pictures')


def report_quality(workdir, part, records):
  """What is lost against dense decoding, by rule and budget."""
  lines = []
  for context in sorted({r['what']['context'] for r in records}):
    mine = [r for r in records if r['what']['context'] == context]
    join = lambda field: jax.tree.map(
      lambda *parts: np.concatenate(parts).tolist(),
      *(r[field] for r in mine),  # noqa: B023
      is_leaf=lambda x: isinstance(x, list),
    )
    log_prob = join('log_prob')
    reference = log_prob.pop('dense')['0']
    loss = changes(log_prob, reference)
    right, dense_found = {}, []
    if part == 'lookup':
      found = join('found')
      dense_found = found.pop('dense')['0']
      right = changes(found, dense_found)
    title = f'Texts, {context} tokens before' if context else 'Code lookup'
    mean = np.mean(reference)
    lines += [f'## {title}', '']
    if right:
      lines += [
        f'Dense: {100 * np.mean(dense_found):.1f}% found. Points lost '
        'or won [95% over prompts, paired], by KV budget:',
        '',
        *table(right, lambda c: f'{100 * c[0]:+.0f} [{100 * c[1]:+.0f}, '
               f'{100 * c[2]:+.0f}]'),
      ]  # fmt: skip
    unit = 'of the code' if right else 'per token'
    lines += [
      f'Dense log-probability {unit} {mean:.3f}. Change [95%, paired]:',
      '',
      *table(loss, lambda c: f'{c[0]:+.3f} [{c[1]:+.3f}, {c[2]:+.3f}]'),
    ]
    name = f'text_{context}.png' if context else 'lookup.png'
    curves = right or loss
    label = 'codes found, against dense' if right else 'log-prob. per token'
    draw(workdir / name, {
      rule: sorted((b, *c) for (r, b), c in curves.items() if r == rule)
      for rule in log_prob
    }, f'change of {label}', title)  # fmt: skip
  return lines


def changes(by_rule, reference):
  """The change of each rule and budget."""
  return {
    (rule, int(budget)): change(values, reference)
    for rule, by_budget in by_rule.items()
    for budget, values in by_budget.items()
  }


def change(values, reference):
  """Mean paired difference with its 95% interval."""
  gap = evaluation.paired_difference(
    jnp.asarray(values, jnp.float32), jnp.asarray(reference, jnp.float32)
  ).difference
  return (float(gap.mean), *map(float, evaluation.confidence_interval(gap)))


def table(cells, write):
  """Rules by budgets, in Markdown."""
  budgets = sorted({budget for _, budget in cells})
  rules = list(dict.fromkeys(rule for rule, _ in cells))
  at = lambda *cell: write(cells[cell]) if cell in cells else ''
  rows = [[rule, *(at(rule, b) for b in budgets)] for rule in rules]
  header = ['rule', *map(str, budgets)]
  return [*evaluation.markdown_table(header, rows), '']


def report_speed(workdir, part, records):
  """Milliseconds of a step by context, and where sparse becomes faster."""
  del part
  lines = []
  for kind, title in (
    ('response', "Step time, each row's own context"),
    ('prompt', 'Step time, a shared prompt'),
  ):
    cells = {}
    for record in records:
      for budget, seconds in record['seconds'][kind].items():
        rule = 'dense' if budget == '0' else f'block top-k, {budget} tokens'
        cells[rule, record['what']['context']] = 1e3 * seconds
    rows = records[0]['what']['rows']
    lines += [f'## {title}', '', f'Milliseconds, {rows} rows, by context:', '']
    lines += table(cells, lambda ms: f'{ms:.1f}')
    draw(workdir / f'speed_{kind}.png', {
      rule: sorted((c, ms, ms, ms) for (r, c), ms in cells.items() if r == rule)
      for rule in dict.fromkeys(r for r, _ in cells)
    }, 'ms per step', title, x_label='tokens of context')  # fmt: skip
  return lines


def draw(path, curves, y_label, title, x_label='tokens read (KV budget)'):
  """Lines with bands; `curves` holds rows of x, y, low, high."""
  figure, axes = new_figure(1)
  ax = axes[0]
  for (name, points), color, marker in zip(
    curves.items(), COLORS, MARKERS, strict=False
  ):
    x, y, low, high = np.array(points).T
    ax.plot(x, y, color=color, marker=marker, label=name)
    ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
  ax.set(xscale='log', xlabel=x_label, ylabel=y_label, title=title)
  ax.set_xscale('log', base=2)
  ax.legend(frameon=False, fontsize=8)
  save_figure(figure, path)
