"""Where the prompts of a fine-tuning come from, and what responses earn."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, sampling, search, tasks
from ttc.drivers.finetune_critic import Judged, make_critic
from ttc.drivers.finetune_options import FinetuneOptions
from ttc.testbeds.smollm2 import pad
from ttc.types import FinishReason, Generation, Params, Prompt


class Drawn(NamedTuple):
  """The `P` prompts of an update."""

  keys: jax.Array  # one per problem
  prompt: Prompt
  problems: Any  # what the reward needs
  names: list[str]  # what errors and logs call them


class Problems(NamedTuple):
  """A task as a training sees it.

  Attributes:
    draw: `key -> Drawn`, the key is of the update.
    score: `(drawn, responses) -> rewards [P, G]`, by the task's own verifier;
      `[P, G, 2]` if it is a reward of its own to give any answer.
    show: tokens of a response as text.
    capacity: most tokens in a response.
    stop: what ends one.
    judge: `(parameters, drawn, responses) -> Judged` by the model itself, where
      that makes the pairs of preferences.
  """

  draw: Callable[[jax.Array], Drawn]
  score: Callable[[Drawn, Generation], jax.Array | np.ndarray]
  show: Callable[[np.ndarray], str]
  capacity: int
  stop: sampling.StopRules
  judge: Callable[[Params, Drawn, Generation], Judged] | None = None


def of_token_task(task: tasks.TokenTask, chosen: FinetuneOptions) -> Problems:
  """Fresh training problems at every update."""
  train = tasks.on_split(task, 'train')

  @jax.jit
  def score(problems, responses):
    prompt = tasks.to_prompt(problems)
    right = tasks.score_fn(task, problems)(prompt, responses)
    if not chosen.answer_reward:
      return right
    answered = tasks.answer_fn(task, problems)(prompt, responses) >= 0
    return jnp.stack([right, answered.astype(jnp.float32)], axis=-1)

  @jax.jit
  def generate(key):
    fold = functools.partial(jax.random.fold_in, key)
    keys = jax.vmap(fold)(jnp.arange(2 * chosen.num_prompts))
    data, sample = jnp.split(keys, 2)
    return sample, jax.vmap(train.generate)(data)

  def draw(key):
    keys, problems = generate(key)
    prompt = tasks.to_prompt(problems)
    rows = zip(*map(np.asarray, prompt), strict=True)
    names = [task.to_text(row[:length]) for row, length in rows]
    return Drawn(keys, prompt, problems, names)

  return Problems(
    draw,
    lambda drawn, responses: score(drawn.problems, responses),
    task.to_text,
    chosen.max_new_tokens or task.response_length,
    sampling.stop_rules(task.vocab_size, [task.eos_id]),
  )


def of_text_task(
  task: tasks.TextTask,
  items: list[tasks.Item],
  loaded: models.Loaded,
  chosen: FinetuneOptions,
) -> Problems:
  """Items at random, each at most once in an update, graded as text."""
  tokenizer = loaded.tokenizer
  if tokenizer is None:
    raise ValueError(f'config.model={chosen.model!r} has no tokenizer')
  prompts = [search.prompt_tokens(tokenizer, task, item) for item in items]
  whole = pad(prompts, max(map(len, prompts)))
  stop_ids = {
    *tokenizer.eos_ids,
    *(i for text in task.stop for i in tokenizer.ids_containing(text)),
  }

  def draw(key):
    choice_key, sample_key = jax.random.split(key)
    chosen_items = jax.random.choice(
      choice_key, len(items), (chosen.num_prompts,), replace=False
    )
    fold = functools.partial(jax.random.fold_in, sample_key)
    prompt = jax.tree.map(lambda x: x[chosen_items], whole)
    of_step = [items[int(i)] for i in chosen_items]
    names = [item.id for item in of_step]
    return Drawn(jax.vmap(fold)(chosen_items), prompt, of_step, names)

  def texts(responses):
    """Responses that ended, as text; None where one was cut."""
    tokens, lengths, reasons = map(
      np.asarray,
      (responses.tokens, responses.lengths, responses.finish_reasons),
    )
    found = np.full(lengths.shape, None, object)
    for at in zip(*np.nonzero(reasons == FinishReason.STOP), strict=True):
      found[at] = tokenizer.decode(tokens[at][: lengths[at]].tolist())
    return found

  def score(drawn, responses):
    """As an evaluation grades: what was cut earns nothing."""
    said = texts(responses)
    rewards = np.zeros((*said.shape, 2), np.float32)
    for (p, g), text in np.ndenumerate(said):
      if text is not None:
        grade = task.grade(drawn.problems[p], text)
        rewards[p, g] = grade.score, grade.extracted is not None
    return rewards if chosen.answer_reward else rewards[..., 0]

  critic = make_critic(task, loaded, chosen)

  def judge(params, drawn, responses):
    return critic(params, drawn.keys, drawn.problems, texts(responses))

  return Problems(
    draw,
    score,
    tokenizer.decode,
    chosen.max_new_tokens or task.max_new_tokens,
    sampling.stop_rules(loaded.model.vocab_size, sorted(stop_ids)),
    judge if chosen.num_judgements else None,
  )
