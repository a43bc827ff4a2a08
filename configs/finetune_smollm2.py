"""SmolLM2-135M-Instruct by GRPO on sums of two digits, an adapter of rank 16.

  python scripts/finetune.py --config=configs/finetune_smollm2.py \\
      --workdir=runs/smollm2_rl

Nine minutes on two busy cores, evaluations included: 17 to 66% of the samples
on its 32 held-out items. On 100 other items, with other examples in the prompt
(scripts/evaluate.py, task_seed 7, of the base and of the directory `model`),
at temperature 1, accuracy went from 17.5 [13.2, 22.4] to 58.5 [49.5, 67.1]
percent, a vote of 4 from 24.7 [17.5, 32.7] to 61.7 [52.2, 71.1], coverage of 4
from 43 to 71; one seed.
"""

from ml_collections import config_dict

from configs import finetune_s3


def get_config() -> config_dict.ConfigDict:
  """Returns the configuration; configs/finetune_s3.py explains each value."""
  config = finetune_s3.get_config('grpo')
  config.model = 'smollm2-135m'  # or a GGUF file, or a Hugging Face directory
  config.task = 'addition_2digit'
  config.num_items = 400
  config.num_updates = 24
  config.num_prompts = 8
  config.max_new_tokens = 6
  config.learning_rate = 5e-4
  config.warmup_updates = 1
  config.lora_rank = 16
  config.checkpoint_every = 8
  config.num_eval_items = 32
  config.num_eval_samples = 4
  return config
