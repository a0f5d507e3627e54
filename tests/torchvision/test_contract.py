"""The contract of the stages whose tiny checkpoints need torchvision; the others keep it without.

The tests are those of tests/contract; `conftest.py` leaves out the stages that are asked there.
"""

from tests.contract.test_stages import *  # noqa: F403
