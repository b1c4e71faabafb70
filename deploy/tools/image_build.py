"""Builds every image with buildah, which needs no daemon, on bases made from Debian packages.

The bases replace those of the registries and differ from them (docs/install.md lists what that leaves unchecked). pip's
settings of this machine are mounted during the build, so that its index is used. The image contains none of them.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASES = Path(__file__).with_name("bases")
WORK = ROOT / "build/images"
STORAGE = WORK / "storage"
# It contains sockets, so its path must be short.
RUNROOT = Path("/run") / f"fraudloop-{hashlib.sha256(str(STORAGE).encode()).hexdigest()[:12]}"
STORE = ("--root", str(STORAGE), "--runroot", str(RUNROOT), "--storage-driver", "overlay")
SUITE, PACKAGES = "bookworm", "ca-certificates,netbase,tzdata"
CERTIFICATES = Path("/etc/ssl/certs")
GIGABYTES = 15  # of free disk: all layers, their copies during the build, and the archive of the base
BUILD_SECONDS = 900
TOOLS = {"buildah": "buildah", "podman": "podman", "runc": "runc", "mmdebstrap": "mmdebstrap"}  # command: package


@dataclass(frozen=True)
class Image:
    """One of docker/*.Dockerfile, the build argument that names its base, and the base that replaces it here."""

    name: str
    argument: str
    base: str

    @property
    def tag(self) -> str:
        """The image's name for buildah and podman."""
        return f"localhost/fraudloop-{self.name}:check"


IMAGES = (
    Image("console", "PYTHON_IMAGE", "python"),
    Image("operator", "PYTHON_IMAGE", "python"),
    Image("stage", "PYTHON_IMAGE", "python"),
    Image("training", "BASE_IMAGE", "python"),
    Image("triton", "TRITON_IMAGE", "triton"),
    Image("shadow", "TRITON_IMAGE", "triton"),  # on the image before it
)
SERVING = "localhost/fraudloop-triton:check"


def missing() -> str:
    """Return why images cannot be built here, with the remedy, as one sentence; "" if they can."""
    absent = [package for command, package in TOOLS.items() if not shutil.which(command)]
    if absent:
        return f"{', '.join(absent)} is not installed (Debian: apt-get install {' '.join(absent)})"
    if os.geteuid() != 0:
        return "mmdebstrap and buildah's chroot isolation need root here; run it as root"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "this kernel has no overlay file system (modprobe overlay)"
    WORK.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(WORK).free / 1e9
    if not STORAGE.exists() and free < GIGABYTES:
        return f"{WORK} has {free:.0f} GB free, the images need {GIGABYTES}; free some, or `make clean`"
    return ""


def build(image: Image) -> float:
    """Build one image on its base, with cached layers. Returns the seconds."""
    begun = time.monotonic()
    _base("python", WORK)
    if image.base == "triton":
        _base("triton", _wheel_server(), PYTHON_IMAGE=_base_tag("python"))
    served = {"SERVING": SERVING} if image.name == "shadow" else {}
    arguments = {
        image.argument: _base_tag(image.base),
        **served,
        "REVISION": _revision(),
        **_torch_index(pip_settings()),
    }
    _bud(ROOT / f"docker/{image.name}.Dockerfile", ROOT, image.tag, arguments)
    return time.monotonic() - begun


def pip_settings() -> dict[str, str]:
    """Return pip's settings of this machine: index-url, find-links, cert … As in pip, variables override files."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True, timeout=60
    )
    found = re.findall(r"^(:env:|global|install)\.([\w-]+)='(.*)'$", done.stdout, re.MULTILINE)
    ordered = sorted(found, key=lambda one: ("global", "install", ":env:").index(one[0]))
    return {name: value.replace("\\n", " ") for _, name, value in ordered}


def pip_file(settings: Mapping[str, str]) -> str:
    """Return a pip.conf with `settings`."""
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in sorted(settings.items()))


def mounts(settings: Mapping[str, str]) -> Iterator[str]:
    """Return the folders and files that `settings` name, each to be mounted read-only at the same path.

    For an index in a folder (file://…/simple) it is the parent, because its pages refer to files beside them.
    """
    words = [word for value in settings.values() for word in value.split()]
    named = {Path(word) for word in words if word.startswith("/")} | {CERTIFICATES}
    named |= {Path(word.removeprefix("file://")).parent for word in words if word.startswith("file:///")}
    for path in sorted(path for path in named if path.exists()):
        if not any(path != other and path.is_relative_to(other) for other in named):
            yield f"{path}:{path}:ro"


def emptydir(name: str) -> Path:
    """Create an empty folder for a pod's volume. It belongs to the pod's user, as fsGroup makes it."""
    folder = WORK / "pods" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chown(folder, 1000, 1000)
    return folder


def clean() -> None:
    """Remove all layers, and unmount what is still mounted."""
    points = [
        line.split()[1].encode().decode("unicode_escape") for line in Path("/proc/mounts").read_text().splitlines()
    ]
    for point in reversed(points):
        if Path(point).is_relative_to(STORAGE) or Path(point).is_relative_to(RUNROOT):
            subprocess.run(["umount", "--lazy", point], check=False, timeout=60)
    for folder in (WORK, RUNROOT):
        shutil.rmtree(folder, ignore_errors=True)


def _base(name: str, context: Path, **arguments: str) -> None:
    if name == "python":
        _archive()
    _bud(BASES / f"{name}.Dockerfile", context, _base_tag(name), arguments)


def _base_tag(name: str) -> str:
    return f"localhost/fraudloop-base-{name}:check"


def _archive() -> None:
    """Return Debian's packages as an archive. It is stored, because a new one would be another first layer."""
    target = WORK / "debian.tar"
    if not target.exists():
        print(f"  Debian {SUITE} by mmdebstrap (≈ 60 MB of packages)", flush=True)
        partial = target.with_suffix(".part.tar")
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(partial)]
        subprocess.run(command, check=True, timeout=BUILD_SECONDS)
        partial.replace(target)


def _wheel_server() -> Path:
    found = find_spec("pytriton")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("nvidia-pytriton is not installed in this environment; run `make check-images`")
    return Path(found.submodule_search_locations[0]).parent


def _torch_index(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the index of torch: `make … TORCH_INDEX=`, else pip's own if configured, else the Dockerfile's."""
    named = os.environ.get("TORCH_INDEX", "")
    own = settings.get("index-url", "https://pypi.org/simple") if settings.get("find-links") else ""
    return {"TORCH_INDEX": named or own} if named or own else {}


def _revision() -> str:
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _bud(dockerfile: Path, context: Path, tag: str, arguments: Mapping[str, str]) -> None:
    """Run one `buildah bud` with its output in a file; the end of the file is shown on failure.

    The format is Docker's, because the OCI format has no SHELL: `pipefail` would be ignored.
    """
    settings = pip_settings()
    (WORK / "pip.conf").write_text(pip_file(settings))
    log = WORK / f"{dockerfile.stem}.{'base' if dockerfile.parent == BASES else 'image'}.log"
    command = ["buildah", *STORE, "bud", "--isolation", "chroot", "--network", "host", "--format", "docker", "--layers"]
    command += ["--file", str(dockerfile), "--tag", tag, "--volume", f"{WORK}/pip.conf:/etc/pip.conf:ro"]
    command += [part for mount in mounts(settings) for part in ("--volume", mount)]
    command += [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    with log.open("wb") as file:
        done = subprocess.run([*command, str(context)], stdout=file, stderr=subprocess.STDOUT, timeout=BUILD_SECONDS)
    if done.returncode:
        print("\n".join(log.read_text(errors="replace").splitlines()[-30:]), file=sys.stderr)
        raise SystemExit(f"{dockerfile.name} does not build; the whole output is {log.relative_to(ROOT)}")
