"""Commands that need a process of their own, as functions: they serve, talk to the network, or drive devices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Type, Union

from ._base import Answer
from ._capsim import CapsimError
from ._fields import ScenarioFields
from ._scenario import Asked, DeviceProfile, Path, flags_of, scenario_of, tell_device

if TYPE_CHECKING:
    from typing_extensions import Unpack

Flag = Union[None, bool, int, float, Path, Sequence[Any]]
#: Commands whose exit code 1 is an answer: something differs, or does not fit.
_ANSWERS = (0, 1)


def _words(flags: Mapping[str, Flag]) -> List[str]:
    """Keyword arguments as flags: True alone, False not at all, lists with commas."""
    words = []
    for name, value in flags_of(flags):
        if isinstance(value, bool):
            words += [f"--{name}"] if value else []
        else:
            words.append(f"--{name}={value}")
    return words


def _child(words: Sequence[str]) -> List[str]:
    return [sys.executable, "-m", "capsim", *words]


def _run(words: Sequence[str], quiet: bool = True) -> str:
    """What a command prints. `quiet`: without its progress on standard error."""
    done = subprocess.run(_child(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE if quiet else None, text=True)
    if done.returncode not in _ANSWERS:
        said = (done.stderr or "the command failed; what it said is above").strip()
        raise CapsimError(said.split("\n\n")[0].replace("error: ", "", 1))
    return done.stdout


class CommandAnswer(Answer):
    """What a command answers with `--json`: the document itself (`to_dict`), and its scalar fields as a row."""

    def __init__(self, text: str) -> None:
        self._json = text.strip()

    def rows(self) -> List[Dict[str, Any]]:
        """The scalar fields of the document."""
        return [{k: v for k, v in self.to_dict().items() if v is None or isinstance(v, (bool, int, float, str))}]

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]

    def __repr__(self) -> str:
        return f"<capsim.CommandAnswer: {', '.join(self.to_dict())}>"


class Server:
    """A server that runs until `close`, or until the end of a `with` block."""

    def __init__(self, words: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(_child(words), stdout=subprocess.PIPE, stderr=self._errors, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "http://" in line:
                self.url = "http://" + line.split("http://", 1)[1].split()[0]
                return
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().strip()
        self.close()
        raise CapsimError(said.split("\n\n")[0].replace("error: ", "", 1))

    url: str
    """Where it listens."""

    def close(self) -> None:
        """Ends it."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<capsim.Server at {self.url}>"

    def _repr_html_(self) -> str:
        return f'<a href="{self.url}" target="_blank">{self.url}</a>'


def _started(verb: str, scenario: Asked, fields: Mapping[str, Any], flags: Mapping[str, Flag]) -> Server:
    asked = scenario_of(scenario, fields)
    tell_device(asked)
    with tempfile.TemporaryDirectory() as folder:
        document = os.path.join(folder, "scenario.json")
        with open(document, "w", encoding="utf-8") as f:
            json.dump(asked.to_dict(), f)
        # It is read before the server says where it listens.
        return Server([verb, document, *_words(flags)])


def serve(scenario: Asked = None, *, host: str = "127.0.0.1", port: int = 0, **fields: Unpack[ScenarioFields]) -> Server:
    """The simulated engine behind an OpenAI API, in real time, at `Server.url`; `port` 0 takes any free one.

        with capsim.serve("qwen3-0.6b", device="h100-sxm") as server:
            print(server.url)

    `scenario` and `fields` as in `predict`. Raises `CapsimError` with the text of the command line.
    """
    return _started("serve", scenario, fields, {"host": host, "port": port})


def explore(
    scenario: Asked = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    slo: Optional[str] = None,
    electricity: Union[None, float, str] = None,
    **fields: Unpack[ScenarioFields],
) -> Server:
    """The page with the scenario's knobs, at `Server.url`; a notebook shows it as a link. It runs until `close`.

    `scenario` and `fields` as in `predict`; `slo` and `electricity` (per kWh) are where those knobs stand at first. Raises
    `CapsimError` with the text of the command line.
    """
    return _started("explore", scenario, fields, {"host": host, "port": port, "slo": slo, "electricity": electricity})


