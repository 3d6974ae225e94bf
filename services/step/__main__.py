"""`python -m services.step`."""

from services.step.provider import Step
from shared.app import run

if __name__ == "__main__":
    run(Step)
