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
  loaded = load()
  tokenizer, model = load_tokenizer(), loaded.model
  task = tasks.load(FAMILY, num_items=size.problems(32))
  prompts = [tokenizer.prompt(task.prompt(item)) for item in task.items]
  stop_ids = [
    *tokenizer.eos_ids,
    *(i for text in task.stop for i in tokenizer.ids_containing(text)),
  ]
  digits = digit_table(tokenizer, model.vocab_size)
  shape = max(map(len, prompts)), CAPACITY

  def setting_fn(params, problems):
    del problems
    return search.Setting(
      model=model,
      params=params,
      answer_fn=functools.partial(read_number, digits, jnp.array(stop_ids)),
      score_fn=confidence,
      eos_ids=tuple(sorted(set(stop_ids))),
      capacity=CAPACITY,
      max_steps=CAPACITY,
      max_step_tokens=1,
      sampling=sampling.SamplingParams(temperature=0.7),
    )

  return World(
    title=f'SmolLM2, {FAMILY}',
    params=loaded.params,
    problems=(),
    prompt=pad(prompts, shape[0]),
    gold=np.array([int(item.answer) for item in task.items]),
    item_ids=[item.id for item in task.items],
    setting_fn=setting_fn,
    flops_per_token=flops_per_token(loaded.config, loaded.params, *shape),
  )


def pad(prompts, length):
  """Token prompts as arrays."""
  tokens = np.zeros((len(prompts), length), np.int32)
  for row, prompt in zip(tokens, prompts, strict=True):
    row[: len(prompt)] = prompt
  return Prompt(jnp.asarray(tokens), jnp.array(list(map(len, prompts))))


def confidence(prompt, responses):
  """Geometric mean of the probabilities of a response's tokens."""
  del prompt
  total = jnp.sum(responses.log_probs, axis=-1)
  return jnp.exp(total / jnp.maximum(responses.lengths, 1))


def digit_table(tokenizer, vocab_size):
  """The digit that each token is, -1 for a blank, -2 for all others."""
  table = np.full(vocab_size, -2, np.int32)
  for digit in range(10):
    table[tokenizer.encode(str(digit))] = digit
  table[tokenizer.encode(' ')] = -1
  return jnp.asarray(table)


def read_number(digits, stop_ids, prompt, responses):
  """The number that stands before the stop token; -1 if there is none."""
  del prompt
  tokens = responses.tokens
  written = jnp.arange(tokens.shape[-1]) < responses.lengths[..., None]
  is_stop = jnp.isin(tokens, stop_ids) & written
  before = written & (jnp.cumsum(is_stop, axis=-1) == 0)
  value = jnp.where(before, digits[tokens], -1)
  number = jnp.zeros(responses.lengths.shape, jnp.int32)
  for t in range(tokens.shape[-1]):
    digit = value[..., t]
    number = jnp.where(digit >= 0, 10 * number + digit, number)
  valid = jnp.any(value >= 0, axis=-1) & jnp.all(value > -2, axis=-1)
  valid &= jnp.any(is_stop, axis=-1)
  return jnp.where(valid, number, -1)
