#!/usr/bin/env python3
"""Runs every command that the guides show, and writes what it prints under it (or, with --check, says where that differs).

A command is a ```console block that begins with `$ capsim`, or with `$ cargo run`, which runs in the repository, as does one that names files in validation/ or tests/data/; it goes on as long as
its lines end in a backslash. What follows it in the block is its output on stdout and, if the exit code is not 0, `# exit code N`.

    <!-- file: plan.toml -->        the next code block is written to that file, for the commands that follow in the guide
    <!-- keep: 1-2; Capacity; SLO+ -->   of the next command's output only these lines, `…` where some are left out:
                                    line numbers; or the line that begins so, with the indented lines under it; or, with
                                    a `+`, that line and all up to an empty one

    scripts/guide_outputs.py [--check] [--capsim target/release/capsim] [docs/guide/questions.md ...]
"""
import argparse
import concurrent.futures
import difflib
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MARK = re.compile(r"<!-- (file|keep): (.+) -->\s*$")


def kept(lines, rule, where):
    """The lines that a rule keeps, with an ellipsis for each gap."""
    keep = set()
    for part in rule.split(";"):
        if m := re.fullmatch(r" *(\d+)-(\d+)", part):
            keep.update(range(int(m[1]) - 1, min(int(m[2]), len(lines))))
            continue
        whole = part.endswith("+")
        start = part.rstrip("+").removeprefix(" ")
        at = [i for i, l in enumerate(lines) if l.startswith(start)]
        if not at:
            sys.exit(f"{where}: nothing begins with `{start}` in\n" + "\n".join(lines))
        end = at[0] + 1
        while end < len(lines) and lines[end].strip() and (whole or lines[end].startswith(" ")):
            end += 1
        keep.update(range(at[0], end))
    shown, last = [], -1
    for i in sorted(keep):
        if i > last + 1:
            shown.append("…")
        shown.append(lines[i])
        last = i
    if last + 1 < len(lines):
        shown.append("…")
    return shown


def output(command, capsim, folder, where):
    env = dict(os.environ, PATH=f"{capsim.parent}{os.pathsep}{os.environ['PATH']}", NO_COLOR="1", COLUMNS="80")
    builds = command.startswith("cargo ")
    at_root = builds or any(f in command for f in ["validation/", "tests/data/"])
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT if at_root else folder, env=env, capture_output=True, text=True,
        timeout=1800 if builds else 300,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        sys.exit(f"{where}: exit code {done.returncode}\n{command}\n{done.stderr}")
    lines = [l.rstrip() for l in done.stdout.rstrip("\n").split("\n")]
    return lines, [f"# exit code {done.returncode}"] if done.returncode else []


def rewritten(path, capsim, builds):
    """The guide with the outputs of today, and how many commands it has."""
    new, count, keep, file = [], 0, None, None
    lines = path.read_text().split("\n")
    i = 0
    with tempfile.TemporaryDirectory() as folder:
        while i < len(lines):
            line = lines[i]
            new.append(line)
            i += 1
            if m := MARK.match(line):
                keep, file = (m[2], file) if m[1] == "keep" else (keep, m[2])
                continue
            if not line.startswith("```") or line == "```":
                continue
            end = lines.index("```", i)
            body = lines[i:end]
            if file:
                (pathlib.Path(folder) / file).write_text("\n".join(body) + "\n")
            # A server does not end by itself.
            serves = body and body[0].startswith(("$ capsim explore", "$ capsim serve"))
            serves = serves or (not builds and body and body[0].startswith("$ cargo"))
            if line == "```console" and body and body[0].startswith(("$ capsim", "$ cargo run ")) and not serves:
                last = 0
                while body[last].endswith("\\"):
                    last += 1
                words = "\n".join(body[: last + 1])[2:]
                where = f"{path}:{i + 1}"
                shown, code = output(words, capsim, folder, where)
                body = body[: last + 1] + (kept(shown, keep, where) if keep else shown) + code
                count += 1
            new += body + ["```"]
            i, keep, file = end + 1, None, None
    return "\n".join(new), count


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if a guide is out of date")
    parser.add_argument("--capsim", type=pathlib.Path, default=ROOT / "target/release/capsim")
    parser.add_argument("--no-builds", action="store_true", help="leave commands that build as they are printed")
    parser.add_argument("--jobs", type=int, default=1, help="pages at a time")
    parser.add_argument("guides", nargs="*", type=pathlib.Path, help="default: README.md and docs/guide/*.md")
    args = parser.parse_args()
    stale = 0
    pages = args.guides or [ROOT / "README.md", *sorted((ROOT / "docs/guide").glob("*.md"))]
    capsim = args.capsim.resolve()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        done = list(pool.map(lambda path: rewritten(path, capsim, not args.no_builds), pages))
    for path, (new, count) in zip(pages, done):
        old = path.read_text()
        print(f"{path}: {count} commands, {'as printed' if new == old else 'changed'}", flush=True)
        if new == old:
            continue
        stale += 1
        if args.check:
            sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "guide", "capsim"))
        else:
            fresh = path.with_suffix(".new")
            fresh.write_text(new)
            fresh.replace(path)
    sys.exit(1 if args.check and stale else 0)


if __name__ == "__main__":
    main()
