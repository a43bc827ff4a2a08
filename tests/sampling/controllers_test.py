import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import models, sampling
from ttc.sampling import Controller, stack_templates
from ttc.types import Prompt

# A model that always says 1, which a controller may replace.
MODEL = models.table_model(10)
TABLE = jnp.full((10, 10), -30.0).at[:, 1].set(0.0)
PROMPT = Prompt(jnp.zeros((2, 1), jnp.int32), jnp.ones((2,), jnp.int32))


def run(controller, num_samples=2, table=TABLE, **options):
  @jax.jit
  def draw(table, key):
    return sampling.generate(
      table,
      jax.random.split(key, 2),
      PROMPT,
      num_samples,
      model=MODEL,
      capacity=12,
      stop=sampling.stop_rules(10, [9]),
      controller=controller,
      **options,
    )

  return draw(table, jax.random.key(0))


def every(period):
  """Forces template 0 at every `period`-th free position, then template 1."""

  def update(count, token, position):
    del token, position
    due = (count + 1) % period == 0
    return jnp.where(due, ((count + 1) // period - 1) % 2, -1), count + 1

  return Controller(
    lambda: jnp.int32(0), update, stack_templates([[2, 3], [4, 5, 9]])
  )


class ControllerTest(parameterized.TestCase):
  @parameterized.parameters(None, 1)
  def test_templates_are_written_whole_and_do_not_stop(self, num_rows):
    got = run(every(3), num_rows=num_rows)
    # two free tokens, template 0; two free tokens, template 1 (9 is forced,
    # so it does not stop); two free tokens, template 0 again, cut.
    want = [1, 1, 2, 3, 1, 1, 4, 5, 9, 1, 1, 2]
    for b, n in np.ndindex(2, 2):
      self.assertEqual(got.tokens[b, n].tolist(), want)
    forced = np.array([x != 1 for x in want])
    np.testing.assert_array_equal(got.sampling_log_probs[0, 0][forced], 0)
    self.assertTrue(np.all(np.asarray(got.log_probs[0, 0])[forced] < -20))

  def test_forced_tokens_enter_the_context(self):
    # After 3 the model says 9, which stops; only a forced 3 leads there.
    table = TABLE.at[3].set(-30.0).at[3, 9].set(0.0)
    got = run(every(3), 1, table)
    self.assertEqual(got.tokens[0, 0, :5].tolist(), [1, 1, 2, 3, 9])
    self.assertEqual(int(got.lengths[0, 0]), 5)

  def test_logits_are_seen_before_temperature(self):
    def logits(memory, row, position):
      del memory
      return jnp.where(position == 1, row.at[7].set(50.0), row)

    controller = every(100)._replace(logits=logits)
    got = run(controller, sampling=sampling.SamplingParams(0.0))
    self.assertEqual(got.tokens[0, 0, :3].tolist(), [1, 7, 1])

  def test_empty_templates_are_refused(self):
    with self.assertRaisesRegex(ValueError, 'at least one token'):
      stack_templates([[1], []])


if __name__ == '__main__':
  absltest.main()
