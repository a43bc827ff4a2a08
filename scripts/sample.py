"""Asks a model a question many times, and prints the samples and the choice.

  python scripts/sample.py --prompt='What is the capital of France?' \\
      --num_samples=16 --method=self_consistency

The prompt is a user's turn of a chat; with --raw it is a text to go on with.
Methods: best_of_n (by mean log-probability), self_consistency (a vote over the
whole texts, or over what --answer_pattern captures), first_finish_search.
"""

import functools
import re
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

from ttc import io, models, sampling, search
from ttc.scaling import costs
from ttc.types import FinishReason, Prompt

_PROMPT = flags.DEFINE_string('prompt', None, 'What to ask.', required=True)
_RAW = flags.DEFINE_bool('raw', False, 'Continue the prompt; no chat layout.')
_MODEL = flags.DEFINE_string(
  'model', 'smollm2-135m', 'A name, a GGUF file, or a Hugging Face directory.'
)
_METHOD = flags.DEFINE_string(
  'method', 'self_consistency', 'How to choose among the samples.'
)
_NUM_SAMPLES = flags.DEFINE_integer('num_samples', 8, 'Samples to draw.')
_MAX_NEW_TOKENS = flags.DEFINE_integer('max_new_tokens', 64, 'Limit of each.')
_TEMPERATURE = flags.DEFINE_float('temperature', 0.7, '0 is greedy.')
_TOP_K = flags.DEFINE_integer('top_k', 0, '0 is off.')
_TOP_P = flags.DEFINE_float('top_p', 1.0, '1 is off.')
_MIN_P = flags.DEFINE_float('min_p', 0.0, '0 is off.')
_PRESET = flags.DEFINE_enum(
  'preset', 'hf', ['hf', 'vllm', 'sglang', 'tunix'], 'Order of the filters.'
)
_STOP = flags.DEFINE_list(
  'stop', [], 'Texts that end a sample; \\n is newline.'
)
_ANSWER_PATTERN = flags.DEFINE_string(
  'answer_pattern', None, 'Regular expression; its last match is the answer.'
)
_SEED = flags.DEFINE_integer('seed', 0, 'Seed of the samples.')


def main(argv):
  """Samples, chooses and prints; bad input is one line and exit status 1."""
  logging.set_verbosity(logging.WARNING)
  if len(argv) > 1:
    sys.exit(f'sample: unexpected argument {argv[1]!r}')
  io.enable_compilation_cache()
  try:
    run()
  except (ValueError, OSError, ImportError, re.error) as error:
    sys.exit(f'sample: {" ".join(str(error).split())}')


def run():
  """Draws the samples and applies the method."""
  for flag in (_NUM_SAMPLES, _MAX_NEW_TOKENS):
    if flag.value < 1:
      raise ValueError(f'--{flag.name}={flag.value} must be at least 1')
  known = {m.name: m for m in search.METHODS if m.select is not None}
  if _METHOD.value not in known:
    raise ValueError(f'--method={_METHOD.value} is not one of {sorted(known)}')
  params = sampling.SamplingParams(
    _TEMPERATURE.value, _TOP_K.value, _TOP_P.value, _MIN_P.value
  )
  sampling.check_sampling_params(params)
  pattern = re.compile(_ANSWER_PATTERN.value) if _ANSWER_PATTERN.value else None

  loaded = models.load(_MODEL.value)
  prompt = encode(loaded)
  sample = jax.jit(
    functools.partial(
      sampling.generate,
      num_samples=_NUM_SAMPLES.value,
      model=loaded.model,
      capacity=_MAX_NEW_TOKENS.value,
      stop=sampling.stop_at_texts(
        loaded.tokenizer,
        loaded.model.vocab_size,
        [text.replace('\\n', '\n') for text in _STOP.value],
      ),
      preset=_PRESET.value,
    )
  )
  keys = jax.random.key(_SEED.value)[None]
  began = time.perf_counter()
  generation = jax.device_get(
    sample(loaded.params, keys, prompt, sampling=params)
  )
  seconds = time.perf_counter() - began

  texts = decode(loaded.tokenizer, generation)
  answers = [find_answer(pattern, text) for text in texts]
  ids = {a: i for i, a in enumerate(dict.fromkeys(a for a in answers if a))}
  answer_fn = lambda *_: jnp.array([[ids.get(a, -1) for a in answers]])
  samples = search.observe(prompt, generation, answer_fn)
  select = known[_METHOD.value].select
  choice = jax.tree.map(
    lambda x: int(x[0]), search.select_each(select, samples)
  )
  show(texts, answers, generation, list(ids), choice)
  show_cost(loaded, prompt, generation, choice, seconds)


def encode(loaded):
  """The prompt as tokens, padded to a power of two."""
  if loaded.tokenizer is None:
    raise ValueError(f'{_MODEL.value} has no tokenizer')
  tokens = (
    loaded.tokenizer.encode(_PROMPT.value)
    if _RAW.value
    else loaded.tokenizer.chat([{'role': 'user', 'content': _PROMPT.value}])
  )
  room = loaded.model.max_length - _MAX_NEW_TOKENS.value
  if not 0 < len(tokens) <= room:
    raise ValueError(f'the prompt has {len(tokens)} tokens; 1 to {room} fit')
  width = max(32, 1 << (len(tokens) - 1).bit_length())
  padded = np.zeros((1, width), np.int32)
  padded[0, : len(tokens)] = tokens
  return Prompt(jnp.asarray(padded), jnp.array([len(tokens)]))


def decode(tokenizer, generation):
  """The samples as texts."""
  rows = zip(generation.tokens[0], generation.lengths[0], strict=True)
  return [tokenizer.decode(tokens[:length].tolist()) for tokens, length in rows]


def find_answer(pattern, text):
  """What the pattern captures last; without one the whole text."""
  if pattern is None:
    return text.strip() or None
  matches = list(pattern.finditer(text))
  if not matches:
    return None
  return matches[-1].group(1 if pattern.groups else 0).strip() or None


def show(texts, answers, generation, known_answers, choice):
  """Prints every sample with its log-probability, and the chosen answer."""
  for i, text in enumerate(texts):
    length = max(int(generation.lengths[0, i]), 1)
    mean = generation.log_probs[0, i].sum() / length
    reason = FinishReason.NAMES[generation.finish_reasons[0, i]]
    print(f'[{i}] {length} tokens, {reason}, {mean:.2f} nats/token')
    print('    ' + text.strip().replace('\n', '\n    '))
  chosen = known_answers[choice.answer] if choice.answer >= 0 else None
  votes = answers.count(chosen)
  print(f'\n{_METHOD.value}: {chosen!r} ({votes} of {len(texts)} samples)')


def show_cost(loaded, prompt, generation, choice, seconds):
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


if __name__ == '__main__':
  app.run(main)
