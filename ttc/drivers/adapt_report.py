"""Tables and pictures of a run of test-time adaptation."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation
from ttc.drivers.journal import Journal
from ttc.io import adaptation_plots as plots
from ttc.io import files
from ttc.io.paths import as_path
from ttc.testbeds import image_classifiers

_MOST_DOMAINS, _MOST_METHODS = 6, 9  # in the picture of images
_POINTS = 60  # of a curve
Lines = list[dict[str, Any]]


def report(chosen, study, pieces, sweep, journal: Journal, workdir) -> None:
  """Writes table.md and the pictures, and prints the table.

  Args:
    chosen: options of the run.
    study: networks and streams.
    pieces: of the stream.
    sweep: of a hyper-parameter, or None.
    journal: what was measured.
    workdir: of the run.
  """
  workdir = as_path(workdir)
  found: dict[str, Lines] = {label: [] for label in chosen.methods}
  for line in journal.lines():
    found[line['what']['method']].append(line)
  for lines in found.values():
    lines.sort(key=lambda line: line['what']['piece'])
  title = f'{chosen.dataset}: {chosen.protocol.replace("_", " ")}, '
  title += f'{chosen.order.replace("_", " ")}'
  text = _tables(chosen, study, sweep, found, title)
  files.write_atomically(workdir / 'table.md', text)
  print(text)
  _draw_streams(chosen, study, pieces, found, title, workdir)
  plots.save_reliability(
    workdir / 'reliability.png',
    {name: _reliability(lines) for name, lines in found.items()},
    title=title,
  )
  plots.save_predictions(
    workdir / 'pictures.png',
    _shown(study, pieces, found),
    image_classifiers.class_names(chosen.dataset),
    title=title,
  )
  if sweep:
    plots.save_sweep(
      workdir / 'sweep.png',
      sweep.name,
      np.array(sweep.values),
      {name: 100 * _errors(lines).T for name, lines in found.items()},
      title=title,
    )
  print(f'{workdir}: table.md and pictures')


def _sums(lines: Lines, name: str) -> np.ndarray:
  """Of all pieces, `[V, S]`."""
  total = sum(np.asarray(line[name], float) for line in lines)
  return np.asarray(total)


def _errors(lines: Lines) -> np.ndarray:
  """Shares of errors over the whole of some pieces, `[S, V]`."""
  wrong, counts = (
    np.sum([np.sum(line[name], axis=-1) for line in lines], axis=0)
    for name in ('wrong', 'counts')
  )
  return (wrong / counts).T


def _tables(chosen, study, sweep, found, title) -> str:
  """What table.md says."""
  text = [
    f'# {title}',
    '',
    f'Error in percent, mean ± standard error over {chosen.num_seeds} seeds '
    f'(network and stream); {chosen.table} corruptions of severity '
    f'{"1 to 5 and back" if chosen.protocol == "gradual" else chosen.severity},'
    f' batches of {chosen.batch_size}, {len(study.labels)} images a domain.',
    '',
  ]
  if sweep:
    header = ['method', *(f'{sweep.name}={x:g}' for x in sweep.values)]
    rows = [
      [name, *map(_percent, _errors(lines).T)] for name, lines in found.items()
    ]
    return '\n'.join([*text, *_markdown(header, rows), ''])
  domains = [i for i in range(len(study.domains)) if _of_domain(found, i)]
  if domains:
    header = ['method', *(study.domains[i] for i in domains), 'mean']
    rows = []
    for name, lines in found.items():
      by_domain = [
        _errors([x for x in lines if x['domain'] == i])[:, 0] for i in domains
      ]
      mean = np.mean(by_domain, axis=0)
      rows.append([name, *map(_percent, by_domain), _percent(mean)])
    text += [*_markdown(header, rows), '']
  if chosen.num_rounds > 1:
    header = [
      'method',
      *(f'round {i + 1}' for i in range(chosen.num_rounds)),
      'slope',
    ]
    rows = [
      [name, *map(_percent, rounds), _percent(_slopes(rounds))]
      for name, rounds in (
        (name, _by_round(chosen, lines)) for name, lines in found.items()
      )
    ]
    text += [*_markdown(header, rows), '']
  header = ['method', 'error', 'macro error', 'NLL (nats)', 'Brier', 'ECE',
            'clean, before', 'clean, after', 'forward', 'backward',
            'images/s']  # fmt: skip
  rows = [[name, *_summary(lines)] for name, lines in found.items()]
  text += [
    *_markdown(header, rows),
    '',
    'Clean: error on images without corruption by the state after the first '
    'and after the last visit, in the way the method predicts. Forward and '
    'backward: passes for each image of the stream. Images/s: all seeds side '
    'by side, without compilation.',
    '',
  ]
  return '\n'.join(text)


def _summary(lines: Lines) -> list[str]:
  """Measures over the whole stream, of the first value of a sweep."""
  count = np.sum([np.sum(x['counts'], axis=-1) for x in lines], axis=0)[0]
  mean = lambda name: (
    np.sum([np.sum(x[name], axis=-1) for x in lines], axis=0)[0] / count
  )
  hits, there = (_sums(lines, f'class_{x}')[0] for x in ('hits', 'counts'))
  present = there > 0
  macro = [
    1 - np.mean(h[p] / t[p])
    for h, t, p in zip(hits, there, present, strict=True)
  ]
  sizes = _sums(lines, 'sizes')[0]
  gaps = np.abs(_sums(lines, 'hits')[0] - _sums(lines, 'confidences')[0])
  clean = [np.asarray(x['clean'])[0] for x in lines if x['clean'] is not None]
  warm = _warm(lines)
  images = sum(np.sum(x['counts']) for x in warm)
  seconds = sum(x['seconds'] for x in warm)
  return [
    _percent(_errors(lines)[:, 0]),
    _percent(np.array(macro)),
    _mean(mean('nll')),
    _mean(mean('brier')),
    _percent(gaps.sum(axis=-1) / sizes.sum(axis=-1)),
    *(map(_percent, (clean[0], clean[-1])) if clean else ('', '')),
    f'{np.mean(_sums(lines, "num_forward")[0] / count):.2f}',
    f'{np.mean(_sums(lines, "num_backward")[0] / count):.2f}',
    f'{images / seconds:.0f}' if seconds else '',
  ]


def _warm(lines: Lines) -> Lines:
  """Pieces of a shape that had been compiled before."""
  shapes, warm = set(), []
  for line in lines:
    shape = np.shape(line['wrong'])
    if shape in shapes:
      warm.append(line)
    shapes.add(shape)
  return warm


def _of_domain(found, domain):
  """Whether the stream has pieces of this domain alone."""
  return any(
    line['domain'] == domain for lines in found.values() for line in lines
  )


def _by_round(chosen, lines: Lines) -> np.ndarray:
  """Errors of each round, `[R, S]`."""
  visits = 1 + max(line['visit'] for line in lines)
  length = visits // chosen.num_rounds
  return np.stack([
    _errors([x for x in lines if x['visit'] // length == i])[:, 0]
    for i in range(chosen.num_rounds)
  ])  # fmt: skip


def _slopes(rounds: np.ndarray) -> np.ndarray:
  """Of errors per round, of each seed."""
  return np.asarray(
    jax.vmap(evaluation.slope)(jnp.asarray(rounds.T, jnp.float32))
  )


def _draw_streams(chosen, study, pieces, found, title, workdir) -> None:
  """Errors along the stream, over rounds, and on clean images."""
  visits = []
  for piece in pieces:
    if not visits or visits[-1][2] != piece.visit:
      name = study.domains[piece.domain] if piece.domain >= 0 else ''
      visits.append((piece.batches.start, name, piece.visit))
  curves = {}
  for name, lines in found.items():
    wrong, counts = (
      np.concatenate([np.asarray(x[key])[0] for x in lines], axis=-1)
      for key in ('wrong', 'counts')
    )
    width = max(1, wrong.shape[1] // _POINTS)
    length = wrong.shape[1] // width * width
    wrong, counts = (
      x[:, :length].reshape(len(x), -1, width).sum(axis=-1)
      for x in (wrong, counts)
    )
    middles = width * (np.arange(wrong.shape[1]) + 0.5)
    curves[name] = (middles, 100 * (wrong / counts).T)
  marks = [(start, name) for start, name, _ in visits]
  plots.save_stream_errors(workdir / 'errors.png', curves, marks, title=title)
  if chosen.num_rounds > 1:
    rounds = {
      name: (
        np.arange(1, chosen.num_rounds + 1),
        100 * _by_round(chosen, lines),
      )
      for name, lines in found.items()
    }
    plots.save_stream_errors(
      workdir / 'rounds.png', rounds, [], title=title, steps='round'
    )
  if study.clean is not None:
    clean = {}
    for name, lines in found.items():
      ends = [x for x in lines if x['clean'] is not None]
      errors = 100 * np.array([np.asarray(x['clean'])[0] for x in ends])
      clean[name] = (np.array([1 + x['visit'] for x in ends]), errors)
    plots.save_stream_errors(
      workdir / 'forgetting.png',
      clean,
      [],
      title=title,
      label='error on clean images (%)',
      steps='visits done',
    )


def _reliability(lines: Lines) -> plots.Reliability:
  """Of all seeds together."""
  return plots.Reliability(
    *(
      _sums(lines, name)[0].sum(axis=0)
      for name in ('confidences', 'hits', 'sizes')
    )
  )


def _shown(study, pieces, found) -> list[plots.Shown]:
  """Images of the batch in the middle of each domain's first piece."""
  first = {}
  for piece in pieces:
    first.setdefault(piece.domain, piece)
  schedule = study.schedules[0]
  shown = []
  for domain, piece in list(first.items())[:_MOST_DOMAINS]:
    batch = (
      piece.batches.start + (piece.batches.stop - piece.batches.start) // 2
    )
    predictions: Mapping[str, np.ndarray] = {
      name: np.asarray(lines[piece.number]['shown'])[0, 0]
      for name, lines in list(found.items())[:_MOST_METHODS]
    }
    count = min(len(x) for x in predictions.values())
    items = schedule.items[batch, :count]
    domains = schedule.domains[batch, :count]
    shown.append(
      plots.Shown(
        study.domains[domain] if domain >= 0 else 'mixed',
        study.images[domains, items] / 255,
        study.labels[items],
        predictions,
      )
    )
  return shown


def _percent(values: np.ndarray) -> str:
  """Mean and standard error over seeds, in percent."""
  return _mean(100 * np.asarray(values), digits=1)


def _mean(values: np.ndarray, digits: int = 3) -> str:
  """Mean ± standard error."""
  text = f'{np.mean(values):.{digits}f}'
  if len(values) < 2:
    return text
  error = np.std(values, ddof=1) / np.sqrt(len(values))
  return f'{text} ± {error:.{digits}f}'


def _markdown(
  header: Sequence[str], rows: Sequence[Sequence[str]]
) -> list[str]:
  """Lines of a table."""
  lines = [header, ['---', *['---:'] * (len(header) - 1)], *rows]
  return ['| ' + ' | '.join(line) + ' |' for line in lines]
