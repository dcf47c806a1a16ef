# Needs make and Python 3.11, 3.12 or 3.13, nothing else. `make` alone lists the targets.
#
# PYTHON=/path/to/python   the interpreter to make .venv with (else python3.13, 3.12, 3.11 or python3, the first that fits)
# ARGS="..."               handed to the command behind run, status, plan, ui, bench and the tests

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV := .venv
SPARK_VENV := .venv-databricks
DBT_VENV := .venv-dbt
UV_VENV := .venv-uv
UV_VERSION := 0.13.9

PY := $(VENV)/bin/python
ARGS ?=
PYTEST_WORKERS ?= 3
SPARK_WORKERS ?= 3
PROPERTY_WORKERS ?= 5
PROPERTY_EXAMPLES_LONG := 300
UI_PORT ?= 8000

# make bench
SIZES ?= 100000 1000000
ROUNDS ?= 3
OUT ?= data/bench

# make growth
DAYS ?= 60
CHANGE ?= 0.02
growth: ACCOUNTS ?= 1000000
test-scale: ACCOUNTS ?= 5000000

# An interpreter fits when it runs (a pyenv shim may exist and not run), is new enough and can make a virtual environment.
define FIND_PYTHON
find_python() { \
	seen=''; without_venv=''; \
	for candidate in "$$PYTHON" python3.13 python3.12 python3.11 python3; do \
		[ -n "$$candidate" ] || continue; \
		version=$$("$$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
		case "$$version" in 3.11|3.12|3.13) ;; *) seen="$$seen $$candidate is $$version;"; continue ;; esac; \
		if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then echo "$$candidate"; return 0; fi; \
		without_venv=$${without_venv:-$$version}; \
	done; \
	if [ -n "$$without_venv" ]; then \
		echo "Python $$without_venv is here but its venv module is not: install it (Debian, Ubuntu: apt-get install python$$without_venv-venv), or name another Python: make PYTHON=/path/to/python3" >&2; \
	else \
		echo "Python 3.11, 3.12 or 3.13 is needed and none was found ($${seen:-no python3 on the PATH;} 3.14 is too new, 3.10 too old): install one, or name it: make PYTHON=/path/to/python3.12" >&2; \
	fi; \
	return 1; \
}
endef

# pip's output is kept for the case that it fails; what a person sees is a count of packages.
define INSTALL_PY
import re, subprocess, sys
requirements, python = sys.argv[1:]
venv = python.split("/")[0]
total = len(re.findall(r"^[A-Za-z0-9].*==", open(requirements, encoding="utf-8").read(), re.M))
command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off",
           "--require-hashes", "-r", requirements]
pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
lines, count, live = [], 0, sys.stdout.isatty()
for line in pip.stdout:
    lines.append(line)
    if line.startswith("Collecting "):
        count += 1
        if live:
            print("\r  %s: %d of at most %d packages fetched" % (venv, count, total), end="", flush=True)
        elif count % 25 == 0:
            print("  %s: %d of at most %d packages fetched" % (venv, count, total), flush=True)
    elif line.startswith("Installing collected packages"):
        print("%s  %s: %d packages fetched, installing them%s" % (("\r", venv, count, " " * 12) if live else ("", venv, count, "")), flush=True)
if pip.wait():
    sys.stdout.write("".join(lines[-30:]))
    sys.exit("\nInstalling %s failed (pip's last lines are above). Without network access, point pip to a mirror or a "
             "folder of wheels (pip config) and type the same command again." % requirements)
endef
export INSTALL_PY

