# One verb for each thing that CI does. Everything lives in .venv; `make clean` removes it all.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PROTO_VENV := .venv-proto
BENCH_VENV := .venv-bench
BENCH_PARTS := train upload queue weights influence scale
PROTOS := $(wildcard proto/kdaif_proto/v1/*.proto)
EDITABLE := -e ".[torch,redis,transformers,otel]" -e ./proto -e "./client[edge,mlflow,signed]" -e ./server -e ./worker

.DEFAULT_GOAL := help
.PHONY: help install demo up test test-slow check lint types imports audit fuzz proto proto-check blocking blocking-check buf format docs bench bench-quality bench-influence bench-edge bench-large bench-queue bench-weights bench-load bench-train bench-upload bench-gpu bench-scale bench-targets bench-curvature-rows bench-shards chaos rehearse-images clean

help: ## Show the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## Make .venv with everything pinned in constraints.txt

$(VENV)/.installed: pyproject.toml constraints.txt $(wildcard */pyproject.toml)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): some minutes the first time."
	@$(BIN)/python tools/dev_requirements.py > $(VENV)/dev-requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(EDITABLE) \
		-r $(VENV)/dev-requirements.txt
	@touch $@

demo: install ## The main job on real data, the whole way, in under 3 minutes
	@$(BIN)/python -m examples.demo

up: install ## The stack in the foreground until Ctrl-C
	@$(BIN)/kdaif up

test: install ## The tests, in under ten minutes on two cores; those that take long are in test-slow
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not gpu and not slow" -n 2 --dist loadfile

test-slow: install ## The tests that take long: every example, whole jobs, the browser, memory
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not gpu and slow" -n 2 --dist loadfile

check: lint types imports proto-check blocking-check buf audit ## Everything that needs no run: style, types, contracts, stubs, pins

lint: install
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: install
	@$(BIN)/mypy

imports: install
	@$(BIN)/lint-imports

audit: install ## Whether somebody has looked at every pin in constraints.txt
	@$(BIN)/python tools/audit_dependencies.py

format: install ## Format and fix what can be fixed
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

# The stubs are made by an old generator, so that they run with every protobuf from 5.27 on.
$(PROTO_VENV)/.installed: proto/generator-requirements.txt
	@test -x $(PROTO_VENV)/bin/python || $(PYTHON) -m venv $(PROTO_VENV)
	@$(PROTO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r proto/generator-requirements.txt
	@touch $@

proto: $(PROTO_VENV)/.installed ## Regenerate the committed stubs
	@$(PROTO_VENV)/bin/python tools/generate_stubs.py proto

proto-check: $(PROTO_VENV)/.installed
	@$(PROTO_VENV)/bin/python tools/generate_stubs.py proto --check

blocking: install ## Regenerate the blocking client from the async one
	@$(BIN)/python tools/generate_blocking.py

blocking-check: install
	@$(BIN)/python tools/generate_blocking.py --check

buf: install
	@$(BIN)/buf lint
	@$(BIN)/buf breaking --against '.git#ref=HEAD'
	@if git rev-parse -q --verify HEAD~1 >/dev/null; then $(BIN)/buf breaking --against '.git#ref=HEAD~1'; fi

bench: install ## Speed and growth beside what one would pick instead, part after part: hours, on a quiet machine
	@for part in $(BENCH_PARTS); do echo "== bench-$$part"; $(MAKE) --no-print-directory bench-$$part || exit 1; done

bench-quality: install ## Influence against its rivals; KDAIF_DATA names the data, QUICK=1 runs a cut in under 10 minutes
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r benchmarks/requirements.txt
	@$(BIN)/python -m benchmarks.quality $(if $(QUICK),--quick,--page docs/results/quality.md)

# The rivals want another numpy than the product, so they live apart.
$(BENCH_VENV)/.installed: benchmarks/influence_requirements.txt
	@test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/influence_requirements.txt
	@touch $@

bench-influence: install $(BENCH_VENV)/.installed ## Influence beside kronfluence, pyDVL, dattri, captum and curvlinops; KDAIF_DATA names the data, NET= one network, REPEATS= fewer
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.influence --rivals-python $(BENCH_VENV)/bin/python \
		--page docs/results/performance_influence.md $(if $(NET),--net $(NET)) $(if $(REPEATS),--repeats $(REPEATS)) $(if $(FOLDER),--folder $(FOLDER))

bench-large: install ## Memory of a job of 10 million rows, 40 GB of disk; ROWS= fewer, FOLDER= where
	@$(BIN)/python -m benchmarks.large $(if $(ROWS),--rows $(ROWS)) $(if $(FOLDER),--folder $(FOLDER))

bench-queue: install ## Jobs per second of the queue at 16 clients, beside bare writes by redis-benchmark and by Python
	@$(BIN)/python -m benchmarks.queue_rate

chaos: install ## Over 500 faults over 500 jobs, three seeds, minutes each; SEED=7 runs one of them
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED) --no-record,--page docs/results/chaos.md)

