"""Eight methods on a real model at equal tokens: SmolLM2 on sums of two digits.

  python scripts/evaluate.py --config=configs/math_search.py \\
      --workdir=runs/math_search

A quarter of an hour of CPU time, most of it compilation. Expect 24% for one
sample and 34 to 41% for all methods at 16 responses, which 32 items do not tell
apart; MCTS spends half the tokens of the others. The verifier is the model's
own confidence. A few-shot text has no turns, so what asks for revisions or
verdicts is refused here; chats serve it.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Returns the configuration."""
  config = config_dict.ConfigDict()
  config.seed = 0
  config.model = 'smollm2-135m'  # or a GGUF file, or a Hugging Face directory
  config.dtype = 'float32'  # or bfloat16
  config.quantization = 'none'  # int8: weights; w8a8: their inputs too
  config.tasks = ('addition_2digit',)
  config.task_path = ''
  config.num_items = 32
  config.task_seed = 0
  config.num_samples = 16  # the pool of those that choose among samples
  config.temperature = 0.7
  config.top_k = 0
  config.top_p = 1.0
  config.min_p = 0.0
  config.preset = 'hf'
  config.max_new_tokens = 8

  # 'method' or 'method:verifier': log_prob (the model's own confidence), exact
  # (the grader, never asked about unfinished responses), or one of `verifiers`.
  config.methods = (
    'self_consistency',
    'best_of_n:log_prob',
    'weighted_best_of_n:log_prob',
    'beam_search:log_prob',
    'dvts:log_prob',
    'lookahead_search:log_prob',
    'mcts:log_prob',
    'qalign:log_prob',
  )
  config.verifiers = ()  # 'name=directory' of a reward model
  config.baseline = 'self_consistency'  # that others are compared with
  config.budgets = (1, 4, 16)  # in responses
  config.num_permutations = 200
  config.num_resamples = 2000

  config.system = ''  # message of chats; empty for the model's own
  config.prefill = ''  # how every reply of a chat begins, such as '<think>\n'
  config.tools = ''  # JSON file of functions that the model may call; for chats
  config.step_ends = ('\n\n', '\n')  # texts that end a step
  config.max_step_tokens = 1  # steps without such a text are cut here; 0: not
  config.max_steps = 8
  config.attention = 'dense'
  config.kv_budget = 256
  config.block_size = 16
  config.batch_size = 8  # items decoded together; changes no result
  config.num_rows = 4  # samples of each that are, 0 for all; neither does this
  config.model_parallel = 1
  return config
