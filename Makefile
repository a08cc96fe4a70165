# Everything a newcomer does. HOST, PORT and the other variables of
# docs/running.md may follow: make run PORT=9000

PYTHON ?= python3
BIN := .venv/bin

.PHONY: help run demo test soak lint format lock venv venv-dev python

help:
	@echo "make run     start Tocsin (web, workers, clock); Ctrl-C ends it"
	@echo "make demo    an outage, from the first failure to the last mail"
	@echo "make test    run the tests"
	@echo "make lint    judge format, style, types, layers, templates, settings"
	@echo "make format  format code and templates"
	@echo "make soak    kill workers again and again"
	@echo "make lock    resolve the requirements anew"

run: venv
	@exec $(BIN)/python manage.py up

demo: venv
	@exec $(BIN)/python manage.py demo

test: venv-dev
	$(BIN)/pytest -n 3 --dist worksteal --quiet $(ARGS)

soak: venv-dev
	TOCSIN_KILLS=50 $(BIN)/pytest -m soak --quiet $(ARGS)

TEMPLATES = find templates -name '*.html'

lint: venv-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(TEMPLATES) | xargs $(BIN)/djade --check
	$(BIN)/python manage.py makemigrations --check --dry-run
	TOCSIN_URL=https://status.example.com \
		$(BIN)/python manage.py check --deploy --fail-level WARNING
	@! grep -nE '[a-z]+://|^-' requirements*.lock

format: venv-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(TEMPLATES) | xargs $(BIN)/djade

# The lock files are for Python 3.11 and newer, and name no registry.
COMPILE = uv pip compile pyproject.toml --quiet --upgrade --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header

lock:
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --group dev --constraints requirements.lock \
		--output-file requirements-dev.lock

venv: python
	@$(PYTHON) -I config/install.py requirements.lock

venv-dev: python
	@$(PYTHON) -I config/install.py requirements-dev.lock

python:
	@command -v $(PYTHON) >/dev/null || { \
		echo "Tocsin needs Python 3.11 or newer, and $(PYTHON) is not there." >&2; \
		exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"Tocsin needs Python 3.11 or newer; $(PYTHON) is %d.%d. Name another one: \
	make PYTHON=python3.12 …" % sys.version_info[:2] or 0)'
