"""Answers a question by any method, and prints the search and the answer.

  python scripts/sample.py --prompt='What is the capital of France?' \\
      --num_samples=16 --method=self_consistency

The prompt is a user's turn of a chat, behind --system, and replies begin with
--prefill ('<think>\\n'); with --raw it is a text to go on with.
Methods are those of README's table, with --num_samples for a budget: of those
that choose among samples, such as self_consistency (a vote over the whole
texts, or over what --answer_pattern captures), the samples are printed; of
those that steer decoding, such as beam_search or mcts, the tree of steps.
"""

from absl import flags

from ttc.drivers import command
from ttc.drivers.sample import Question, ask
from ttc.sampling import SamplingParams

_PROMPT = flags.DEFINE_string('prompt', None, 'What to ask.', required=True)
_RAW = flags.DEFINE_bool('raw', False, 'Continue the prompt; no chat layout.')
_SYSTEM = flags.DEFINE_string(
  'system', '', "System message of the chat; empty for the model's own."
)
_PREFILL = flags.DEFINE_string('prefill', '', 'How every reply begins.')
_TOOLS = flags.DEFINE_string(
  'tools', '', 'JSON file of functions that the model may call in a chat.'
)
_MODEL = flags.DEFINE_string(
  'model', 'smollm2-135m', 'A name, a GGUF file, or a Hugging Face directory.'
)
_QUANTIZATION = flags.DEFINE_enum(
  'quantization', None, ['int8', 'w8a8'], 'Weights in int8; inputs too.'
)
_METHOD = flags.DEFINE_string(
  'method', 'self_consistency', 'How to spend the samples.'
)
_NUM_SAMPLES = flags.DEFINE_integer(
  'num_samples', 8, 'Samples to draw.', 1, 100_000
)
_MAX_NEW_TOKENS = flags.DEFINE_integer(
  'max_new_tokens', 64, 'Limit of each.', 1, 10**6
)
_TEMPERATURE = flags.DEFINE_float('temperature', 0.7, '0 is greedy.', 0.0)
_TOP_K = flags.DEFINE_integer('top_k', 0, '0 is off.', 0, 10**7)
_TOP_P = flags.DEFINE_float('top_p', 1.0, '1 is off.', 0.0, 1.0)
_MIN_P = flags.DEFINE_float('min_p', 0.0, '0 is off.', 0.0, 1.0)
_PRESET = flags.DEFINE_enum(
  'preset', 'hf', ['hf', 'vllm', 'sglang', 'tunix'], 'Order of the filters.'
)
_STOP = flags.DEFINE_list(
  'stop', [], 'Texts that end a sample; \\n is newline.'
)
_ANSWER_PATTERN = flags.DEFINE_string(
  'answer_pattern', None, 'Regular expression; its last match is the answer.'
)
_VERIFIER = flags.DEFINE_string(
  'verifier', 'log_prob', 'The own confidence, or a directory of a verifier.'
)
_STEP_ENDS = flags.DEFINE_list(
  'step_ends', ['\\n\\n'], 'Texts that end a step; \\n is newline.'
)
_MAX_STEPS = flags.DEFINE_integer('max_steps', 16, 'Of a sample.', 1, 10_000)
_MAX_STEP_TOKENS = flags.DEFINE_integer(
  'max_step_tokens', None, 'Steps without such a text are cut.', 1, 10**6
)
_SEED = flags.DEFINE_integer('seed', 0, 'Of the samples.', 0, 2**32 - 1)


def main():
  """Searches and prints."""
  as_texts = lambda given: tuple(x.replace('\\n', '\n') for x in given)
  ask(
    Question(
      prompt=_PROMPT.value,
      raw=_RAW.value,
      system=_SYSTEM.value,
      prefill=_PREFILL.value.replace('\\n', '\n'),
      tools=_TOOLS.value,
      model=_MODEL.value,
      quantization=_QUANTIZATION.value,
      method=_METHOD.value,
      num_samples=_NUM_SAMPLES.value,
      max_new_tokens=_MAX_NEW_TOKENS.value,
      law=SamplingParams(
        _TEMPERATURE.value,
        _TOP_K.value,
        _TOP_P.value,
        _MIN_P.value,
        _PRESET.value,  # pyright: ignore[reportArgumentType]  # stub says str
      ),
      stop=as_texts(_STOP.value),
      answer_pattern=_ANSWER_PATTERN.value,
      seed=_SEED.value,
      verifier=_VERIFIER.value,
      step_ends=as_texts(_STEP_ENDS.value),
      max_steps=_MAX_STEPS.value,
      max_step_tokens=_MAX_STEP_TOKENS.value,
    )
  )


if __name__ == '__main__':
  command.run('sample', main)
