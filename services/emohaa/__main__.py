"""`python -m services.emohaa`."""

from services.emohaa.provider import Emohaa
from shared.app import run

if __name__ == "__main__":
    run(Emohaa)
