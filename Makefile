# make demo     a running service with fictional kits; prints its address and who can sign in
# make test     everything tested: unit, PostgreSQL, browser
# make bench    how fast it is, as ratios measured in one run; a few minutes on a quiet machine
# make simulation  sixty years with 20,000 kits, watched by an observer; an hour, and a drawn line of time
# make check    format, lint, types, import contracts, migrations, translations
# make lock     renew the hash-locked requirements and the front-end lock file
#
# Each makes what it needs first. On Debian and Ubuntu, as root, missing system packages are
# installed; as an ordinary user one sentence says which.

SHELL  := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.ONESHELL:
.SILENT:

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/custody-ready
ASSETS := $(VENV)/custody-assets
TRANSLATIONS := desk/translations
EXTRACT := $(BIN)/pybabel -q extract -F $(TRANSLATIONS)/babel.cfg --no-location --omit-header \
    --sort-output -k Refused -k NotPermitted -k _condition:4
TEXTS  := $(wildcard $(TRANSLATIONS)/*/LC_MESSAGES/*.po)

# need COMMAND-THAT-TESTS-FOR-IT, DEBIAN-PACKAGE, WHAT-IT-IS
define need
if ! $(1) >/dev/null 2>&1; then
    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing $(2): $(3)."
        apt-get update -qq </dev/null || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2) </dev/null >/dev/null
    else
        echo "$(3) is missing: install it (Debian, Ubuntu: apt-get install $(2)) and run make again." >&2
        exit 1
    fi
fi
endef

.PHONY: demo test bench simulation check lock browser others ready format messages
demo: $(ASSETS) $(TEXTS:.po=.mo)
	export CUSTODY_DEMO=fictional
	exec $(BIN)/custody demo

test: $(ASSETS) $(TEXTS:.po=.mo) browser others
	$(BIN)/python -m pytest $(TESTS)

bench: $(READY)
	for each in append latency proof verify invisible check; do
	    $(BIN)/python -m tests.bench.$$each
	done

simulation: $(READY)
	$(BIN)/python -m tests.simulation $(SIMULATION)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	data=$$(mktemp -d)
	trap 'rm -rf "$$data"' EXIT
	env -u CUSTODY_DATABASE_URL -u CUSTODY_CLERK_DATABASE_URL -u CUSTODY_MIGRATOR_DATABASE_URL \
	    CUSTODY_DATA="$$data/var" $(BIN)/custody database check
	$(EXTRACT) -o "$$data/messages.pot" .
	if ! cmp -s "$$data/messages.pot" $(TRANSLATIONS)/messages.pot; then
	    echo "The catalogue of messages is out of date: make messages." >&2
	    exit 1
	fi

# The catalogue of messages, made anew from the code.
messages: $(READY)
	$(EXTRACT) -o $(TRANSLATIONS)/messages.pot .

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

ready: $(READY)

browser:
	$(call need,test -x /usr/bin/chromium,chromium,The browser that the tests drive)
	$(call need,command -v zbarimg,zbar-tools,The second reader of codes (zbarimg))

others:
	$(call need,command -v openssl,openssl,The program that checks signatures beside our own code (openssl))

# The environment is made once and brought up to date when the locked requirements change.
$(READY): requirements-dev.txt pyproject.toml
	if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
	    echo "Custody needs Python 3.11 or newer as $(PYTHON): install it, or name another with PYTHON=… ." >&2
	    exit 1
	fi
	if [ ! -x $(BIN)/python ]; then
	    $(call need,$(PYTHON) -c 'import ensurepip$(comma) venv',python3-venv,Python's module for virtual environments)
	    $(PYTHON) -m venv $(VENV)
	fi
	echo "Installing the locked requirements into $(VENV)."
	$(BIN)/python -m pip install -q --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

$(ASSETS): $(READY) package-lock.json package.json desk/assets.py
	$(BIN)/python -m desk.assets
	touch $@

%.mo: %.po | $(READY)
	$(BIN)/pybabel -q compile -i $< -o $@

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
lock: $(READY)
	$(COMPILE) $(UPGRADE) pyproject.toml -o requirements.txt
	$(COMPILE) $(UPGRADE) --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt
	npm install --package-lock-only --ignore-scripts

comma := ,