def bench(url: str, kind: str = "serve", *, progress: bool = False, **flags: Flag) -> CommandAnswer:
    """Measures a running OpenAI-compatible server: the result file of `vllm bench serve` as an answer.

    `url`: its address. `kind`: serve, throughput, latency or sweep. `flags`: those of `capsim bench KIND --help`, as
    `num_prompts=100, max_concurrency=8, model="qwen3-8b"`; latencies are in milliseconds. `progress`: shown on standard error.

    Raises `CapsimError` with the text of the command line.
    """
    return CommandAnswer(_run(["bench", kind, f"--base-url={url}", "--json", *_words(flags)], not progress))


def calibrate(output: Path, *, progress: bool = True, **flags: Flag) -> DeviceProfile:
    """Measures this machine's device and writes its profile into the folder `output`.

    `flags`: those of `capsim calibrate --help`, as `backend="cpu", quick=True` (20 seconds at most). `progress`: shown on standard
    error.

    Raises `CapsimError` with the text of the command line.
    """
    _run(["calibrate", f"--output={os.fspath(output)}", *_words(flags)], not progress)
    return DeviceProfile(output)


def explain(source: Path, **flags: Flag) -> CommandAnswer:
    """What a server's log tells, or what recorded runs reveal of their settings.

    `source`: a log of vLLM, SGLang or llama-server, or recorded runs (docs/formats.md). `flags`: those of `capsim explain --help`.

    Raises `CapsimError` with the text of the command line.
    """
    return CommandAnswer(_run(["explain", _path(source), "--json", *_words(flags)]))


def trace(file: Path, **flags: Flag) -> CommandAnswer:
    """Figures of a recorded trace: requests, rate per second, burstiness, lengths in tokens, ideal prefix-cache hits.

    `flags`: those of `capsim trace stats --help`, as `trace_format="azure"`.

    Raises `CapsimError` with the text of the command line.
    """
    return CommandAnswer(_run(["trace", "stats", _path(file), "--json", *_words(flags)]))


def import_(kind: str, source: Path, output: Path, **flags: Flag) -> DeviceProfile:
    """A device profile from other people's measurements, written to the file `output`.

    `kind`: llmservingsim, aiconfigurator, vidur, llama-bench, test-backend-ops or calibration. `flags`: those of
    `capsim import KIND --help`, as `gpu="…", source="…"`.

    Raises `CapsimError` with the text of the command line.
    """
    _run(["import", kind, _path(source), f"--output={os.fspath(output)}", *_words(flags)])
    return DeviceProfile(output)


def report(*results: Union[Answer, Path], output: Path = "report.html", **flags: Flag) -> str:
    """One HTML page of answers and of files that capsim wrote; its path.

    `flags`: those of `capsim report --help`, as `title="…", slo="ttft.p95<2s"`.

    Raises `CapsimError` with the text of the command line.
    """
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for i, result in enumerate(results):
            if not isinstance(result, Answer):
                names.append(_path(result))
                continue
            names.append(os.path.join(folder, f"{i}-{type(result).__name__.lower()}.json"))
            with open(names[-1], "w", encoding="utf-8") as f:
                f.write(result.to_json())
        _run(["report", *names, f"--output={os.fspath(output)}", *_words(flags)])
    return os.fspath(output)


def models(filter: Optional[str] = None) -> List[Dict[str, Any]]:
    """The models that ship, with their figures: parameters, bytes of the weights, bytes of KV cache per token."""
    words = ["models", "--json", *([] if filter is None else [filter])]
    found: List[Dict[str, Any]] = json.loads(_run(words))["models"]
    return found


def devices(*, here: bool = False, **flags: Flag) -> List[Dict[str, Any]]:
    """The devices that ship, by their ids, with what their profiles rest on; `here`: the devices of this machine instead.

    `flags`: those of `capsim devices --help`, with `here`.
    """
    words = ["devices", "--json", *_words(flags)] if here else ["models", "--json"]
    found: List[Dict[str, Any]] = json.loads(_run(words))["devices"]
    return found


def _path(path: Path) -> str:
    """A path that no flag looks like."""
    name = os.fspath(path)
    return f"./{name}" if name.startswith("-") else name
