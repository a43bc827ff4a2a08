"""A calibrated S3 base by policy gradients: from 0.47 to 0.97.

  python scripts/finetune.py --config=configs/finetune_s3.py --workdir=runs/ft

A minute on one CPU core, the training of the base included; a vote of 8 goes
from 0.82 to 1.00. With `:grpo`, `:rloo`, `:dapo`, `:gspo`, `:gdpo` or `:dpo`
behind the name of this file, by that objective.
"""

from ml_collections import config_dict


def get_config(objective: str = 'dr_grpo') -> config_dict.ConfigDict:
  """Returns the configuration of an objective."""
  config = config_dict.ConfigDict()
  config.seed = 0

  # 'pretrained': two layers of 64, trained on traces of the task first; or a
  # directory, a GGUF file, smollm2-135m.
  config.model = 'pretrained'
  config.pretrain_steps = 900
  config.noise = 0.1  # chance that a written value of those traces is replaced

  # s3, s4, modular_chain or countdown; or a text task of ttc.tasks.load.
  config.task = 's3'
  config.task_length = 8  # steps of a chain, or numbers of countdown
  config.num_items = 1000  # of a text task, to train on; not the held-out ones

  # grpo, dr_grpo, rloo, dapo, gspo; gdpo, which takes several kinds of reward;
  # dpo, which learns from the best and the worst response of each group.
  config.objective = objective
  config.dpo_beta = 0.1  # of dpo: how strongly it is held to the start
  # Of dpo and a text task: judgements of each response by the model itself, of
  # which the best right and the most convincing wrong answer are a pair (Timo,
  # 2406.14192: 3). 0: the first right and the first wrong one are.
  config.num_judgements = 0
  config.judgement_tokens = 64  # of each
  config.kl_weight = 0.0  # of the KL to the model at the start
  config.num_updates = 150
  config.num_prompts = 16  # of an update
  config.group_size = 8  # responses to each prompt
  config.temperature = 1.0
  config.max_new_tokens = 0  # 0: what the task asks for
  # Rounds of sampling until every group has different rewards; 1: as they come.
  config.max_rounds = 1
  config.overlong_cache = 0  # tokens before the limit that cost; 0: none
  # Whether to give any answer earns 1 as well, beside a right one.
  config.answer_reward = objective == 'gdpo'

  config.learning_rate = 3e-4
  config.warmup_updates = 0
  config.max_grad_norm = 1.0
  config.num_epochs = 1  # steps on the same responses
  config.num_micro_batches = 1  # whose gradients are added; changes no result
  config.group_parts = 1  # pieces of each group; changes no result
  config.lora_rank = 0  # 0: all parameters are trained
  config.lora_alpha = 32.0
  config.dtype = 'float32'  # or bfloat16, to compute in
  config.remat = False  # compute layers again (see BUILD.md, Memory)

  # Of several devices (see BUILD.md, section 5): how many share a copy of the
  # model, and whether what is trained, gradients and moments are on no two,
  # which takes remat. A run may go on in another layout.
  config.model_parallel = 1
  config.zero = False

  config.checkpoint_every = 25
  config.num_eval_items = 512
  config.num_eval_samples = 8
  return config
