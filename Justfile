# What one does here; `just` lists it. Wants the environment that the test command in README.md makes.

bin := justfile_directory() / ".venv-test/bin"

_default:
    @just --list

# Run the tests; arguments go to pytest.
test *args:
    {{bin}}/python -m pytest {{args}}

# Run the tests that DALI, Ray, S3 and TensorRT for RTX are needed for, which `test` skips without them.
test-all *args:
    {{bin}}/pip install -q -c constraints.txt -e '.[test-all]'
    {{bin}}/python -m pytest --extras {{args}}

# Everything that is checked without running: style, types, spelling, layers.
lint:
    {{bin}}/ruff check .
    {{bin}}/ruff format --check .
    {{bin}}/mypy
    {{bin}}/codespell
    {{bin}}/lint-imports

# Measure how fast this machine protects the example photos.
bench *args:
    {{bin}}/dadfi-fast bench throughput {{args}}

# Make the pages that are made from the code.
docs:
    {{bin}}/python tools/make_cli_page.py
    {{bin}}/python tools/make_cost_page.py
