"""The stack in moto, by the real tools: `sam build`, `sam package`, the SAM translator, `sam deploy`."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".venv-aws/bin"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
STACK = "fraudloop-test"
FUNCTIONS = ("arrival", "nightly", "tick", "step", "announce")
# What the Lambda runtime provides. A built artifact sees no other package of this environment.
BROUGHT = ("boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil", "six.py")


@dataclass
class Deployment:
    """One stack on one moto server at `url` (by the name localhost: moto parses S3 URLs by host)."""

    url: str
    folder: Path
    stack: str = STACK
    plain: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """A client of moto."""
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        return boto3.Session().client(service, endpoint_url=self.url, **keys)  # its own session: tests record another

    def build(self) -> None:
        """`sam build`: each function's folder under `folder/build`."""
        self._tool("sam", "build", "--build-dir", str(self.folder / "build"), "--parallel")

    def package(self) -> None:
        """Upload the built code, and translate the template as AWS would."""
        packaged, plain = self.folder / "packaged.yaml", self.folder / "plain.json"
        template = str(self.folder / "build/template.yaml")
        self._tool("sam", "package", "-t", template, "--s3-bucket", "code", "--output-template-file", str(packaged))
        plain.write_text(self._tool("python", "deploy/tools/sam_translate.py", str(packaged)))
        self.plain = json.loads(plain.read_text())

    def deploy(self, **parameters: str) -> None:
        """`sam deploy` of what was packaged last."""
        plain = self.folder / "plain.json"
        overrides = [f"{name}={value}" for name, value in parameters.items()]
        options = [
            "--s3-bucket",
            "code",
            "--stack-name",
            self.stack,
            "--capabilities",
            "CAPABILITY_IAM",
            "--no-fail-on-empty-changeset",
        ]
        self._tool("sam", "deploy", "-t", str(plain), *options, "--parameter-overrides", *overrides)

    def physical(self) -> dict[str, str]:
        """Physical ids of what was made, by logical id; "" where moto has none (an ingress rule)."""
        found = self.client("cloudformation").describe_stack_resources(StackName=self.stack)["StackResources"]
        return {r["LogicalResourceId"]: r.get("PhysicalResourceId", "") for r in found if "LogicalResourceId" in r}

    def outputs(self) -> dict[str, str]:
        """The stack's outputs."""
        stack = self.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())}

    def expected(self, *conditions: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each resource of the plain template that is unconditional or whose condition is in `conditions`."""
        for name, resource in self.plain["Resources"].items():
            if resource.get("Condition", conditions[0] if conditions else None) in (None, *conditions):
                yield name, resource

    def invoke(self, function: str, event: Mapping[str, Any]) -> Any:
        """The built artifact's answer, in the runtime's interpreter, with the environment that the stack gave it."""
        logical = f"{function.capitalize()}Function"
        configuration = self.client("lambda").get_function_configuration(FunctionName=self.physical()[logical])
        command = [interpreter(), "-I", str(ROOT / "tests/aws/invoke.py"), self._brought(), configuration["Handler"]]
        environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": self.url, **configuration["Environment"]["Variables"]}
        done = subprocess.run(
            command,
            cwd=self.folder / "build" / logical,
            env={"PATH": os.environ["PATH"], "POWERTOOLS_METRICS_DISABLED": "true", **environment},
            input=json.dumps(event),
            capture_output=True,
            text=True,
            timeout=60,
        )
        print(done.stdout)  # the function's log, shown when a test fails
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.rsplit("\n", 2)[-2])

    def _brought(self) -> str:
        folder = self.folder / "runtime"
        if not folder.exists():
            folder.mkdir()
            for name in BROUGHT:
                (folder / name).symlink_to(Path(boto3.__file__).parents[1] / name)
        return str(folder)

    def _tool(self, name: str, *arguments: str) -> str:
        environment = {
            **os.environ,
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": self.url,
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.2",
        }
        command = [str(TOOLS / name), *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{name} {' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


def interpreter() -> str:
    """The Lambda runtime's interpreter if it is here, else this one: the artifacts are pure Python."""
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.12*/bin/python3.12"))
    for candidate in (*map(str, pyenv), shutil.which("python3.12") or "", "/usr/bin/python3"):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return candidate
    raise AssertionError("no interpreter")
