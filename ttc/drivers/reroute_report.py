"""What a re-routing gained: a table, and the routes before and after."""

import jax.numpy as jnp
import numpy as np

from ttc import evaluation
from ttc.evaluation.tables import markdown_table
from ttc.io import files, route_plots
from ttc.io.arrays import read_arrays

_MOST_ROWS, _MOST_LAYERS = 200, 4  # of the picture


def show(
  setup, methods: tuple[str, ...], votes: tuple[str, ...], questions: range
) -> None:
  """Writes report.md and routes.png of a run that is complete.

  Args:
    setup: of the run, `reroute.Setup`.
    methods: in order; the first is the router.
    votes: what has no routes of its own, to compare with.
    questions: that were answered by all of them.
  """

  def gather(name, field):
    lines = [setup.journal[job.what] for job in setup.jobs(name, questions)]
    return jnp.concatenate([jnp.asarray(x[field], jnp.float32) for x in lines])

  names = (*methods, *votes)
  scores = {name: gather(name, 'scores') for name in names}
  read = {name: gather(name, 'read') for name in names}
  has_losses = setup.problems.continuations is not None
  measure = 'loss, nats per token' if has_losses else 'right, %'
  scale = 1 if has_losses else 100
  digits = 3 if has_losses else 1
  base = scores[methods[0]]
  rows = []
  for name in names:
    mean = evaluation.mean_and_standard_error(scores[name])
    gap = evaluation.paired_difference(scores[name], base).difference
    rows.append(
      [
        name,
        _with_error(mean, scale, digits),
        '' if name == methods[0] else _with_error(gap, scale, digits, '+'),
        f'{read[name].mean():.0f}',
      ]
    )
  head = ['routes', measure, 'to the router', 'tokens read per question']
  lines = markdown_table(head, rows, num_left=1)
  lines += ['', _about(setup, len(questions), bool(votes))]
  report = '\n'.join(lines) + '\n'
  files.write_atomically(setup.workdir / 'report.md', report)
  print(report)
  _draw(setup, methods, questions)
  print(f'{setup.workdir}: report.md, routes.png')


def _about(setup, num_questions: int, has_votes: bool) -> str:
  """How to read the table."""
  chosen = setup.chosen
  text = (
    f'{chosen.method} on {chosen.task} by {chosen.model}, {num_questions} '
    'questions; ± is a standard error, of differences paired. A gradient step '
    'counts as three passes, and a pass in which all experts read every token '
    f'as {setup.problems.dearer:.2f}.'
  )
  if has_votes:
    text += (
      ' Votes are the commonest of as many samples as the dearest method pays '
      f'for, at most {chosen.max_votes}.'
    )
  num = setup.problems.num_references
  if num:
    jobs = list(setup.jobs('the router', range(num)))
    lines = [setup.journal[job.what] for job in jobs]
    right = sum(sum(line['scores']) for line in lines)
    total = sum(sum(line['read']) for line in lines)
    text += (
      f' Of {num} references {right:.0f} are right; reading them took '
      f'{total:.0f} tokens, once.'
    )
  return text


def _with_error(found, scale: int, digits: int, sign: str = '') -> str:
  mean, error = scale * float(found.mean), scale * float(found.standard_error)
  return f'{mean:{sign}.{digits}f} ± {error:.{digits}f}'


def _draw(setup, methods, questions) -> None:
  """The layers that changed most, at the last prompt token."""
  routes = {
    name: np.concatenate(
      [
        read_arrays(job.path(setup.workdir))['pathways']
        for job in setup.jobs(name, questions)
      ]
    )[:_MOST_ROWS]
    for name in methods
  }
  before, *after = routes.values()
  moved = np.abs(np.stack(after) - before).sum(axis=(0, 1, 3))
  layers = np.sort(np.argsort(-moved, kind='stable')[:_MOST_LAYERS])
  layers = [int(layer) for layer in layers if moved[layer] > 0] or [0]
  route_plots.save_routes(
    setup.workdir / 'routes.png',
    routes,
    layers,
    title='Routing weights at the last prompt token',
  )
