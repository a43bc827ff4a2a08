"""Asks a model a question many times; shows samples, choice and cost."""

import functools
import re
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, sampling, search
from ttc.scaling import costs
from ttc.types import FinishReason, Generation, Prompt, Selection


class Question(NamedTuple):
  """What to ask, and how."""

  prompt: str
  raw: bool = False  # continue the prompt; no chat layout
  model: str = 'smollm2-135m'  # see `models.load`
  method: str = 'self_consistency'
  num_samples: int = 8
  max_new_tokens: int = 64
  law: sampling.SamplingParams = sampling.SamplingParams(0.7)
  stop: tuple[str, ...] = ()  # texts that end a sample
  answer_pattern: str | None = None  # its last match is the answer
  seed: int = 0


def ask(question: Question) -> None:
  """Draws the samples, applies the method and prints both.

  Raises:
    ValueError: for a value that means nothing, before the model is loaded.
    OSError: if the model is not there.
  """
  select, pattern = check(question)
  loaded = models.load(question.model)
  tokenizer = loaded.tokenizer
  if tokenizer is None:
    raise ValueError(f'{question.model} has no tokenizer')
  prompt = encode(question, loaded.model, tokenizer)
  generate = jax.jit(
    functools.partial(
      sampling.generate,
      num_samples=question.num_samples,
      model=loaded.model,
      capacity=question.max_new_tokens,
      stop=sampling.stop_at_texts(
        tokenizer, loaded.model.vocab_size, question.stop
      ),
    )
  )
  keys = jax.random.key(question.seed)[None]
  began = time.perf_counter()
  generation = jax.device_get(
    generate(loaded.params, keys, prompt, sampling=question.law)
  )
  seconds = time.perf_counter() - began

  texts = decode(question, tokenizer, generation)
  answers = [find_answer(pattern, text) for text in texts]
  ids = {a: i for i, a in enumerate(dict.fromkeys(a for a in answers if a))}
  answer_fn = lambda *_: jnp.array([[ids.get(a, -1) for a in answers]])
  samples = search.observe(prompt, generation, answer_fn)
  choice = jax.tree.map(
    lambda x: int(x[0]), search.select_each(select, samples)
  )
  show(texts, generation)
  chosen = list(ids)[choice.answer] if choice.answer >= 0 else None
  votes = answers.count(chosen)
  print(f'\n{question.method}: {chosen!r} ({votes} of {len(texts)} samples)')
  show_cost(loaded, prompt, generation, choice, seconds)


def check(question: Question):
  """The method and the compiled pattern; ValueError for what means nothing."""
  known = {m.name: m.select for m in search.METHODS if m.select is not None}
  pattern = question.answer_pattern
  if question.method not in known:
    raise ValueError(
      f'--method={question.method} is not one of {sorted(known)}'
    )
  if not question.prompt.strip():
    raise ValueError('--prompt must not be empty')
  if not all(question.stop):
    raise ValueError('--stop holds an empty text, at which every sample ends')
  sampling.check_sampling_params(question.law)
  try:
    return known[question.method], re.compile(pattern) if pattern else None
  except re.error as error:
    raise ValueError(f'--answer_pattern={pattern}: {error}') from None


def encode(
  question: Question, model: models.LanguageModel, tokenizer: models.Tokenizer
) -> Prompt:
  """The prompt as tokens, padded to a power of two."""
  tokens = (
    tokenizer.prompt(question.prompt)
    if question.raw
    else tokenizer.chat([{'role': 'user', 'content': question.prompt}])
  )
  room = model.max_length - question.max_new_tokens
  if not 0 < len(tokens) <= room:
    raise ValueError(
      f'the prompt has {len(tokens)} tokens; 1 to {max(room, 0)} fit beside '
      f'--max_new_tokens={question.max_new_tokens}'
    )
  width = max(32, 1 << (len(tokens) - 1).bit_length())
  padded = np.zeros((1, width), np.int32)
  padded[0, : len(tokens)] = tokens
  return Prompt(jnp.asarray(padded), jnp.array([len(tokens)]))


def decode(
  question: Question, tokenizer: models.Tokenizer, generation: Generation
) -> list[str]:
  """The samples as texts, without the stop texts that ended them."""
  rows = zip(
    generation.tokens[0],
    generation.lengths[0],
    generation.finish_reasons[0],
    strict=True,
  )
  return [
    sampling.response_text(tokenizer, tokens[:length], reason, question.stop)
    for tokens, length, reason in rows
  ]


def find_answer(pattern: re.Pattern[str] | None, text: str) -> str | None:
  """What the pattern captures last; without one the whole text."""
  if pattern is None:
    return text.strip() or None
  matches = list(pattern.finditer(text))
  if not matches:
    return None
  found = matches[-1].group(1 if pattern.groups else 0)
  return (found or '').strip() or None


def show(texts: list[str], generation: Generation) -> None:
  """Prints every sample with its length, its end and its log-probability."""
  for i, text in enumerate(texts):
    length = max(int(generation.lengths[0, i]), 1)
    mean = generation.log_probs[0, i].sum() / length
    reason = FinishReason.NAMES[generation.finish_reasons[0, i]]
    print(f'[{i}] {length} tokens, {reason}, {mean:.2f} nats/token')
    print('    ' + text.strip().replace('\n', '\n    '))


def show_cost(
  loaded: models.Loaded,
  prompt: Prompt,
  generation: Generation,
  choice: Selection,
  seconds: float,
) -> None:
  """Prints what the samples and the method cost."""
  shape = costs.model_shape(loaded.config, models.num_params(loaded.params))
  flops = costs.decode_flops(shape, prompt.lengths, generation.lengths).sum()
  flops += costs.prefill_flops(shape, prompt.lengths).sum()
  kv_bytes = costs.kv_bytes_read(shape, prompt.lengths, generation.lengths)
  print(
    f'cost: {int(prompt.lengths[0])} prompt tokens read once, '
    f'{choice.tokens} tokens generated ({choice.depth} in sequence), '
    f'{flops / 1e9:.1f} GFLOPs, {kv_bytes.sum() / 1e6:.1f} MB of keys and '
    f'values read, {seconds:.1f} s with compilation'
  )
