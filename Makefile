# The steps of .ci/run, one at a time, in the environment that is active. `make quick` is what to run before every commit.
.PHONY: quick test browser numeric lint types imports docs bench mutants ci paste
quick: lint imports ; pytest -m "not slow" tests/test_house.py tests/test_settings.py tests/test_processor.py tests/cache tests/probe tests/report
test: ; pytest --durations=10
browser: ; pytest -m browser -n 0 tests/browser
numeric: ; bash .ci/instruction-sets
lint: ; ruff check . && ruff format --check .
types: ; mypy
imports: ; lint-imports
docs: ; mkdocs build --strict
bench: ; for name in cli_start store_io store_listing service_load probe_speed probe_memory extract_overhead early_exit agents_speed in_loop_cost study_power demo learned drawing economics repaint apv pvdr demo_stability; do python benchmarks/$$name.py; done
paste: ; python -m tools.paste_everything
mutants: ; python -m tools.mutate --plan
ci: ; bash .ci/run
