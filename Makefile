# What a reader or a contributor runs. `make` alone lists it.

PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
INSTALLED := .venv/installed

# What JAX has compiled once, notebooks and tests need not compile again: most is hundreds of small programs.
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/_build/.jax_cache
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0

# Images of containers often set it: then every process, and each notebook is one, compiles all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help book pages test matrix copies lab serve pdf epub pictures notebooks released results bench lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

# What stopped a chapter is the last thing that make says.
STOPPED = $(shell cat _build/stopped 2>/dev/null)

book: pages ## build the pages and print where they are
	$(if $(STOPPED),$(error $(STOPPED)))
	@$(BIN)/python -c 'from pathlib import Path; print("The book is at", Path("_build/html/index.html").absolute().as_uri())'

pages: $(INSTALLED)
	@mkdir -p _build && rm -f _build/stopped
	$(BIN)/jupyter-book build . -W -n --keep-going -q || \
		[ -s _build/stopped ] || echo "The book has errors or warnings, see above" >_build/stopped

# Two workers on two cores: threads of OpenBLAS would spend most of the time waiting for each other.
test: book ## build the book, then test everything: library, notebooks, pages in a browser
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup tests kdlib

# PYTHONS="3.12 3.13" chooses some.
matrix: $(BIN)/uv ## test the library on every Python from 3.11 to 3.14 that is found, with the newest and the oldest JAX
	$(BIN)/python tests/matrix.py $(PYTHONS)

# Not the sources in book/, which are full of what JupyterLab does not know, but what was drawn from them with the pages.
copies: pages
	@$(BIN)/python book/lab.py

lab: copies ## build the pages, and open the notebooks in JupyterLab
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) \
		--ServerApp.root_dir=_build --ServerApp.preferred_dir=_build/lab

serve: book ## build the pages and serve them
	@echo "The book is at http://localhost:$(PORT)/ (Ctrl-C stops)"
	@$(BIN)/python -m http.server --bind localhost --directory _build/html $(PORT)

pdf: $(INSTALLED) ## print the book (needs Chromium)
	$(BIN)/jupyter-book build . --builder singlehtml -W -n --keep-going -q
	$(BIN)/python book/pdf.py

epub: $(INSTALLED) ## make an ePub of the book (needs Chromium)
	$(BIN)/jupyter-book build . --builder custom --custom-builder epub -W -n --keep-going -q
	$(BIN)/python book/epub.py

pictures: book ## draw the README's picture and the card for links anew (needs Chromium)
	$(BIN)/python book/pictures.py

notebooks: $(INSTALLED) ## run the chapters in place, refreshing the outputs that are compared
	$(BIN)/python book/run.py

released: $(INSTALLED) ## after a release, keep what the ledger says: it lists what has changed since
	$(BIN)/python book/released.py

# SCHEDULER=tcp://... computes on the workers of that Dask scheduler.
results: $(INSTALLED) ## compute the stored results that are out of date, where an interrupted run has stopped
	$(BIN)/python -m kdlib.experiments --into kdlib/stored $(if $(SCHEDULER),--scheduler $(SCHEDULER))

bench: book ## measure the speeds that are promised
	@for script in benchmarks/[a-z]*.py; do $(BIN)/python $$script || exit; echo; done

# Reads the current lock for versions to keep, but need not install it.
lock: $(BIN)/uv ## resolve requirements.txt anew from pyproject.toml
	echo '-e .[architectures,book,dev]' | $(BIN)/uv pip compile - --universal --fork-strategy fewest --python-version 3.11 \
		--no-annotate --no-emit-index-url --custom-compile-command 'make lock' -q -o requirements.txt

clean: ## remove the pages, the environment, a release that was built, and all caches
	rm -rf _build dist *.egg-info .venv .pytest_cache .ruff_cache .hypothesis
	find . \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# uv takes seconds where pip takes minutes, but does not read pip's settings, such as those of a mirror.
$(INSTALLED): requirements.txt | $(BIN)/uv
	@echo "Installing the packages of requirements.txt"
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -r requirements.txt || \
		$(BIN)/pip install -q --no-deps -r requirements.txt
	@touch $@

$(BIN)/uv: | $(BIN)/pip
	@$(BIN)/pip install -qq --disable-pip-version-check $$(grep ^uv== requirements.txt)

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || { \
		echo "The book needs Python 3.11, 3.12, 3.13 or 3.14, and $(PYTHON) is none of them." \
			"Name one that is: make book PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv || { \
		echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu, install the package for it:" \
			"sudo apt install python3-venv" >&2; rm -rf .venv; exit 1; }
