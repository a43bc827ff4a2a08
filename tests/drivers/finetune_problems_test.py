"""Text tasks of a training: asked and graded as an evaluation does."""

import jax
import numpy as np

from configs import finetune_s3
from tests.verifiers import byte_writers
from ttc import models, search, tasks
from ttc.drivers import options
from ttc.drivers.finetune_options import FinetuneOptions
from ttc.drivers.finetune_problems import of_text_task
from ttc.types import FinishReason, Generation

CODEC = byte_writers.tokenizer()
MODEL = models.table_model(CODEC.vocab_size)
LOADED = models.Loaded(MODEL, None, None, CODEC, 'table', '')


def problems_of(task, **changes):
  config = finetune_s3.get_config('dr_grpo').to_dict()
  config |= {'num_prompts': 4, 'group_size': 2, **changes}
  chosen = options.parse(FinetuneOptions, config)
  return of_text_task(task, task.items, LOADED, chosen)


def test_a_chat_is_asked_as_a_chat():
  task = tasks.load('temporal', num_items=4)
  drawn = problems_of(task).draw(jax.random.key(0))
  for row, length, item in zip(
    *map(np.asarray, drawn.prompt), drawn.problems, strict=True
  ):
    asked = search.prompt_tokens(CODEC, task, item)
    np.testing.assert_array_equal(row[:length], asked)
    assert '<|im_start|>user' in CODEC.decode(asked, skip_special=False)


def test_what_was_cut_earns_nothing():
  task = tasks.load('addition_1digit', num_items=4)
  problems = problems_of(task, answer_reward=True)
  drawn = problems.draw(jax.random.key(0))
  tokens = np.zeros((4, 2, 6), np.int32)
  lengths = np.zeros((4, 2), np.int32)
  for p, item in enumerate(drawn.problems):
    said = CODEC.encode(f' {item.answer}')
    tokens[p, :, : len(said)], lengths[p] = said, len(said)
  reasons = np.array([[FinishReason.STOP, FinishReason.LENGTH]] * 4)
  zeros = np.zeros(tokens.shape, np.float32)
  said = Generation(tokens, lengths, zeros, zeros, reasons)
  np.testing.assert_array_equal(
    problems.score(drawn, said), [[[1, 1], [0, 0]]] * 4
  )
