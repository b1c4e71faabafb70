"""KFP behind a faulty wire: a launch whose answer was lost is found by its name, and adopted."""

import json

import pytest
import urllib3
from faulty_wire import Fault

kfp = pytest.importorskip("local.kfp")
from statemachine.adapters.kfp import KfpPipelines  # noqa: E402 - after the skip
from statemachine.contracts.errors import Unreachable  # noqa: E402
from statemachine.contracts.kfp_run import PinnedVersion  # noqa: E402
from statemachine.contracts.stage import Stage  # noqa: E402
from statemachine.contracts.stage_request import StageRequest  # noqa: E402

ORDER = StageRequest("fraud-1", "fraud", Stage.TRAIN, 1, "abc123", "s3://a/x", {}, {})
LOST = [Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.HALF_ANSWER, Fault.UNAVAILABLE, Fault.THROTTLED]
HAPPENED = {Fault.RESET_AFTER, Fault.HALF_ANSWER}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The embedded KFP with one small pipeline that takes an order's arguments."""
    from kfp import compiler, dsl

    @dsl.component(base_image="python:3.11", install_kfp_package=False)
    def rest(run_id: str):
        import time

        time.sleep(20)

    @dsl.pipeline(name="fraudloop-train")
    def stage(run_id: str, model: str, attempt: int, launch_id: str, output_uri: str, inputs: dict, parameters: dict):
        rest(run_id=run_id).set_caching_options(False)

    folder = tmp_path_factory.mktemp("kfp")
    compiler.Compiler().compile(stage, str(folder / "stage.yaml"))
    with kfp.EmbeddedKFP(folder / "state", tick=0) as running:
        from training.pipelines.definitions import content_hash
        from training.pipelines.publish import publish

        build = folder / "build"
        build.mkdir()
        package = build / "fraudloop-train.yaml"
        (folder / "stage.yaml").rename(package)
        (build / "definitions.json").write_text(json.dumps({"fraudloop-train": content_hash(package.read_bytes())}))
        publish(running.url, build)
        yield running, content_hash(package.read_bytes())


@pytest.fixture
def pipelines(server, proxied):
    """The adapter through a proxy, and the same without one."""
    running, version = server
    proxy = proxied(running.url)
    faulty = KfpPipelines(proxy.url, "wire", {"fraudloop-train": version})
    plain = KfpPipelines(running.url, "wire", {"fraudloop-train": version})
    faulty.known["wire"] = plain._experiment_id()
    yield proxy, faulty, plain
    for kfp_run in plain.list("fraud-1."):
        plain.stop(kfp_run.kfp_id)


@pytest.mark.parametrize("fault", LOST)
def test_a_lost_create_is_launched_once_at_most_and_found_by_name(pipelines, fault):
    """Nothing repeats a CreateRun by itself; what did launch is listed under its name, with its launch id."""
    proxy, faulty, plain = pipelines
    pin = plain.pins([Stage.TRAIN]).found["train"]
    assert isinstance(pin, PinnedVersion)
    name = f"fraud-1.train.{10 + LOST.index(fault)}"
    order = StageRequest("fraud-1", "fraud", Stage.TRAIN, 10 + LOST.index(fault), "abc123", "s3://a/x", {}, {})
    proxy.faults.append(fault)
    with pytest.raises(Unreachable):
        faulty.create(order, pin)
    found = [kfp_run for kfp_run in plain.list(name) if kfp_run.name == name]
    assert [kfp_run.launch_id for kfp_run in found] == (["abc123"] if fault in HAPPENED else [])


@pytest.mark.parametrize("fault", LOST)
def test_no_failure_of_the_wire_is_an_absence(pipelines, fault):
    """Neither of one run nor of a list."""
    proxy, faulty, _ = pipelines
    proxy.faults.extend([fault, fault])
    with pytest.raises(Unreachable):
        faulty.get("no-such-run")
    with pytest.raises(Unreachable):
        faulty.list("fraud-1.")


def test_what_is_really_gone_is_an_absence(pipelines):
    """The same question over a wire that holds."""
    _, faulty, _ = pipelines
    assert faulty.get("no-such-run") is None


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A CA of our own, and a certificate of it for 127.0.0.1: the files of CA, certificate and key."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder = tmp_path_factory.mktemp("tls")
    now = datetime.now(UTC)

    def signed(subject, issuer, key, by, *extensions):
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (subject, issuer)]
        made = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        made = made.not_valid_after(now + timedelta(days=1))
        for extension in extensions:
            made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return made.sign(by, hashes.SHA256())

    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    usage = x509.SubjectKeyIdentifier.from_public_key(root.public_key())
    ca = signed("our CA", "our CA", root, root, x509.BasicConstraints(ca=True, path_length=None), usage)
    name = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    own = signed(
        "kfp", "our CA", leaf, root, name, x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key())
    )
    pem = serialization.Encoding.PEM
    files = {
        "ca": ca.public_bytes(pem),
        "certificate": own.public_bytes(pem),
        "key": leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    }
    for file, content in files.items():
        (folder / file).write_bytes(content)
    return [str(folder / file) for file in files]


def test_a_private_ca_is_trusted_if_it_is_named_and_only_then(server, certificate, tmp_path):
    """FRAUDLOOP_KFP_CA, in the loop and in `publish`; without it nothing is asked over a wire that proves nothing."""
    from training.pipelines.publish import publish

    ca, *tls = certificate
    build = server[0].state.parent / "build"
    with kfp.EmbeddedKFP(tmp_path / "state", tick=0, tls=tuple(tls)) as secure:
        assert secure.url.startswith("https://")
        assert KfpPipelines(secure.url, "wire", {}, ca=ca).list("fraud-1.") == ()
        assert [one.created for one in publish(secure.url, build, ca=ca)] == [True]
        with pytest.raises(Unreachable, match="certificate verify failed"):
            KfpPipelines(secure.url, "wire", {}).list("fraud-1.")
        with pytest.raises(urllib3.exceptions.MaxRetryError, match="certificate verify failed"):
            publish(secure.url, build)


def test_no_proxy_of_the_environment_is_used(server, monkeypatch):
    """KFP is inside of the VPC: HTTP_PROXY and its relatives, meant for the AWS APIs, are not asked."""
    from training.pipelines.publish import publish

    running, version = server
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        for spelt in (name, name.lower()):
            monkeypatch.setenv(spelt, "http://127.0.0.1:9")
    for spelt in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(spelt, raising=False)
    assert KfpPipelines(running.url, "wire", {"fraudloop-train": version}).pins([Stage.TRAIN]).found
    assert [one.created for one in publish(running.url, running.state.parent / "build")] == [False]
