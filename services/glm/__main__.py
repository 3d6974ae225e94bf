"""`python -m services.glm`."""

from services.glm.provider import Glm
from shared.app import run

if __name__ == "__main__":
    run(Glm)
