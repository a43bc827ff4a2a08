"""What is re-routed: a bed of which all is known, or a model on a text task."""

import dataclasses
import operator
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttc import experts, models, sampling, tasks
from ttc.drivers.reroute_options import RerouteOptions
from ttc.experts import Answered
from ttc.io.paths import AnyPath, fetched
from ttc.models import LanguageModel, RouteOverride
from ttc.scaling import costs
from ttc.testbeds import Size, biased_routers, disturbed_routers
from ttc.testbeds.smollm2 import pad
from ttc.types import FinishReason, Params, Prompt


class Problems(NamedTuple):
  """References, then questions; of rewiring there are questions only.

  Attributes:
    model: as it answers.
    learner: as gradients are taken: they see all experts.
    params: of both.
    prompt: of all problems.
    names: of all problems.
    num_references: how many of them are references.
    capacity: most tokens of a response.
    stop: what ends one.
    answer: `(problem, tokens, finish reason) -> (what it says, whether that is
      right)`; None for what says nothing.
    dearer: the FLOPs of a token that all experts read, those of one that its
      own read being 1.
    same: whether two answers are one.
    noise: what disturbs the routers, of each problem; None for nothing.
    router_bias: what biases them.
    continuations: held-out continuations of the prompts, whose loss is measured
      in place of responses; None for responses.
  """

  model: LanguageModel
  learner: LanguageModel
  params: Params
  prompt: Prompt
  names: list[str]
  num_references: int
  capacity: int
  stop: sampling.StopRules
  answer: Callable[[int, np.ndarray, int], tuple[Hashable, bool]]
  dearer: float
  same: Callable[[Any, Any], bool] = operator.eq
  noise: RouteOverride | None = None
  router_bias: Any = 0.0
  continuations: Answered | None = None

  def grade(self, i: int, tokens: np.ndarray, reason: int) -> bool:
    """Whether a response is right."""
    return self.answer(i, tokens, reason)[1]

  def prompts(self, ids: np.ndarray) -> Prompt:
    """Of some problems."""
    return jax.tree.map(lambda leaf: leaf[ids], self.prompt)

  def noise_of(self, ids: np.ndarray) -> RouteOverride | None:
    """Of some problems."""
    return jax.tree.map(lambda leaf: leaf[ids], self.noise)


def load(chosen: RerouteOptions, workdir: AnyPath) -> Problems:
  """The problems that are chosen.

  Raises:
    ValueError: if the model has no experts, fewer than asked for or no
      tokenizer; if a reference is a question.
    FileNotFoundError: if it is not on this machine.
  """
  if chosen.is_small:
    check_layout(chosen, disturbed_routers.CONFIG)
    make = _tables if chosen.method == 'c3po' else _chains
    return make(chosen, workdir)
  questions, references = _items(chosen)
  if chosen.method == 'c3po' and len(references) <= chosen.num_neighbours:
    raise ValueError(
      f'{chosen.task} has {len(references)} references that are no questions; '
      f'config.num_neighbours={chosen.num_neighbours} needs more than that'
    )
  loaded = models.load(fetched(chosen.model))
  check_layout(chosen, loaded.config)
  return of_text(chosen, questions, references, loaded)


def check_layout(
  chosen: RerouteOptions, config: models.TransformerConfig
) -> None:
  """Raises ValueError if the model has not the experts that are asked for."""
  if config.experts is None:
    raise ValueError(
      f'config.model={chosen.model!r} has no experts, so no routes to change'
    )
  layers = config.experts.layers
  num_layers = config.num_layers if layers is None else len(layers)
  if chosen.method == 'c3po':
    try:
      experts.check_share(
        num_layers, config.experts.num_experts, chosen.num_layers,
        chosen.num_core,
      )  # fmt: skip
    except ValueError as error:
      raise ValueError(
        f'config.{error} of the mixtures of config.model={chosen.model!r}'
      ) from None


def dearer_of(config: models.TransformerConfig, params: Params) -> float:
  """FLOPs of a token that all experts read, to those of an ordinary one."""
  shape = costs.model_shape(config, models.num_params(params))
  others = (shape.num_experts - shape.top_k) * shape.expert_params
  return 1.0 + others / shape.num_params