fuzz: install ## Requests, files, filters and tokens of chance against a real server; SECONDS=300, SEED= for one again
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),300) $(if $(SEED),--seed $(SEED))

bench-weights: install ## Queries of 10 million weights over 20 rounds, beside DuckDB and pyarrow; ROWS= and ROUNDS= for fewer
	@$(BIN)/python -m benchmarks.weights $(if $(ROWS),--rows $(ROWS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ROWS)$(ROUNDS),,--page docs/results/weights.md)

bench-load: install ## 200 watching clients, 50 uploads and unary calls for MINUTES (10), then a drain, beside a bare grpc.aio
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.load $(if $(MINUTES),--minutes $(MINUTES) --no-record,--page docs/results/load.md)

rehearse-images: install ## Each step of the Dockerfile without Docker: TARGETS="server edge", or worker-cpu and worker-cuda
	@$(BIN)/hadolint Dockerfile && $(BIN)/python tools/rehearse_dockerfile.py $(or $(TARGETS),server edge)

bench-edge: install ## What an edge team gets, in figures; PART=rollout runs one part
	@$(BIN)/python -m benchmarks.edge $(if $(PART),--part $(PART),--page docs/results/edge.md)

bench-train: install ## CPU seconds of a weighted round beside an unweighted one and a bare PyTorch loop; KDAIF_DATA names the data
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.train && OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.train_levers

bench-upload: install ## Upload and download beside raw grpc.aio and a plain copy
	@$(BIN)/python -m benchmarks.transfer

bench-gpu: install ## CIFAR-10 with 4,000 labels on one CUDA card; KDAIF_DATA names the data, REHEARSE=1 runs a little of it on the CPU
	@$(BIN)/python -m benchmarks.gpu $(if $(REHEARSE),--rehearse)

bench-scale: install ## Growth with rows, classes and parameters, to 1 million rows; ROWS="10000 10000000" for others
	@$(BIN)/python -m benchmarks.scale --page $(if $(ROWS),--rows $(ROWS)) $(if $(FOLDER),--folder $(FOLDER))

bench-targets: install ## Soft targets of 10,000 classes: memory, disk and what keeping the largest costs in accuracy
	@$(BIN)/python -m benchmarks.many_classes

bench-curvature-rows: install ## Ranks by a solve of few rows against one of all rows; KDAIF_DATA names the data's folder
	@$(BIN)/python -m benchmarks.curvature_rows

bench-shards: install ## One scoring whole, in shards by one worker, and shared by two; ROWS= fewer
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.shards $(if $(ROWS),--rows $(ROWS))

docs: install ## The docs site in site/, with every link checked
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --clean

clean: ## Remove the environments
	rm -rf $(VENV) $(PROTO_VENV) $(BENCH_VENV) site
