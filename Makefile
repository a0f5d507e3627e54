# make demo          build a dataset from sample photographs into out/quickstart
# make refine-demo   refine labels of a world whose truth is known, two rounds (minutes)
# make check         lint, types, import layering and the quick tests (under a minute)
# make test          lint, types, import layering and all tests
# make test-security attacks and faults by kind, tried and held (minutes)
# make test-cluster  jobs on a real Ray cluster with its job server (minutes)
# make test-examples the programs of docs/examples as a user runs them (a minute)
# make test-readers  exports, read back by programs that are installed beside the environment
# make test-storage  builds on object storage that fails, at random and anywhere (minutes)
# make chaos         Ray while nodes come and go, workers and drivers are killed (a quarter of an hour)
# make test-extras   every extra in an environment that has only it (minutes)
# make mutants       thousands of wrong changes that the tests must notice (hours; ONLY=pipelines/merge)
# make docs          the documentation, into out/docs/index.html
# make pictures      the pictures in the documentation again (needs chromium)
# make bench         speed, memory and the verdicts on captions (minutes; not part of the tests)
# make photographs   download 95 photographs that `bench` judges the quickstart by (a minute)
# make bench-gpu     the engine against loops written by hand, per model; tiny models without a GPU
# make bench-refine  what refinement is worth, three seeds and every merge rule (an hour)
# make bench-distill what captions of a tenth of the scenes teach the student (an hour)
# make pretrain      make the tiny Florence-2 in specialists/tiny_florence2 again (half an hour)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Test files run side by side, each on one thread: two of them hold about 5 GiB. They run in their
# order: those of the models, which are many and quick, come last and fill both processes.
# Compiled modules are kept, whatever the environment asks for: tests start hundreds of processes.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(or $(JOBS),2) --dist loadfile --no-loadscope-reorder
QUICK := tests/engine/core tests/engine/planning tests/engine/untrusted tests/pipelines/commands \
	tests/pipelines/export tests/pipelines/filters tests/pipelines/terminal tests/specialists/words \
	tests/package/test_contributing.py tests/package/test_repository.py tests/test_florilegium.py
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
	--constraint constraints.txt --editable
# pip would compile one file after another; some are templates, which do not compile.
COMPILE := $(BIN)/python -W ignore -m compileall -qq -j 0 .venv/lib || true

.PHONY: demo refine-demo check test style types suite torchvision test-security test-cluster test-examples test-readers test-storage chaos test-extras mutants docs pictures bench photographs bench-gpu bench-refine bench-distill pretrain clean

demo: .venv/demo.done
	$(BIN)/florilegium build configs/quickstart.yaml

refine-demo: .venv/refine.done
	$(BIN)/florilegium refine configs/known_truth.yaml
	$(BIN)/florilegium score out/known_truth

# The first run is two minutes longer: mypy has no cache yet.
check: style types
	$(PYTEST) $(QUICK)

test: .venv/torchvision.done style
	@$(MAKE) --no-print-directory --jobs 2 suite types torchvision

# Two at a time: the suite takes longest, the others run beside it one after another.
suite: .venv/test.done
	$(PYTEST)

style: .venv/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/test.done
	$(BIN)/mypy
	$(BIN)/lint-imports

torchvision: .venv/torchvision.done
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.torchvision -q

# Beside the quick attacks among the other tests, those that take minutes. With ATTACKS_TABLE=FILE
# the table is written there, too, as docs/explanation/reliability.md quotes it.
test-security: .venv/test.done
	$(PYTEST) -p tests.security.table -m attack tests tests/security

# Beside the environment: the dashboard that takes jobs makes every start of Ray twice as long.
test-cluster: .venv/test.done
	$(BIN)/python -m tests.cluster

# The programs of docs/examples, and what of them starts processes.
test-examples: .venv/test.done
	$(PYTEST) tests/docs/examples tests/examples

test-readers: .venv/readers.done
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.readers -q

test-storage: .venv/test.done
	$(PYTEST) tests/storage

# Each seed kills twenty times; SEEDS=1 is a quick look. Ends with 1 when a promise is broken.
chaos: .venv/test.done
	$(BIN)/python -m pytest tests/chaos
	$(BIN)/python -m tests.chaos --seeds $(or $(SEEDS),10)

# .ci/run runs it again when these files are not those that it passed with.
test-extras:
	$(PYTHON) -m tests.extras
	sha256sum pyproject.toml constraints.txt > .ci/extras.sha256

mutants: .venv/mutants.done
	$(BIN)/python -m tests.mutants $(if $(ONLY),--only $(ONLY))

docs: .venv/test.done
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet \
		--fresh-env --write-all docs out/docs

pictures: .venv/demo.done
	$(BIN)/florilegium build configs/quickstart.yaml
	$(BIN)/python docs/pictures/diagram.py
	$(BIN)/python docs/pictures/trial.py
	$(BIN)/python docs/pictures/screenshot.py

bench: .venv/test.done
	$(BIN)/python -m tests.benchmarks

photographs: .venv/test.done
	$(BIN)/python -m tests.benchmarks.first_impression.pictures

bench-gpu: .venv/test.done
	$(BIN)/python -m tests.benchmarks.gpu

bench-refine: .venv/refine.done
	$(BIN)/python -m tests.benchmarks.refinement

bench-distill: .venv/refine.done
	$(BIN)/python -m tests.benchmarks.refinement --config configs/known_distilled.yaml \
		--output out/bench_distill

pretrain: .venv/refine.done
	$(BIN)/python -m florilegium.pipelines.shape_world.pretrain specialists/tiny_florence2

clean:
	rm -rf .venv out

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv

.venv/demo.done: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) '.[starter,photographs]'
	$(COMPILE)
	touch $@

.venv/refine.done: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) '.[starter,refine]'
	$(COMPILE)
	touch $@

.venv/test.done: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) '.[starter,photographs,refine,online,azure,s3,metrics,tracing,lineage,serve,dev,docs]'
	$(COMPILE)
	touch $@

.venv/mutants.done: .venv/test.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt mutmut
	touch $@

# Beside the environment: their dependencies would change what other tests run with.
.venv/readers.done: .venv/test.done tests/readers/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
		--target .venv/readers --requirement tests/readers/requirements.txt
	touch $@

# Beside the environment, not in it: all other tests prove that it is not needed.
.venv/torchvision.done: .venv/test.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
		--constraint constraints.txt --target .venv/torchvision torchvision
	touch $@
