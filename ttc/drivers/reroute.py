"""Re-routes a mixture of experts at test time, and shows what it gains."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from ttc import experts, sampling
from ttc.drivers import options, reroute_problems, training_files
from ttc.drivers.journal import Journal
from ttc.drivers.reroute_options import RerouteOptions, check
from ttc.drivers.reroute_problems import Problems
from ttc.drivers.reroute_report import show
from ttc.drivers.reroute_votes import num_votes, vote
from ttc.experts import Answered, References
from ttc.io import files
from ttc.io.arrays import read_arrays, write_arrays
from ttc.io.paths import AnyPath, as_path
from ttc.models import RouteOverride
from ttc.models.routing import check_routes
from ttc.sampling import responses
from ttc.types import Generation, Prompt

BASE, REWIRED, VOTES = 'the router', 'rewired', 'votes'
_GREEDY = sampling.SamplingParams(temperature=0.0)
_ALPHAS = 5  # that kernel regression tries


class Job(NamedTuple):
  """A method on some problems."""

  method: str
  ids: range

  @property
  def what(self) -> dict[str, Any]:
    """As the journal knows it."""
    return {
      'method': self.method,
      'first': self.ids.start,
      'problems': len(self.ids),
    }

  def path(self, workdir: AnyPath) -> AnyPath:
    """Of its arrays."""
    name = self.method.replace(' ', '_')
    return workdir / 'routes' / f'{name}-{self.ids.start}.npz'


class Setup(NamedTuple):
  """What a run does, and where."""

  chosen: RerouteOptions
  problems: Problems
  journal: Journal
  workdir: AnyPath

  def jobs(self, method: str, ids: range) -> Iterator[Job]:
    """A method, batch by batch."""
    step = self.chosen.batch_size
    for first in range(ids.start, ids.stop, step):
      yield Job(method, range(first, min(first + step, ids.stop)))

  @property
  def questions(self) -> range:
    """Problems that are no references."""
    return range(self.problems.num_references, len(self.problems.names))


class Measured(NamedTuple):
  """Of the problems of a job."""

  scores: np.ndarray  # right or wrong, or losses
  # Tokens through the model; those of a gradient step three times, and each as
  # many times as it is dearer because all experts read it.
  read: np.ndarray
  arrays: dict[str, Any]  # `pathways` among them; of votes none


def reroute(config: Mapping[str, Any], workdir: files.Path) -> None:
  """Answers by the router's routes and by changed ones, and compares.

  Writes config.json, metrics.jsonl (a line for each method and batch), routes
  (arrays), report.md and routes.png. Run again after a kill, it goes on where
  it was.

  Args:
    config: see `RerouteOptions`.
    workdir: of the run.

  Raises:
    ValueError: for a value that means nothing; if the model has no experts or
      fewer than asked for; if a reference is a question; if too few references
      are right; if the workdir holds another run or is in use.
    FileNotFoundError: if a model or data are not on this machine.
    OSError: if a file cannot be written.
  """
  chosen = options.parse(RerouteOptions, config)
  check(chosen)
  workdir = as_path(workdir)
  with files.lock_directory(workdir):
    training_files.keep_config(dataclasses.asdict(chosen), workdir)
    problems = reroute_problems.load(chosen, workdir)
    setup = Setup(chosen, problems, Journal(workdir / 'metrics.jsonl'), workdir)
    run(setup)


def run(setup: Setup) -> None:
  """Measures what is missing, and reports."""
  questions = setup.questions
  base = list(setup.jobs(BASE, range(len(setup.problems.names))))
  if setup.chosen.method == 'rewiring':
    _run_all(setup, [*base, *setup.jobs(REWIRED, questions)])
    _vote_and_show(setup, (BASE, REWIRED))
    return
  # Batches of references and of questions do not mix.
  base = [
    *setup.jobs(BASE, range(questions.start)),
    *setup.jobs(BASE, questions),
  ]
  methods = setup.chosen.surrogates
  todo = [job for name in methods for job in setup.jobs(name, questions)]
  _run_all(setup, [*base, *todo])
  _vote_and_show(setup, (BASE, *methods))


def _vote_and_show(setup: Setup, methods: tuple[str, ...]) -> None:
  """Votes at the cost of the dearest method, where there are answers."""
  questions = setup.questions
  voted = setup.problems.continuations is None and setup.chosen.max_votes > 0
  if voted:
    _run_all(setup, [*setup.jobs(VOTES, questions)])
  show(setup, methods, (VOTES,) if voted else (), questions)


def _run_all(setup: Setup, jobs: list[Job]) -> None:
  """Measures jobs that were not, in order."""
  programs: dict[str, Any] = {}
  for job in tqdm.tqdm(jobs, unit='batch', disable=len(jobs) < 2):
    if job.what in setup.journal:
      continue
    if job.method not in programs:
      programs[job.method] = _program(setup, job.method)
    found = programs[job.method](np.asarray(job.ids))
    if not np.isfinite(found.scores).all():
      raise ValueError(
        f'{job.method}: the loss of {setup.problems.names[job.ids.start]!r} or '
        'another is no number; a smaller config.learning_rate may help'
      )
    if found.arrays:
      write_arrays(job.path(setup.workdir), found.arrays)
    setup.journal.append(
      job.what,
      scores=np.asarray(found.scores, float).tolist(),
      read=np.asarray(found.read, float).tolist(),
    )


def _program(setup: Setup, method: str):
  """`ids -> Measured` of a method."""
  problems = setup.problems
  if problems.continuations is not None:
    return _on_continuations(setup, method)
  if method == BASE:
    return _by_router(problems)
  if method == VOTES:
    return _by_votes(setup)
  if method == REWIRED:
    return _rewired(setup)
  return _by_surrogate(setup, method)


def _by_router(problems: Problems):
  """Responses as the model gives them, its pathways and its embeddings."""

  @jax.jit
  def answer(params, keys, prompt, noise):
    state = sampling.prefill(
      problems.model, params, prompt, 1, problems.capacity, routes=noise
    )
    drawn = sampling.sample(
      problems.model, params, keys, state, problems.stop, sampling=_GREEDY
    ).generation
    read = experts.read_prompts(problems.model, params, prompt, noise)
    embeddings = experts.mean_embeddings(problems.model, params, prompt)
    return drawn, read.pathways, embeddings

  def run(ids):
    prompt = problems.prompts(ids)
    drawn, pathways, embeddings = answer(
      problems.params, _keys(ids), prompt, problems.noise_of(ids)
    )
    arrays = {
      'pathways': pathways,
      'embeddings': embeddings,
      'tokens': drawn.tokens[:, 0],
      'lengths': drawn.lengths[:, 0],
    }
    return Measured(_grades(problems, ids, drawn), _read(prompt, drawn), arrays)

  return run


def _by_surrogate(setup: Setup, method: str):
  """Responses under pathways from the neighbours among solved references."""
  problems, chosen = setup.problems, setup.chosen
  references = solved_references(setup)
  width = experts.typical_distance(references.embeddings, chosen.num_neighbours)
  passes = {
    'mode finding': 0,
    'kernel regression': _ALPHAS * problems.dearer,
    'gradient descent': 3 * chosen.num_steps * problems.dearer,
  }[method]

  @jax.jit
  def answer(params, keys, prompt, embeddings, pathways, references, width):
    rerouted = experts.reroute(
      problems.learner, params, chosen.surrogate[method], embeddings, pathways,
      references, experts.gaussian_kernel(width),
      num_neighbours=chosen.num_neighbours, num_layers=chosen.num_layers,
      num_core=chosen.num_core,
    )  # fmt: skip
    routes = experts.override_of(
      rerouted.pathways, rerouted.layers, prompt.lengths, prompt.tokens.shape[1]
    )
    drawn = _generate(problems, params, keys, prompt, routes)
    lengths = references.texts.lengths[rerouted.neighbours] - 1
    return drawn, rerouted.pathways, jnp.sum(lengths, axis=1)

  def run(ids):
    prompt = problems.prompts(ids)
    first = Job(BASE, range(int(ids[0]), int(ids[-1]) + 1))
    before = read_arrays(first.path(setup.workdir))
    drawn, pathways, lengths = answer(
      problems.params, _keys(ids), prompt, before['embeddings'],
      before['pathways'], references, width,
    )  # fmt: skip
    read = _read(prompt, drawn) + np.asarray(prompt.lengths)
    read = read + passes * np.asarray(lengths)
    arrays = {'pathways': pathways}
    return Measured(_grades(problems, ids, drawn), read, arrays)

  return run


def _by_votes(setup: Setup):
  """The commonest of as many answers as the dearest method pays for."""
  problems, questions = setup.problems, setup.questions

  def read(method):
    lines = [setup.journal[job.what] for job in setup.jobs(method, questions)]
    return float(np.mean(np.concatenate([line['read'] for line in lines])))

  is_rewiring = setup.chosen.method == 'rewiring'
  others = (REWIRED,) if is_rewiring else setup.chosen.surrogates
  length = float(np.mean(problems.prompts(np.asarray(questions)).lengths))
  count = num_votes(
    max(map(read, others)), length, read(BASE) - length, setup.chosen.max_votes
  )

  def run(ids):
    return Measured(*vote(problems, ids, _keys(ids), count), {})

  return run


def solved_references(setup: Setup) -> References:
  """The references that the model got right, with its own responses.

  Raises:
    ValueError: if they are fewer than neighbours are asked for, and one more,
      from which the width of the kernel is.
  """
  problems, chosen = setup.problems, setup.chosen
  ids = range(problems.num_references)
  jobs = list(setup.jobs(BASE, ids))
  right = np.concatenate([setup.journal[job.what]['scores'] for job in jobs])
  parts = [read_arrays(job.path(setup.workdir)) for job in jobs]
  whole = {name: np.concatenate([x[name] for x in parts]) for name in parts[0]}
  solved = np.flatnonzero(right > 0)
  if len(solved) <= chosen.num_neighbours:
    raise ValueError(
      f'of {len(right)} references the model got {len(solved)} right; '
      f'config.num_neighbours={chosen.num_neighbours} needs more than that'
    )
  prompt = problems.prompts(solved)
  room = jnp.pad(prompt.tokens, ((0, 0), (0, problems.capacity)))
  tokens = responses.write_behind(
    room[:, None],
    jnp.asarray(whole['tokens'][solved])[:, None],
    prompt.lengths[:, None],
  )[:, 0]
  lengths = prompt.lengths + whole['lengths'][solved]
  return References(
    Answered(tokens, prompt.lengths, lengths),
    jnp.asarray(whole['embeddings'][solved]),
    jnp.asarray(whole['pathways'][solved]),
  )


def _rewired(setup: Setup):
  """Responses by routers that learn from the prompt and what they wrote."""
  problems, rewiring = setup.problems, setup.chosen.rewiring

  @jax.jit
  def answer(params, keys, prompt):
    found = experts.generate_rewired(
      problems.model, params, keys, prompt, rewiring,
      capacity=problems.capacity, stop=problems.stop, learner=problems.learner,
      sampling=_GREEDY,
    )  # fmt: skip
    routes = experts.bias_routes(found.bias[0])
    read = experts.read_prompts(problems.model, params, prompt, routes)
    return found, read.pathways

  def run(ids):
    prompt = problems.prompts(ids)
    found, pathways = answer(problems.params, _keys(ids), prompt)
    cycles = np.asarray(found.read)
    passes = 1 + 3 * rewiring.num_steps  # all of the learner
    passes = passes * problems.dearer * cycles.sum(axis=0)
    if rewiring.cache == 'recompute':
      passes = passes + cycles[1:].sum(axis=0)
    drawn = found.generation
    return Measured(
      _grades(problems, ids, drawn),
      _read(prompt, drawn) + passes,
      {'pathways': pathways},
    )

  return run


def _on_continuations(setup: Setup, method: str):
  """Losses of held-out continuations, with vectors of the prompt or none."""
  problems, rewiring = setup.problems, setup.chosen.rewiring

  @jax.jit
  def measure(params, texts):
    L, E = check_routes(problems.model, None).shape
    bias = jnp.zeros((texts.tokens.shape[0], L, E), jnp.float32)
    prompt = texts.prompt
    if method == REWIRED:
      bias = experts.rewire(
        problems.learner, params, prompt, rewiring, None, problems.router_bias
      ).bias
    routes = experts.bias_routes(bias + problems.router_bias)
    losses = experts.answer_losses(problems.model, params, texts, routes)
    read = experts.read_prompts(problems.model, params, prompt, routes)
    return losses, read.pathways

  def run(ids):
    assert problems.continuations is not None
    texts = jax.tree.map(lambda leaf: leaf[ids], problems.continuations)
    losses, pathways = measure(problems.params, texts)
    passes = 1 + 3 * rewiring.num_steps if method == REWIRED else 0
    passes = passes * problems.dearer
    read = texts.lengths - 1 + passes * texts.prompt_lengths
    return Measured(
      np.asarray(losses), np.asarray(read), {'pathways': pathways}
    )

  return run


def _generate(problems, params, keys, prompt, routes: RouteOverride):
  """Greedy responses, one to each prompt."""
  return sampling.generate(
    params, keys, prompt, 1, model=problems.model, capacity=problems.capacity,
    stop=problems.stop, sampling=_GREEDY, routes=routes,
  )  # fmt: skip


def _keys(ids):
  """Of problems; greedy responses do not depend on them."""
  key = jax.random.key(0)
  return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.asarray(ids))


def _grades(problems: Problems, ids, drawn: Generation) -> np.ndarray:
  """Which responses are right."""
  tokens, lengths, reasons = map(
    np.asarray, (drawn.tokens, drawn.lengths, drawn.finish_reasons)
  )
  grades = [
    problems.grade(
      int(i), tokens[row, 0, : lengths[row, 0]], int(reasons[row, 0])
    )
    for row, i in enumerate(ids)
  ]
  return np.asarray(grades, np.float32)


def _read(prompt: Prompt, drawn: Generation) -> np.ndarray:
  """Tokens that went through the model; the last one of a response did not."""
  written = np.asarray(drawn.lengths[:, 0])
  return np.asarray(prompt.lengths) + np.maximum(written - 1, 0)