# $(call set_up,venv,requirements): the environment holds exactly what the file says; it is made anew when the file, or
# the version of a fitting $PYTHON, is another than it was made with, or when it is half made or its interpreter is gone.
define set_up
$(FIND_PYTHON); \
if [ -n "$$PYTHON" ] && [ -x $(1)/bin/python ]; then \
	wanted=$$("$$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || wanted=none; \
	case "$$wanted" in 3.11|3.12|3.13) \
		[ "$$($(1)/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$$wanted" ] || rm -f $(1)/installed.txt ;; \
	esac; \
fi; \
if ! cmp -s $(2) $(1)/installed.txt || ! $(1)/bin/python -c '' 2>/dev/null; then \
	python=$$(find_python) || exit 1; \
	echo "Setting up $(1) from $(2) with $$("$$python" --version) (a minute or two, only when the file changed)"; \
	"$$python" -m venv --clear $(1) && $(1)/bin/python -c "$$INSTALL_PY" $(2) $(1)/bin/python && cp $(2) $(1)/installed.txt || exit 1; \
fi
endef

.PHONY: help
help:  ## List the targets
	@echo 'Usage: make TARGET [ARGS="..."] [PYTHON=/path/to/python]'; echo
	@sed -n 's/^\([a-z][a-z-]*\):.*##  *\(.*\)$$/\1|\2/p' Makefile | while IFS='|' read -r name text; do printf '  %-18s %s\n' "$$name" "$$text"; done

.PHONY: setup
setup:  ## Make .venv with exactly what requirements.txt says (done by every target that needs it)
	@$(call set_up,$(VENV),requirements.txt)

.PHONY: run
run: setup  ## The whole job on data/inputs: ingest, models, exports, quality report
	@$(PY) -m scripts.pipeline run $(ARGS)

.PHONY: status
status: setup  ## What is loaded, pending and in quarantine, and what is wrong
	@$(PY) -m scripts.pipeline status $(ARGS)

.PHONY: audit
audit: setup  ## Audit all rows as they stand (MODEL=layer.name and AUDIT=name narrow it; each takes several)
	@$(PY) -m scripts.pipeline audit $(MODEL:%=--model %) $(AUDIT:%=--audit %) $(ARGS)

.PHONY: plan
plan: setup  ## SQLMesh plan of the environment named after the git branch (on main: prod)
	@exec $(PY) -m scripts.pipeline plan $(ARGS)

.PHONY: ui
ui: setup  ## SQLMesh's user interface in the browser (port 8000; UI_PORT=... for another)
	@exec $(VENV)/bin/sqlmesh ui --port $(UI_PORT) $(ARGS)

.PHONY: test
test: setup  ## All tests but the long and the Databricks ones: SQLMesh's unit tests, then pytest
	@echo "SQLMesh unit tests"
	@$(VENV)/bin/sqlmesh test
	@echo "pytest"
	@$(PY) -m pytest -n $(PYTEST_WORKERS) --dist worksteal -m 'not databricks' --ignore=tests/databricks $(ARGS)

.PHONY: test-properties
test-properties: setup  ## 300 random sequences of loads and changes of the project, against a plain reference (an hour)
	@PROPERTY_EXAMPLES=$${PROPERTY_EXAMPLES:-$(PROPERTY_EXAMPLES_LONG)} $(PY) -m pytest -n $(PROPERTY_WORKERS) --dist worksteal -m properties $(ARGS)

.PHONY: test-scale
test-scale: setup  ## The marts of a generated feed of ACCOUNTS=5000000 against the plain reference (long)
	@SCALE_ACCOUNTS=$(ACCOUNTS) $(PY) -m pytest tests/e2e/test_generated_feed.py $(ARGS)

# Both environments are made at once. Each worker has a server of its own (3 GB) and takes whole files; two leave a
# third of two cores idle.
.PHONY: test-databricks
test-databricks:  ## The Databricks gateway against a real Spark with Delta Lake (needs Java 17 or newer)
	@java=java; [ -z "$$JAVA_HOME" ] || java="$$JAVA_HOME/bin/java"; \
	found=$$("$$java" -version 2>&1 | sed -n 's/.*version "\([0-9][0-9]*\).*/\1/p' | head -n 1); \
	if [ "$${found:-0}" -lt 17 ]; then \
		echo "make test-databricks: skipped, it needs Java 17 or newer (found: $${found:-none}). Install it (Debian, Ubuntu: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17), or set JAVA_HOME to one."; \
		exit 0; \
	fi; \
	( $(call set_up,$(SPARK_VENV),tests/databricks/requirements.txt) ) & spark_venv=$$!; \
	$(MAKE) --no-print-directory setup; made=$$?; \
	wait $$spark_venv && [ $$made -eq 0 ] || exit 1; \
	exec $(PY) -m pytest -n $(SPARK_WORKERS) --dist loadfile --no-loadscope-reorder tests/databricks $(ARGS)

.PHONY: smoke-databricks
smoke-databricks: setup  ## The sample through a real Databricks workspace, in an empty catalog that it cleans up (needs the settings)
	@$(PY) -m tools.smoke_databricks $(ARGS)

.PHONY: bench
bench: setup  ## The job beside plain DuckDB, dbt and SQLMesh's own history (SIZES="100000 1000000" ROUNDS=3 OUT=data/bench)
	@$(call set_up,$(DBT_VENV),benchmarks/requirements.txt)
	@$(PY) -m benchmarks $(SIZES:%=--accounts %) --rounds $(ROUNDS) --out $(OUT) $(ARGS)
	@$(DBT_VENV)/bin/python -m benchmarks.charts $(OUT)

.PHONY: growth
growth: setup  ## Daily loads one after another (DAYS=60 ACCOUNTS=1000000 CHANGE=0.02 OUT=data/bench): seconds, memory, size of each
	@$(call set_up,$(DBT_VENV),benchmarks/requirements.txt)
	@$(PY) -m benchmarks.growth --days $(DAYS) --accounts $(ACCOUNTS) --change $(CHANGE) --out $(OUT) $(ARGS)
	@$(DBT_VENV)/bin/python -m benchmarks.charts $(OUT)

.PHONY: lint
lint: setup  ## ruff, mypy, imports between folders, sqlmesh lint and the check of both formatters
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo --no-cache
	$(VENV)/bin/sqlmesh lint
	$(VENV)/bin/sqlmesh format --check

.PHONY: format
format: setup  ## Format Python and SQL in place
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/sqlmesh format

.PHONY: requirements
requirements:  ## Write requirements.txt (and those of tests/databricks and benchmarks) anew, with the newest versions that fit
	@$(FIND_PYTHON); python=$$(find_python) || exit 1; \
	$(UV_VENV)/bin/uv --version 2>/dev/null | grep -q ' $(UV_VERSION)' || { \
		"$$python" -m venv --clear $(UV_VENV) && $(UV_VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) || exit 1; }
	@$(call compile,pyproject.toml --group dev,requirements.txt)
	@$(call compile,tests/databricks/requirements.in,tests/databricks/requirements.txt)
	@$(call compile,benchmarks/requirements.in --group charts,benchmarks/requirements.txt)

# Hashes of every platform's files; no address of a registry, so that whatever pip is set up to use serves them.
# Extras stay in the pins: to an older pip (23.2) `coverage` pins nothing of `coverage[toml]`, and it takes a newer one, which has no hash here.
compile = $(UV_VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url \
	--no-emit-find-links --custom-compile-command 'make requirements' $(1) --output-file $(2) && echo "Wrote $(2)"

.PHONY: clean
clean:  ## Remove what runs and tools made: database with its history, exports, reports, caches (not the inputs, not .venv)
	@find data/duckdb -mindepth 1 ! -name .gitkeep -delete 2>/dev/null || true
	@rm -rf data/outputs data/quality_reports logs htmlcov .coverage .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
	@echo "Removed the database, exports, reports and caches; data/inputs and .venv are as they were."
