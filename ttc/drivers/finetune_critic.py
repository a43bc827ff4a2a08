"""A model that judges responses, for pairs of preferences (Timo).

Su et al., "Timo: Towards Better Temporal Reasoning for Language Models", arXiv
2406.14192; the rubrics and what is read off a judgement are in
`ttc.finetuning.self_critic`. The judge is the model as it was at the start,
in the precision that it was loaded in; it is its own critic as long as nothing
was learned. Costs `2 J` judgements of each response, all under one rubric in
one program.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from ttc import finetuning, models, sampling, tasks
from ttc.drivers import devices
from ttc.drivers.finetune_options import FinetuneOptions
from ttc.models.sharding import of_first
from ttc.search.text_setting import prompt_tokens
from ttc.testbeds.smollm2 import pad
from ttc.types import Params, Prompt

_WIDTH = 64  # prompts are padded to its multiples, so few programs are compiled
_FIRST = 2**30  # number of a stream of judgements; responses have smaller ones


class Judged(NamedTuple):
  """What is said of `G` responses to each of `P` prompts.

  Attributes:
    as_right: mean points as a right answer; -1 where no judgement counts.
    as_wrong: mean points as a wrong one that convinces.
    answers: whether there is an answer at all; nothing else is in a pair.
  """

  as_right: Float[Array, 'P G']
  as_wrong: Float[Array, 'P G']
  answers: Bool[Array, 'P G']


# `(parameters of the judge, keys [P], items, texts [P, G])`, None for a
# response that was cut.
Critic: TypeAlias = Callable[
  [Params, Key[Array, ' P'], Sequence[tasks.Item], np.ndarray], Judged
]


def make_critic(
  task: tasks.TextTask, loaded: models.Loaded, chosen: FinetuneOptions
) -> Critic:
  """The model of a run as the judge of responses to a text task.

  Args:
    task: whose own grader says what gives an answer.
    loaded: the model, with its tokenizer.
    chosen: how many judgements, how long, and their temperature.
  """
  tokenizer = loaded.tokenizer
  assert tokenizer is not None
  talks = tokenizer.template is not None or tokenizer.layout is not None
  questions = task._replace(
    prompt=lambda text: text,
    is_chat=talks,
    system='',
    prefill='',
    tools=(),
  )

  @jax.jit
  def draw(params: Params, keys: Key[Array, 'P G'], prompt: Prompt):
    return sampling.generate(
      params,
      keys.reshape(-1),
      prompt,
      chosen.num_judgements,
      model=loaded.model,
      capacity=chosen.judgement_tokens,
      stop=sampling.stop_rules(loaded.model.vocab_size, tokenizer.eos_ids),
      sampling=sampling.SamplingParams(temperature=chosen.temperature),
    )

  def points(params, keys, rubric, items, texts):
    asked = [
      f'{rubric}\n\nQuestion: {task.prompt(item)}\n\nAnswer: {text or ""}'
      for item, row in zip(items, texts, strict=True)
      for text in row
    ]
    rows = [prompt_tokens(tokenizer, questions, text) for text in asked]
    longest = max(map(len, rows))
    room = loaded.model.max_length - chosen.judgement_tokens
    if longest > room:
      raise ValueError(
        f'a question, its response and a rubric have {longest} tokens: with '
        f'config.judgement_tokens={chosen.judgement_tokens} more than the '
        f'{loaded.model.max_length} of {loaded.name}'
      )
    width = min(-(-longest // _WIDTH) * _WIDTH, room)
    said = draw(params, keys, pad(rows, width))
    tokens, lengths = jax.device_get(devices.fetch((said.tokens, said.lengths)))
    scores = np.zeros(lengths.shape, np.float32)
    for at, length in np.ndenumerate(lengths):
      judgement = tokenizer.decode(tokens[at][:length].tolist())
      scores[at] = finetuning.parse_score(judgement)
    return finetuning.mean_score(jnp.asarray(scores)).reshape(keys.shape)

  def judge(params, keys, items, texts):
    answers = np.zeros(texts.shape, bool)
    for (p, g), text in np.ndenumerate(texts):
      if text is not None:
        answers[p, g] = task.grade(items[p], text).extracted is not None
    answers = of_first(answers)  # a grader's clocks may have a say
    rubrics = finetuning.AS_RIGHT, finetuning.AS_WRONG
    as_right, as_wrong = (
      points(params, _keys(keys, i, texts.shape[1]), rubric, items, texts)
      for i, rubric in enumerate(rubrics)
    )
    return Judged(as_right, as_wrong, jnp.asarray(answers))

  return judge


def _keys(keys: Key[Array, ' P'], rubric: int, group_size: int):
  """A key of each response under a rubric: none that drew a response."""
  fold = jax.vmap(jax.random.fold_in, (0, None))
  of_each = jax.vmap(fold, (None, 0), 1)
  return of_each(fold(keys, _FIRST + rubric), jnp.arange(group_size))
