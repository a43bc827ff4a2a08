"""A published benchmark with SmolLM2-135M-Instruct, as it comes.

  python scripts/benchmark.py --benchmark=timeqa --data=dev.jsonl \\
      --workdir=runs/timeqa

About a second for a short answer on two CPU cores. What another engine wrote is
scored without a model, with --predictions.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Returns the configuration."""
  config = config_dict.ConfigDict()
  config.seed = 0
  config.model = 'smollm2-135m'  # or a GGUF file, or a Hugging Face directory
  config.dtype = 'float32'  # or bfloat16
  config.quantization = 'none'  # int8: weights; w8a8: their inputs too
  config.num_items = 0  # 0: all; otherwise so many, chosen by task_seed
  config.task_seed = 0

  config.num_samples = 1  # of each item
  config.temperature = 0.0
  config.top_k = 0
  config.top_p = 1.0
  config.min_p = 0.0
  config.preset = 'hf'
  config.max_new_tokens = 0  # 0: what the benchmark asks for

  # Of several samples: as in configs/smollm2_arithmetic.py.
  config.methods = ('self_consistency', 'best_of_n:log_prob')
  config.budgets = (1,)  # numbers of samples
  config.num_permutations = 200
  config.num_resamples = 1000  # of intervals without a formula, and of tests

  config.attention = 'dense'
  config.kv_budget = 256
  config.block_size = 16

  # A model like the above, or a JSONL file {prompt, reply, vote}; '' for none.
  config.judge = ''
  config.judge_seed = 0
  config.judge_temperature = 0.0
  config.judge_max_new_tokens = 16

  config.grade_seconds = 30.0  # for one completion
  config.num_workers = 0  # processes that grade; 0: one for each processor
  config.batch_size = 16  # items decoded together; changes no result
  config.num_rows = 4  # samples of each that are, 0 for all; neither does this
  config.model_parallel = 1  # devices that share one copy of the model
  return config
