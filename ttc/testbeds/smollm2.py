"""SmolLM2-135M-Instruct on few-shot arithmetic, judged by its own confidence.

Steps are tokens. The score of a response is the geometric mean of the
probabilities of its tokens, which is all that a model of this size can say of
its own answers.
"""

import functools

import jax.numpy as jnp
import numpy as np

from ttc import models, sampling, search, tasks
from ttc.testbeds.train import Directory
from ttc.testbeds.world import Size, World, flops_per_token
from ttc.types import Prompt

FAMILY, CAPACITY = 'addition_2digit', 8


@functools.cache
def load() -> models.Loaded:
  """The model, once."""
  return models.load('smollm2-135m')


def load_tokenizer() -> models.Tokenizer:
  """The tokenizer of the model."""
  tokenizer = load().tokenizer
  if tokenizer is None:
    raise ValueError('smollm2-135m has no tokenizer')
  return tokenizer


def smollm2(seed: int, size: Size, cache: Directory) -> World:
  """Sums of two digits; the same for every seed, with other samples."""
  del seed, cache
  loaded, tokenizer = load(), load_tokenizer()
  task = tasks.load(FAMILY, num_items=size.problems(32))
  prompts = [search.prompt_tokens(tokenizer, task, item) for item in task.items]
  answers = search.TextAnswers(tokenizer, task)
  shape = max(map(len, prompts)), CAPACITY
  return World(
    title=f'SmolLM2, {FAMILY}',
    params=loaded.params,
    problems=jnp.arange(len(prompts)),
    prompt=pad(prompts, shape[0]),
    gold=np.array(
      [answers.read(i, item.answer) for i, item in enumerate(task.items)]
    ),
    item_ids=[item.id for item in task.items],
    setting_fn=search.text_setting_fn(
      loaded,
      task,
      answers,
      capacity=CAPACITY,
      max_steps=CAPACITY,
      max_step_tokens=1,
      sampling=sampling.SamplingParams(temperature=0.7),
    ),
    flops_per_token=flops_per_token(loaded.config, loaded.params, *shape),
  )


def pad(prompts, length):
  """Token prompts as arrays."""
  tokens = np.zeros((len(prompts), length), np.int32)
  for row, prompt in zip(tokens, prompts, strict=True):
    row[: len(prompt)] = prompt
  return Prompt(jnp.asarray(tokens), jnp.array(list(map(len, prompts))))
