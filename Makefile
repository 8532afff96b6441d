# The steps of .ci/run, one at a time, in the environment that is active.
.PHONY: test lint types imports docs bench ci
test: ; pytest
lint: ; ruff check . && ruff format --check .
types: ; mypy
imports: ; lint-imports
docs: ; mkdocs build --strict
bench: ; for name in cli_start store_io agents_speed demo; do python benchmarks/$$name.py; done
ci: ; bash .ci/run
