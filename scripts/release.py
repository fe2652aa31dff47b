#!/usr/bin/env python3
"""A release in one command: the Linux binary with man pages and completions, the Python wheel, the crates, SHA-256 sums, a list of what it is made of (SBOM).

    python3 scripts/release.py                    # into target/dist
    python3 scripts/release.py --glibc 2.28       # for older systems too; links with zig (pip install cargo-zigbuild)

The binary is linked against glibc, not statically against musl: OpenCL and Vulkan are loaded at run time, and a static musl
program cannot load a library. The archive's name says the oldest glibc that the binary starts with, read off the binary itself.
Wants Python 3.11 or newer and, for the wheel, maturin (pip install maturin). The same commit gives the same archive, byte for byte, with the same tools.
"""
import argparse
import datetime
import gzip
import hashlib
import importlib.util
import io
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
TRIPLE = f"{platform.machine()}-unknown-linux-gnu"
CRATES = ["capsim", "capsim-clload", "capsim-calibrate", "capsim-live", "capsim-study", "capsim-cli"]
SHELLS = {"bash": "capsim.bash", "zsh": "_capsim", "fish": "capsim.fish", "elvish": "capsim.elv", "powershell": "capsim.ps1"}


# A first build leaves these crates as they are, to be short; what is given to others is small instead.
SMALL = [word for c in ["capsim-cli", "capsim-study"] for word in ("--config", f'profile.release.package.{c}.opt-level="s"')]


def run(*command, **more):
    print("+", *command, flush=True)
    subprocess.run([str(c) for c in command], cwd=ROOT, check=True, **more)