def _tables(chosen: RerouteOptions, workdir: AnyPath) -> Problems:
  """Questions about tables, to a model whose last router is disturbed."""
  size = Size('run', num_steps=chosen.train_steps)
  bed = disturbed_routers.disturbed(chosen.seed, size, workdir / 'models')
  order = jax.random.permutation(
    jax.random.key(chosen.seed), disturbed_routers.NUM_QUESTIONS
  )
  ids = order[: chosen.num_references + chosen.num_items]
  # Questions of one table stand together in the picture.
  questions = ids[chosen.num_references :]
  ids = ids.at[chosen.num_references :].set(jnp.sort(questions))
  tokens = np.asarray(bed.texts.tokens[ids])
  start = disturbed_routers.PROMPT
  mixture = bed.mixture
  return Problems(
    mixture.model,
    mixture.learner,
    mixture.params,
    Prompt(jnp.asarray(tokens[:, :start]), bed.texts.prompt_lengths[ids]),
    [str(int(i)) for i in ids],
    chosen.num_references,
    disturbed_routers.RESPONSE,
    sampling.stop_rules(disturbed_routers.CONFIG.vocab_size),
    lambda i, drawn, reason: (
      tuple(drawn.tolist()),
      np.array_equal(drawn, tokens[i, start:]),
    ),
    dearer_of(mixture.config, mixture.params),
    noise=jax.tree.map(lambda leaf: leaf[ids], bed.noise),
  )


def _chains(chosen: RerouteOptions, workdir: AnyPath) -> Problems:
  """Halves of walks on a chain that the routers do not expect."""
  bed = biased_routers
  size = Size('run', num_steps=chosen.train_steps)
  mixture = bed.trained(chosen.seed, size, workdir / 'models')
  bias = bed.router_bias(mixture, chosen.seed)
  texts = bed.texts_of(chosen.seed, chosen.num_items, bed.RARE, 1)
  full = lambda n: jnp.full((chosen.num_items,), n, jnp.int32)
  prompt = bed.prompts(texts)
  return Problems(
    mixture.model,
    mixture.learner,
    mixture.params,
    prompt,
    [str(i) for i in range(chosen.num_items)],
    0,
    bed.CONTINUATION,
    sampling.stop_rules(bed.NUM_TOKENS),
    lambda i, drawn, reason: (None, False),
    dearer_of(mixture.config, mixture.params),
    router_bias=bias,
    continuations=Answered(texts, prompt.lengths, full(texts.shape[1])),
  )


def _items(chosen: RerouteOptions) -> tuple[tasks.TextTask, list[tasks.Item]]:
  """The task with its questions, and the references."""
  load_task = lambda name, num: tasks.load(
    name, num_items=num, seed=chosen.seed
  )
  if chosen.method == 'rewiring':
    return load_task(chosen.task, chosen.num_items), []
  if chosen.reference_task:
    task = load_task(chosen.task, chosen.num_items)
    references = load_task(chosen.reference_task, chosen.num_references).items
    asked = {item.question for item in task.items}
    for item in references:
      if item.question in asked:
        raise ValueError(
          f'config.reference_task={chosen.reference_task!r}: reference '
          f'{item.id!r} is a question of {chosen.task!r}'
        )
    return task, references
  task = load_task(chosen.task, chosen.num_items + chosen.num_references)
  questions = task.items[: chosen.num_items]
  asked = {item.question for item in questions}
  references = [
    item
    for item in task.items[chosen.num_items :]
    if item.question not in asked
  ]
  return task._replace(items=questions), references


def of_text(
  chosen: RerouteOptions,
  task: tasks.TextTask,
  references: list[tasks.Item],
  loaded: models.Loaded,
) -> Problems:
  """A text task, answered greedily; what was cut is wrong."""
  tokenizer = loaded.tokenizer
  if tokenizer is None:
    raise ValueError(f'config.model={chosen.model!r} has no tokenizer')
  items = [*references, *task.items]
  ids = [tokenizer.prompt(task.prompt(item)) for item in items]
  stop_ids = {
    *tokenizer.eos_ids,
    *(i for text in task.stop for i in tokenizer.ids_containing(text)),
  }
  capacity = chosen.max_new_tokens or task.max_new_tokens
  longest = max(map(len, ids))
  if longest + capacity > loaded.model.max_length:
    raise ValueError(
      f'prompts of {longest} tokens and responses of {capacity} are more than '
      f'the {loaded.model.max_length} that config.model={chosen.model!r} reads'
    )

  def answer(i, tokens, reason):
    if reason != FinishReason.STOP:
      return None, False
    grade = task.grade(items[i], tokenizer.decode(tokens))
    return grade.extracted, bool(grade.score)

  whole_rows = dataclasses.replace(loaded.config, many_rows=True)
  return Problems(
    loaded.model,
    models.transformer(whole_rows, straight_through=True),
    loaded.params,
    pad(ids, longest),
    [item.id for item in items],
    len(references),
    capacity,
    sampling.stop_rules(loaded.model.vocab_size, sorted(stop_ids)),
    answer,
    dearer_of(loaded.config, loaded.params),
    same=task.same,
  )
