"""`make check-images`: builds every image, imports its entry points, runs it as pods, and lists its packages.

python deploy/tools/check_images.py            everything; without the build tools only the imports
python deploy/tools/check_images.py --clean    removes the layers
"""

import argparse
import json
import subprocess
import sys
import time
from datetime import UTC, datetime

import image_build
import image_pods
import image_sbom
from image_build import IMAGES, ROOT, WORK, Image
from image_imports import entry_points
from image_pods import Container

IMPORTED = {name: name for name in ("console", "operator", "stage")} | {
    "training": "stage",
    "shadow": "stage",
}  # a version carries Triton's code
BILLS = ROOT / "build/sbom"  # these stay when the layers go
LINE = "{:<10}{:>8}{:>9}{:>9}{:>9}{:>9}"
TRIAL_SECONDS = 900


def main() -> None:
    """Build, import, run and report."""
    parser = argparse.ArgumentParser(description="build the images and run them as pods")
    parser.add_argument("--clean", action="store_true", help="remove the layers instead")
    if parser.parse_args().clean:
        image_build.clean()
        return
    if reason := image_build.missing():
        without_images(reason)
        return
    begun = time.monotonic()
    print(f"images in {WORK.relative_to(ROOT)}; a first build installs torch three times (minutes)", flush=True)
    built = {}
    for image in IMAGES:
        built[image.name] = image_build.build(image)
        print(f"  built {image.name:<10}{built[image.name]:6.0f} s", flush=True)
    for image in IMAGES:
        imports(image)
    print("as pods:", flush=True)
    trial = ["unshare", "--net", sys.executable, str(ROOT / "deploy/tools/image_trial.py")]
    if subprocess.run(trial, timeout=TRIAL_SECONDS).returncode:
        raise SystemExit(f"the images do not work as pods; each one's output is in {WORK.relative_to(ROOT)}/trial")
    print("\n" + LINE.format("image", "MB", "layers", "python", "debian", "built s"))
    for image in IMAGES:
        print(contents(image, built[image.name]))
    print(f"bills of materials: {BILLS.relative_to(ROOT)}/*.cdx.json; all in {time.monotonic() - begun:.0f} s")


def without_images(reason: str) -> None:
    """Check without images: every entry point imports with only the lock's packages visible."""
    print(f"SKIPPED: no image is built or run: {reason}")
    for name in sorted(set(IMPORTED.values()) | {"triton"}):
        subprocess.run([sys.executable, str(ROOT / "deploy/tools/image_imports.py"), name], check=True)


def imports(image: Image) -> None:
    """Import every entry point inside the image, in one process each."""
    if image.name not in IMPORTED:
        return
    modules = entry_points(IMPORTED[image.name])
    code = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"
    volumes = {"/tmp": image_build.emptydir(f"imports-{image.name}")}  # noqa: S108 — a folder in the pod
    log = WORK / f"{image.name}.imports.log"
    image_pods.run(Container(f"imports-{image.name}", image.tag, ["python3", "-c", code], volumes=volumes), log)
    print(f"  {image.name} imports {', '.join(modules)}", flush=True)


def contents(image: Image, seconds: float) -> str:
    """Write the image's bill of materials, and return its line of the table."""
    known = image_pods.inspect(image.tag)
    container = Container("sbom", image.tag, ["python3", "-c", image_sbom.ASK])
    found = json.loads(image_pods.run(container, WORK / "sbom.log"))
    record = image_sbom.bill(f"fraudloop-{image.name}", known["Digest"], found, datetime.now(UTC))
    BILLS.mkdir(parents=True, exist_ok=True)
    (BILLS / f"{image.name}.cdx.json").write_text(image_sbom.dumps(record))
    size, layers = known["Size"] // 10**6, len(known["RootFS"]["Layers"])
    return LINE.format(image.name, size, layers, len(found["python"]), len(found["debian"]), f"{seconds:.0f}")


if __name__ == "__main__":
    main()
