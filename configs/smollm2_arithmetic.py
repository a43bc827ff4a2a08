"""SmolLM2-135M-Instruct on few-shot arithmetic: accuracy against compute.

  python scripts/evaluate.py --config=configs/smollm2_arithmetic.py \\
      --workdir=runs/smollm2

About three minutes on two CPU cores. Expect coverage to rise from about 0.35
to 0.85 and a vote to gain 10 to 20 points over one sample, but none on
largest_of_five.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Returns the configuration."""
  config = config_dict.ConfigDict()
  config.seed = 0
  config.model = 'smollm2-135m'  # or a GGUF file, or a Hugging Face directory
  config.dtype = 'float32'  # or bfloat16
  config.quantization = 'none'  # int8: weights; w8a8: their inputs too

  config.tasks = ('addition_2digit', 'times_table', 'largest_of_five')
  config.task_path = ''  # a local JSONL file, for data sets that take one
  config.num_items = 100  # of each task
  config.task_seed = 0

  config.num_samples = 32  # of each item
  config.temperature = 0.7
  config.top_k = 0
  config.top_p = 1.0
  config.min_p = 0.0
  config.preset = 'hf'
  config.max_new_tokens = 0  # 0: what the task asks for

  # 'method' or 'method:verifier'; verifiers are log_prob (mean per token) and
  # exact (the task's own grader, an upper bound).
  config.methods = (
    'best_of_n:exact',
    'self_consistency',
    'weighted_self_consistency:log_prob',
    'best_of_n:log_prob',
    'first_finish_search',
  )
  config.budgets = (1, 2, 4, 8, 16, 32)  # numbers of samples
  config.num_permutations = 200
  config.num_resamples = 2000

  # 'dense', or a rule of ttc.kernels.block_topk (mean_pool, quest, ...), by
  # which a decoding step chooses the kv_budget tokens that it reads.
  config.attention = 'dense'
  config.kv_budget = 256
  config.block_size = 16

  config.batch_size = 16  # items decoded together; changes no result
  config.num_rows = 4  # samples of each that are, 0 for all; neither does this
  config.model_parallel = 1  # devices that share one copy of the model
  return config
