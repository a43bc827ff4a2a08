"""Speed of test-time adaptation, beside torch and by the number of streams."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttc import adaptation
from ttc.adaptation import Batch, Source
from ttc.adaptation.views import unchanged
from ttc.drivers import adaptation_peer
from ttc.drivers.timing import interleaved, spread
from ttc.io import files
from ttc.testbeds import image_classifiers
from ttc.testbeds.image_classifiers import ClassifierRecipe

_RECIPE = ClassifierRecipe()
_STRIDES, _MOMENTS = (1, 2, 1, 2, 1), (0.286, 0.353)


class Bench(NamedTuple):
  """What is measured.

  Attributes:
    methods: 'tent', 'eata', 'cotta'.
    batch_size: images of a batch.
    num_batches: of a stream.
    num_streams: that one program carries, beside as many programs.
    num_views: of CoTTA; unchanged images, on both sides.
    repetitions: timed runs of each.
    peer: checkout of the torch library; '' for none.
  """

  methods: tuple[str, ...] = tuple(adaptation_peer.METHODS)
  batch_size: int = 200
  num_batches: int = 10
  num_streams: int = 8
  num_views: int = 32
  repetitions: int = 3
  peer: str = ''


def check(bench: Bench) -> None:
  """Raises ValueError for what is not known or means nothing."""
  for name in bench.methods:
    if name not in adaptation_peer.METHODS:
      known = ', '.join(adaptation_peer.METHODS)
      raise ValueError(f'--methods: {name!r}, expected some of {known}')
  for name in ('batch_size', 'num_batches', 'num_streams', 'repetitions'):
    if getattr(bench, name) < 1:
      raise ValueError(f'--{name}={getattr(bench, name)} must be at least 1')


def bench_adapt(bench: Bench, out: files.Path | None = None) -> str:
  """Measures, and returns Markdown tables.

  Raises:
    ValueError: for what means nothing.
    FileNotFoundError, ImportError: if the peer is not there.
  """
  check(bench)
  rows, found = [], {}
  for name in bench.methods:
    found[name] = _measure(name, bench)
    rows.append(_row(name, found[name]))
  if out is not None:
    files.write_atomically(out, files.to_json(found, indent=2) + '\n')
  num = bench.num_streams
  header = [
    'method', 'ours (images/s)', 'torch (images/s)', 'ratio',
    'difference', 'compilation (s)', 'memory (MB)',
    f'{num} streams / {num} runs',
  ]  # fmt: skip
  lines = [header, ['---', *['---:'] * (len(header) - 1)], *rows]
  return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def _measure(name: str, bench: Bench) -> dict[str, Any]:
  """Seconds of each engine, of compilation, and temporary bytes."""
  shape = (bench.num_batches, bench.batch_size, 28, 28, 1)
  pixels = jax.random.uniform(jax.random.key(0), shape, jnp.float32)
  source = np.asarray(pixels.reshape(-1, 28, 28, 1)[:200])
  if len(source) < 200:
    source = np.resize(source, (200, 28, 28, 1))
  variables = image_classifiers.start_training(_RECIPE, 0).variables
  begun = time.perf_counter()
  run, many, start = _programs(name, bench, variables, source, pixels)
  compilation = time.perf_counter() - begun
  engines: dict[str, Callable[[], object]] = {
    'ours': lambda: jax.block_until_ready(run(start, pixels)),
    'streams': lambda: jax.block_until_ready(many(start, pixels)),
  }
  difference = None
  if bench.peer:
    engines['torch'], first = _torch_run(name, bench, variables, source, pixels)
    ours = np.asarray(run(start, pixels)[0])
    difference = float(np.abs(ours - first).max())
  seconds = interleaved(engines, bench.repetitions)
  memory = run.memory_analysis()
  return {
    'seconds': seconds,
    'compilation': compilation,
    'bytes': getattr(memory, 'temp_size_in_bytes', None),
    'images': bench.num_batches * bench.batch_size,
    'num_streams': bench.num_streams,
    'difference': difference,
  }


def _programs(name, bench, variables, source, pixels):
  """One stream and several, compiled, and the state they start from."""
  network = _RECIPE.network
  views = {'view': unchanged, 'num_views': bench.num_views}
  extra = views if name == 'cotta' else {}
  method = getattr(adaptation, name)(network, **extra)
  given = Source(
    variables, jnp.asarray(source), jnp.zeros(len(source), jnp.int32)
  )
  start = jax.jit(
    lambda: adaptation.start_stream(method, given, jax.random.key(0))
  )()
  mask = jnp.ones(pixels.shape[:2], bool)

  def run(state, pixels):
    return adaptation.run_stream(method, state, Batch(pixels, mask))[0].logits

  def many(state, pixels):
    """Streams that differ in their images."""
    shift = jnp.arange(bench.num_streams, dtype=jnp.float32) / 100
    one = lambda shift: run(state, jnp.clip(pixels + shift, 0, 1))
    return jax.vmap(one)(shift)

  compile_ = lambda function: jax.jit(function).lower(start, pixels).compile()
  return compile_(run), compile_(many), start


def _torch_run(name, bench, variables, source, pixels):
  """The peer on the same batches, and its logits of the first one.

  Each run goes on from the state of the last.
  """
  peer = adaptation_peer.make_peer(
    name,
    bench.peer,
    variables,
    source,
    _MOMENTS,
    _STRIDES,
    bench.num_views,
  )
  batches = [adaptation_peer.to_torch(np.asarray(x)) for x in pixels]
  first = peer(batches[0]).detach().numpy()
  return (lambda: [peer(batch) for batch in batches]), first


def _row(name: str, found: dict[str, Any]) -> Sequence[str]:
  """One line of the table."""
  seconds, images = found['seconds'], found['images']
  rate = lambda engine: [images / x for x in seconds[engine]]
  middle = lambda engine: float(np.median(seconds[engine]))
  growth = middle('streams') / (found['num_streams'] * middle('ours'))
  torch = spread(rate('torch'), '.0f') if 'torch' in seconds else ''
  ratio = (
    f'{middle("torch") / middle("ours"):.2f}' if 'torch' in seconds else ''
  )
  memory = found['bytes']
  return [
    name,
    spread(rate('ours'), '.0f'),
    torch,
    ratio,
    '' if found['difference'] is None else f'{found["difference"]:.0e}',
    f'{found["compilation"]:.1f}',
    '' if memory is None else f'{memory / 2**20:.0f}',
    f'{growth:.2f}',
  ]
