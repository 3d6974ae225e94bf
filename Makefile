# The environment is .venv, made from the locks; nothing outside this folder is changed.
PYTHON ?= python3
PROVIDER ?= glm
BIN := .venv/bin

.PHONY: demo run test check bench lock clean

demo: .venv/ready
	$(BIN)/python -m tests.demo $(if $(ONCE),--once)

run: .venv/ready
	$(BIN)/python -m services.$(PROVIDER)

test: .venv/ready .venv-openai1/ready
	$(BIN)/python -m pytest $(ARGS)

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

bench: .venv/ready
	$(BIN)/python -m tests.bench $(ARGS)

lock: .venv/ready
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev pyproject.toml -c requirements.lock -o requirements-dev.lock
	echo 'openai>=1,<2' | $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 - -o requirements-openai1.lock

clean:
	rm -rf .venv .venv-openai1 .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/ready: requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# An older release of the client that most users have, which cannot be installed beside the newest.
.venv-openai1/ready: requirements-openai1.lock
	$(PYTHON) -m venv .venv-openai1
	.venv-openai1/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@