def told(*command):
    return subprocess.run([str(c) for c in command], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def glibc_floor(binary):
    """The newest glibc symbol version that the program asks for: dynamic linkers refuse a program that wants a newer one."""
    found = re.findall(rb"GLIBC_(\d+)\.(\d+)\b", binary.read_bytes())
    if not found:
        sys.exit(f"{binary}: asks for no version of glibc; is it a Linux program?")
    return max((int(a), int(b)) for a, b in found)


def build(args, commit):
    """Builds the program; its path."""
    command = ["cargo", "build"]
    target = TARGET
    if args.glibc:
        command = ["cargo", "zigbuild", "--target", f"{TRIPLE}.{args.glibc}"]
        target = TARGET / TRIPLE
    features = ["--features", args.features] if args.features else ["--all-features"]
    run(*command, *SMALL, "-p", "capsim-cli", *features, "--release", "--locked", "--bin", "capsim", env={**os.environ, "CAPSIM_COMMIT": commit})
    return target / "release" / "capsim"


def contents(program, work):
    """Name in the archive → file."""
    stripped = work / "capsim"
    shutil.copy2(program, stripped)
    if shutil.which("strip"):
        run("strip", "--strip-all", stripped)
    run(stripped, "man", "--output", work / "man")
    files = {"bin/capsim": stripped}
    files |= {f"share/man/man1/{p.name}": p for p in sorted((work / "man").iterdir())}
    for shell, name in SHELLS.items():
        path = work / name
        path.write_text(told(stripped, "completions", shell) + "\n")
        files[f"share/completions/{name}"] = path
    for name in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"]:
        files[name] = ROOT / name
    return files


def sbom(commit, time):
    """What the program is made of, as CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/): every crate with its version, licence, checksum and what
    it needs. All features on Linux; build scripts' and tests' crates are not in the program."""
    meta = json.loads(told("cargo", "metadata", "--format-version", "1", "--locked", "--all-features", "--filter-platform", TRIPLE))
    sums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    packages = {p["id"]: p for p in meta["packages"]}
    needs = {
        n["id"]: sorted(d["pkg"] for d in n["deps"] if any(k["kind"] is None for k in d["dep_kinds"]))
        for n in meta["resolve"]["nodes"]
    }  # fmt: skip
    top = next(i for i, p in packages.items() if p["name"] == "capsim-cli")
    reached, left = {top}, [top]
    while left:
        new = [d for d in needs[left.pop()] if d not in reached]
        reached.update(new)
        left += new
    url = {i: f"pkg:cargo/{packages[i]['name']}@{packages[i]['version']}" for i in reached}

    def component(i):
        p = packages[i]
        one = {"type": "application" if i == top else "library", "bom-ref": url[i], "name": p["name"], "version": p["version"], "purl": url[i]}
        if p["license"]:
            # Old crates write MIT/Apache-2.0.
            one["licenses"] = [{"expression": p["license"].replace("/", " OR ")}]
        if checksum := sums.get((p["name"], p["version"])):
            one["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        return one

    others = sorted(reached - {top}, key=url.get)
    when = datetime.datetime.fromtimestamp(time, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = component(top) | {"properties": [{"name": "git:commit", "value": commit}]}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"timestamp": when, "component": about},
        "components": [component(i) for i in others],
        "dependencies": [{"ref": url[i], "dependsOn": sorted(url[d] for d in needs[i])} for i in [top, *others]],
    }
    return json.dumps(document, indent=1) + "\n"


def archive(path, top, files, time):
    """A tar archive that depends on nothing but its contents and the commit's time."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, file in sorted(files.items()):
            data = file.read_bytes()
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size, info.mtime = len(data), time
            info.mode = 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(info, io.BytesIO(data))
    with open(path, "wb") as out, gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=time) as gz:
        gz.write(raw.getvalue())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "target" / "dist", help="folder (default: target/dist)")
    parser.add_argument("--glibc", metavar="2.N", help="oldest glibc to run on; default: this machine's")
    parser.add_argument("--features", help="instead of all features, as live,parquet")
    parser.add_argument("--allow-dirty", action="store_true", help="although files differ from the commit; the version says so")
    parser.add_argument("--no-crates", action="store_true", help="leave out the .crate files")
    parser.add_argument("--no-wheel", action="store_true", help="leave out the Python wheel")
    args = parser.parse_args()
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    commit, time = told("git", "rev-parse", "HEAD"), int(told("git", "log", "-1", "--format=%ct"))
    dirty = told("git", "status", "--porcelain")
    if dirty and not args.allow_dirty:
        sys.exit(f"files differ from the commit (or give --allow-dirty):\n{dirty}")
    commit += "-dirty" if dirty else ""
    # Before anything is built, which takes minutes.
    if args.glibc and not shutil.which("cargo-zigbuild"):
        sys.exit("--glibc needs cargo-zigbuild: pip install cargo-zigbuild (brings zig)")
    if not args.no_wheel and not importlib.util.find_spec("maturin"):
        sys.exit(f"the wheel needs maturin: {sys.executable} -m pip install maturin (or give --no-wheel)")
    out = args.output.resolve()
    work = out / "work"
    shutil.rmtree(out, ignore_errors=True)
    work.mkdir(parents=True)

    program = build(args, commit)
    said = told(program, "--version")
    if version not in said or commit not in said:
        sys.exit(f"the program says of itself:\n{said}\nnot {version} and {commit}")
    floor = glibc_floor(program)
    if args.glibc and floor > tuple(map(int, args.glibc.split("."))):
        sys.exit(f"the program asks for glibc {floor[0]}.{floor[1]}, newer than --glibc {args.glibc}")
    top = f"capsim-{version}-{platform.machine()}-linux-gnu{floor[0]}.{floor[1]}"
    parts = out / f"capsim-{version}.cdx.json"
    parts.write_text(sbom(commit, time))
    archive(out / f"{top}.tar.gz", top, contents(program, work) | {"SBOM.cdx.json": parts}, time)

    if not args.no_crates:
        run("cargo", "package", *(word for name in CRATES for word in ("-p", name)), "--no-verify", "--quiet",
            *(["--allow-dirty"] if dirty else []))
        for name in CRATES:
            shutil.copy2(TARGET / "package" / f"{name}-{version}.crate", out)
    wheel = ROOT / "bindings" / "python"
    if not args.no_wheel and wheel.is_dir():
        # The wheel's name says its floor: pip refuses it where the system's glibc is older.
        older = ["--zig", "--target", TRIPLE, "--compatibility", f"manylinux_{args.glibc.replace('.', '_')}"] if args.glibc else []
        run(sys.executable, "-m", "maturin", "build", "--release", "--locked", "--manifest-path", wheel / "Cargo.toml",
            "--out", out, *older, env={**os.environ, "CAPSIM_COMMIT": commit})
    shutil.rmtree(work)

    files = sorted(p for p in out.iterdir() if p.is_file())
    sums = "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in files)
    (out / "SHA256SUMS").write_text(sums)
    print(f"\n{said}\n")
    for p in files:
        print(f"{p.stat().st_size / 2**20:8.1f} MiB  {p.name}")
    print(f"in {out}, with SHA256SUMS")


if __name__ == "__main__":
    main()
