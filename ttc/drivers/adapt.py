"""Runs methods of test-time adaptation along streams."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jaxtyping import Array, Bool, Int

from ttc import adaptation, evaluation
from ttc.adaptation import Adapter, Batch, StreamState, protocols
from ttc.drivers import (
  adapt_methods,
  adapt_report,
  options,
  processes,
  training_files,
)
from ttc.drivers.adapt_methods import Method
from ttc.drivers.adapt_options import (
  NUM_CLASSES,
  AdaptOptions,
  Study,
  Sweep,
  check,
  make_study,
)
from ttc.io import files
from ttc.io.arrays import read_arrays, write_arrays
from ttc.io.paths import as_path

NUM_BINS = 15
NUM_PICTURES = 8  # of a domain
_PIECE = 100  # batches that are one program and one checkpoint


class Measured(NamedTuple):
  """Of the predictions for `T` batches.

  Attributes:
    wrong: number of errors in each batch.
    counts: of images in it.
    nll: sums of negative log-likelihoods, in nats.
    brier: sums of Brier scores.
    confidences: sums in each of `b` bins, of the most likely class.
    hits: numbers of right ones in each bin.
    sizes: of the bins.
    class_hits: right ones of each class.
    class_counts: images of it.
    num_forward: images sent through the network.
    num_backward: images whose gradient was asked for.
    shown: predictions for the first images of the batch in the middle.
  """

  wrong: Array
  counts: Array
  nll: Array
  brier: Array
  confidences: Array
  hits: Array
  sizes: Array
  class_hits: Array
  class_counts: Array
  num_forward: Array
  num_backward: Array
  shown: Array


class Piece(NamedTuple):
  """Consecutive batches of one visit."""

  number: int
  batches: slice
  visit: int
  domain: int  # -1 for mixed ones
  restarts: bool
  ends_visit: bool


def adapt(config: Mapping[str, Any], workdir: files.Path) -> None:
  """Runs every method along the stream, and writes what it did.

  Writes config.json, metrics.jsonl (a line for each method and piece of the
  stream), table.md, errors.png, reliability.png, pictures.png, and where they
  make sense forgetting.png and sweep.png. After a kill it goes on from the last
  piece and ends with the same numbers. Several processes share the methods.

  Args:
    config: see `AdaptOptions`.
    workdir: of the run.

  Raises:
    ValueError: for a value that means nothing; if the workdir holds another run
      or is in use.
    FileNotFoundError: if images are not on this machine.
    ImportError: for frost without its photographs.
  """
  chosen = options.parse(AdaptOptions, config)
  methods, sweep = check(chosen)
  workdir = as_path(workdir)
  with training_files.hold(dataclasses.asdict(chosen), workdir):
    study = make_study(chosen)
    journal = processes.open_journal(workdir / 'metrics.jsonl')
    mine = processes.share(methods)
    total = len(mine) * len(study.schedules[0].visits)
    with tqdm.tqdm(total=total, unit='batch') as bar:
      for method in mine:
        _run_method(chosen, study, method, sweep, workdir, journal, bar)
    processes.wait_for_all('measured')
    if processes.is_first():
      journal.merge()
      adapt_report.report(chosen, study, cut(study), sweep, journal, workdir)


def cut(study: Study) -> list[Piece]:
  """The stream in pieces of equal programs, none of two visits."""
  schedule = study.schedules[0]
  found = []
  for visit in np.unique(schedule.visits):
    (rows,) = np.nonzero(schedule.visits == visit)
    domains = np.unique(schedule.domains[rows])
    starts = range(rows[0], rows[-1] + 1, _PIECE)
    for start in starts:
      stop = min(start + _PIECE, int(rows[-1]) + 1)
      found.append(
        Piece(
          len(found),
          slice(start, stop),
          int(visit),
          int(domains[0]) if len(domains) == 1 else -1,
          bool(schedule.restarts[start]),
          stop == rows[-1] + 1,
        )
      )
  return found


def _run_method(chosen, study, method, sweep, workdir, journal, bar):
  """Runs a method to the end, from its last checkpoint on."""
  bar.set_description(method.label)
  start, run, look = _programs(chosen, study, method, sweep)
  slug = ''.join(x if x.isalnum() else '_' for x in method.label)
  place = workdir / 'checkpoints' / f'{slug}.npz'
  state, done = start(), 0
  if place.exists():
    state, done = _read_state(place, state)
  for piece in cut(study):
    num_batches = piece.batches.stop - piece.batches.start
    if piece.number < done:
      bar.update(num_batches)
      continue
    if piece.restarts:
      state = start()
    stream, labels = _gather(study, piece.batches)
    begun = time.perf_counter()
    measured, state = jax.block_until_ready(run(state, stream, labels))
    seconds = time.perf_counter() - begun
    clean = None
    if study.clean is not None and piece.ends_visit:
      clean = np.asarray(look(state)).tolist()
    what = {'method': method.label, 'piece': piece.number}
    if what not in journal:
      values = {
        k: np.asarray(x).tolist() for k, x in measured._asdict().items()
      }
      journal.append(
        what,
        visit=piece.visit,
        domain=piece.domain,
        seconds=seconds,
        clean=clean,
        **values,
      )
    _write_state(place, state, piece.number + 1)
    bar.update(num_batches)
    error = np.sum(measured.wrong) / np.sum(measured.counts)
    bar.set_postfix(error=f'{100 * error:.1f}%')


# Not by Orbax, with which all processes save or none: here each has its own.
def _write_state(path, state, done):
  """Keeps the state of a method after so many pieces."""
  leaves = enumerate(map(_plain, jax.tree.leaves(state)))
  write_arrays(path, {'done': done} | {str(i): x for i, x in leaves})


def _read_state(path, like):
  """What `_write_state` kept, and the number of pieces."""
  found = read_arrays(path)
  wanted, tree = jax.tree.flatten(like)
  if len(found) != len(wanted) + 1:
    raise ValueError(f'{path}: not a state of this method; remove it')
  leaves = []
  for i, want in enumerate(wanted):
    leaf = found.get(str(i))
    like = _plain(want)
    if leaf is None or (leaf.shape, leaf.dtype) != (like.shape, like.dtype):
      raise ValueError(f'{path}: not a state of this method; remove it')
    if jnp.issubdtype(want.dtype, jax.dtypes.prng_key):
      leaf = jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(want))
    leaves.append(jnp.asarray(leaf))
  return tree.unflatten(leaves), int(found['done'])


def _plain(leaf):
  """An array of numbers, of random keys too."""
  is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
  return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def _programs(chosen, study, method: Method, sweep: Sweep | None):
  """Compiled functions; values of a sweep and seeds are one program.

  Returns:
    `() -> state`, `(state, stream, labels) -> (measured, state)`, and the error
    on clean images, `state -> [V, S]`.
  """
  values = jnp.asarray(sweep.values if sweep else (0.0,), jnp.float32)
  key = jax.random.key(chosen.seed)
  keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(
    jnp.arange(chosen.num_seeds)
  )

  def adapter_of(value) -> Adapter:
    given = {sweep.name: value} if sweep else {}
    return adapt_methods.make_adapter(method, study.network, **given)

  def start_one(value, variables, key):
    source = study.sources._replace(variables=variables)
    return adaptation.start_stream(adapter_of(value), source, key)

  def run_one(value, state: StreamState, stream: Batch, labels):
    predictions, state = adaptation.run_stream(adapter_of(value), state, stream)
    return measure(predictions, labels, stream.mask), state

  def look_one(value, state: StreamState):
    """From one state, of which nothing remains."""
    adapter = adapter_of(value)

    def predict(batch):
      return adapter.update(state.adapter, batch, state.key)[0].logits

    logits = jax.lax.map(predict, study.clean)
    return evaluation.error_rate(
      logits, jnp.asarray(study.clean_labels), study.clean.mask
    )

  def both(function, seeds, sweeps):
    return jax.jit(jax.vmap(jax.vmap(function, (None, *seeds)), (0, *sweeps)))

  start = both(start_one, (0, 0), (None, None))
  run = both(run_one, (0, 0, 0), (0, None, None))
  look = both(look_one, (0,), (0,))
  return (
    lambda: start(values, study.sources.variables, keys),
    lambda state, stream, labels: run(values, state, stream, labels),
    lambda state: look(values, state),
  )


def measure(
  predictions: adaptation.Prediction,
  labels: Int[Array, 'T B'],
  mask: Bool[Array, 'T B'],
) -> Measured:
  """Sums over the images of each batch, of each bin, and of each class."""
  logits = predictions.logits
  probs = jax.nn.softmax(logits)
  weight = mask.astype(jnp.float32)
  right = (jnp.argmax(logits, axis=-1) == labels) * weight
  confidence = jnp.max(probs, axis=-1)
  counts = jnp.sum(weight, axis=-1)
  mean = lambda function: counts * jax.vmap(function)(logits, labels, mask)
  bins = evaluation.reliability(
    (confidence * weight).ravel(), right.ravel(), NUM_BINS
  )
  by_class = lambda x: jax.ops.segment_sum(
    x.ravel(), labels.ravel(), NUM_CLASSES
  )
  return Measured(
    counts - jnp.sum(right, axis=-1),
    counts,
    mean(evaluation.negative_log_likelihood),
    mean(evaluation.brier_score),
    jnp.where(bins.counts > 0, bins.confidences * bins.counts, 0),
    jnp.where(bins.counts > 0, bins.accuracies * bins.counts, 0),
    bins.counts,
    by_class(right),
    by_class(weight),
    jnp.sum(predictions.num_forward),
    jnp.sum(predictions.num_backward),
    jnp.argmax(logits[len(logits) // 2, :NUM_PICTURES], axis=-1),
  )


def _gather(study, batches) -> tuple[Batch, Int[Array, 'S T B']]:
  """Batches of all seeds `[S, T, B, ...]`, and labels."""
  parts = [
    protocols.gather(
      study.images,
      study.labels,
      protocols.Schedule(*(leaf[batches] for leaf in schedule)),
    )
    for schedule in study.schedules
  ]
  streams, labels = zip(*parts, strict=True)
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *streams)
  return stacked, jnp.asarray(np.stack(labels))
