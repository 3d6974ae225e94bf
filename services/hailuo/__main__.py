"""`python -m services.hailuo`."""

from services.hailuo.provider import Hailuo
from shared.app import run

if __name__ == "__main__":
    run(Hailuo)
