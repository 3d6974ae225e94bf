"""`python -m services.metaso`."""

from services.metaso.provider import Metaso
from shared.app import run

if __name__ == "__main__":
    run(Metaso)
