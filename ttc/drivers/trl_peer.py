"""The same GRPO step in TRL, on torch's CPU."""

import itertools
import os
import pathlib
import time

from ttc import models
from ttc.types import Params


def seconds_of_trl(
  directory: pathlib.Path,
  config: models.TransformerConfig,
  params: Params,
  words: tuple[str, ...],
  prompts: list[str],
  *,
  group_size: int,
  new_tokens: int,
  num_steps: int,
  threads: int = 0,
) -> list[float]:
  """Times steps of `GRPOTrainer`, one update on fresh responses each.

  Args:
    directory: for its files.
    config: of the model.
    params: its parameters.
    words: of the vocabulary; the second ends a text.
    prompts: of a step, words with blanks between them.
    group_size: responses to each.
    new_tokens: of each response, no more and no less.
    num_steps: timed, behind one that is not.
    threads: of torch; 0 for its own choice.

  Returns:
    The seconds of each step.

  Raises:
    ImportError: naming what to install.
  """
  # Threads that spin while they wait starve others of the cores.
  os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
  try:
    import datasets
    import torch
    import transformers
    import trl
  except ImportError as error:
    raise ImportError(
      f'the peer needs trl and torch ({error}): pip install trl torch'
    ) from None
  if threads:
    torch.set_num_threads(threads)
  models.save_safetensors(directory / 'model', config, params)
  tokenizer = _tokenizer(words)
  ends = [time.perf_counter()]

  class Watch(transformers.TrainerCallback):
    """Notes when each step ends."""

    def on_step_end(self, args, state, control, **kwargs):
      """Of the trainer's calls the only one that matters."""
      ends.append(time.perf_counter())

  trainer = trl.GRPOTrainer(
    model=str(directory / 'model'),
    processing_class=tokenizer,
    reward_funcs=lambda completions, **_: [
      float(text.count(words[-1])) for text in completions
    ],
    train_dataset=datasets.Dataset.from_dict({'prompt': prompts}),
    callbacks=[Watch()],
    args=_settings(
      directory, len(prompts), group_size, new_tokens, num_steps + 1
    ),
  )
  trainer.train()
  return [b - a for a, b in itertools.pairwise(ends[1:])]


def _settings(directory, num_prompts, group_size, new_tokens, num_steps):
  """Of the trainer: as little as it can do, in float32."""
  import trl

  return trl.GRPOConfig(
    output_dir=str(directory / 'run'),
    use_cpu=True,
    bf16=False,
    use_vllm=False,
    beta=0.0,
    loss_type='grpo',
    per_device_train_batch_size=num_prompts * group_size,
    num_generations=group_size,
    max_completion_length=new_tokens,
    generation_kwargs={'min_new_tokens': new_tokens},
    max_steps=num_steps,
    gradient_checkpointing=False,
    save_strategy='no',
    logging_strategy='no',
    report_to=[],
    disable_tqdm=True,
  )


def _tokenizer(words: tuple[str, ...]):
  """A token for each word."""
  import tokenizers
  import transformers

  backend = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(
      {word: i for i, word in enumerate(words)}, words[0]
    )
  )
  backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=backend,
    pad_token=words[0],
    eos_token=words[1],
    padding_side='left',
  )
