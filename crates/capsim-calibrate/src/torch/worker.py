"""What `capsim calibrate --backend torch` runs under the user's Python: tensors and operators behind a pipe.

Frames on standard input and output: one line of JSON, and after it as many bytes as its `bytes` says. Whatever libraries print
goes to standard error. Nothing is written but to the folder that this file lies in, and nothing is fetched.
"""
import json
import os
import sys
import time

READY = "capsim-torch/1"


class Unsupported(Exception):
    """This device or these libraries have no such kernel."""


class Device:
    """One device of torch: its clock, its name, its graphs."""

    def __init__(self, torch, kind, index):
        self.torch, self.kind = torch, kind
        self.at = torch.device(kind) if kind in ("cpu", "mps") else torch.device(kind, index)
        self.module = None if kind == "cpu" else getattr(torch, kind)
        if self.module is not None and kind != "mps":
            self.module.set_device(self.at)

    def sync(self):
        if self.module is not None:
            self.module.synchronize()

    def event(self):
        """An event that knows the device's time; `None`: the host's clock has to do."""
        if self.kind in ("cuda", "xpu"):
            return self.module.Event(enable_timing=True)
        return None

    def graphs(self):
        return self.kind == "cuda"

    def describe(self):
        torch = self.torch
        about = {
            "name": f"{self.kind} device", "vendor": self.kind, "memory": 0, "units": 0, "clock": 0, "cache": 0,
            "software": self.kind == "cpu", "unified": self.kind in ("cpu", "mps"), "timestamps": self.event() is not None,
        }
        if self.kind in ("cuda", "xpu"):
            p = self.module.get_device_properties(self.at)
            about["name"] = p.name
            about["memory"] = int(p.total_memory)
            about["vendor"] = "Intel" if self.kind == "xpu" else "AMD" if torch.version.hip else "NVIDIA"
            about["units"] = int(getattr(p, "multi_processor_count", 0) or getattr(p, "gpu_subslice_count", 0) or 0)
            about["cache"] = int(getattr(p, "L2_cache_size", 0) or 0)
            about["clock"] = int((getattr(p, "clock_rate", 0) or 0) / 1000)
            about["unified"] = bool(getattr(p, "is_integrated", False))
            # As drivers write it: the power sensor is found by it.
            if hasattr(p, "pci_bus_id"):
                about["pci"] = f"{getattr(p, 'pci_domain_id', 0):04x}:{p.pci_bus_id:02x}:{getattr(p, 'pci_device_id', 0):02x}.0"
        if self.kind == "mps":
            about["name"], about["vendor"] = "Apple GPU", "Apple"
            about["memory"] = int(torch.mps.recommended_max_memory())
        return about

    def context_bytes(self):
        """Memory that is gone once the driver's context and the libraries' are there, beyond torch's own tensors."""
        if self.kind != "cuda":
            return None
        free, total = self.module.mem_get_info(self.at)
        return int(total - free - self.module.memory_reserved(self.at))


def version_of(name):
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def devices(torch):
    """(kind, index) of every device, the best kinds first."""
    found = [("cuda", i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        found += [("xpu", i) for i in range(torch.xpu.device_count())]
    if torch.backends.mps.is_available():
        found.append(("mps", 0))
    return found + [("cpu", 0)]


def libraries(torch):
    names = ["vllm", "flash-attn", "flashinfer-python", "sgl-kernel", "triton", "aiter"]
    known = {"torch": torch.__version__, "python": sys.version.split()[0]}
    if torch.version.cuda:
        known["cuda"] = torch.version.cuda
    if torch.version.hip:
        known["hip"] = torch.version.hip
    known.update({n: v for n in names if (v := version_of(n))})
    return known


class Session:
    """Buffers, kernels and prepared launches of one device."""

    def __init__(self, torch, kind, index):
        import operators

        self.torch = torch
        self.device = Device(torch, kind, index)
        self.tools = operators.Tools(torch, self.device)
        self.find = operators.find
        self.buffers, self.kernels = {}, {}
        self.prepared, self.captured, self.uses = {}, {}, {}

    def compile(self, m):
        self.kernels[m["id"]] = self.find(m["name"], self.tools, {k: int(v) for k, v in m["defines"]})

    def alloc(self, m):
        # Written once, so that no page fault falls into a timed launch.
        self.buffers[m["id"]] = self.torch.empty(m["size"], dtype=self.torch.uint8, device=self.device.at).zero_()
        self.device.sync()

    def free(self, m):
        self.forget(m["id"])
        self.buffers.pop(m["id"], None)

    def forget(self, buffer):
        """What was made of a buffer's old contents (packed weights, caches) is no longer true."""
        self.captured.clear()
        for key in self.uses.pop(buffer, ()):
            self.prepared.pop(key, None)

    def part(self, buffer, offset, size):
        whole = self.buffers[buffer]
        if offset + size > whole.numel():
            raise ValueError(f"bytes {offset}..{offset + size} of a buffer of {whole.numel()}")
        return whole[offset : offset + size]

    def write(self, m, data):
        self.forget(m["buffer"])
        to = self.part(m["buffer"], m["offset"], len(data))
        from_host = self.torch.frombuffer(bytearray(data), dtype=self.torch.uint8)
        begin = time.perf_counter()
        to.copy_(from_host)
        self.device.sync()
        return time.perf_counter() - begin

    def read(self, m):
        of = self.part(m["buffer"], m["offset"], m["size"])
        begin = time.perf_counter()
        host = of.cpu()
        self.device.sync()
        took = time.perf_counter() - begin
        return took, host.numpy().tobytes()

    def call(self, launch):
        key = json.dumps(launch)
        if key not in self.prepared:
            kernel, parts, numbers = launch
            self.prepared[key] = self.kernels[kernel](*[self.part(*p) for p in parts], *numbers)
            for buffer, _, _ in parts:
                self.uses.setdefault(buffer, set()).add(key)
        return self.prepared[key]

    def graph(self, m, calls):
        """The launches as one captured graph."""
        key = json.dumps(m["launches"])
        if key not in self.captured:
            module = self.device.module
            side = module.Stream()
            side.wait_stream(module.current_stream())
            with module.stream(side):
                for c in calls[:3]:
                    c()
            module.current_stream().wait_stream(side)
            graph = module.CUDAGraph()
            with module.graph(graph):
                for c in calls:
                    c()
            self.captured[key] = graph
        return self.captured[key].replay

    def run(self, m):
        calls = [self.call(launch) for launch in m["launches"]]
        if m["graph"]:
            if not self.device.graphs():
                raise Unsupported("graphs are captured on CUDA and ROCm only")
            calls = [self.graph(m, calls)]
        begin, end = self.device.event(), self.device.event()
        self.device.sync()
        start = time.perf_counter()
        if begin is not None:
            begin.record()
        for c in calls:
            c()
        if end is not None:
            end.record()
        self.device.sync()
        host = time.perf_counter() - start
        return host, begin.elapsed_time(end) / 1e3 if begin is not None else None


def hello(torch, session):
    d = session.device
    return {
        "ready": READY, "device": d.describe(), "threads": torch.get_num_threads(), "libraries": libraries(torch),
        "features": session.tools.features(), "missing": session.tools.missing, "context_bytes": d.context_bytes(),
    }


def serve(torch, kind, index, out):
    def say(message, payload=b""):
        out.write(json.dumps({**message, "bytes": len(payload)}).encode() + b"\n" + payload)
        out.flush()

    try:
        session = Session(torch, kind, index)
        say(hello(torch, session))
    except Exception as e:
        say({"error": f"{type(e).__name__}: {e}", "kind": "unavailable"})
        return
    while line := sys.stdin.buffer.readline():
        m = json.loads(line)
        data = sys.stdin.buffer.read(m.get("bytes", 0))
        try:
            with torch.inference_mode():
                match m["op"]:
                    case "write":
                        say({"host": session.write(m, data)})
                    case "read":
                        took, payload = session.read(m)
                        say({"host": took}, payload)
                    case "run":
                        host, device = session.run(m)
                        say({"host": host, "device": device})
                    case "compile" | "alloc" | "free" as op:
                        getattr(session, op)(m)
                        say({})
                    case other:
                        say({"error": f"no request `{other}`", "kind": "device"})
        except Unsupported as e:
            say({"error": str(e), "kind": "unsupported"})
        except Exception as e:
            words = (str(e).strip().splitlines() or [""])[0]
            memory = isinstance(e, (MemoryError, getattr(torch, "OutOfMemoryError", MemoryError)))
            say({"error": f"{type(e).__name__}: {words}"[:400], "kind": "memory" if memory else "device"})


def main():
    # The pipe is ours alone: libraries print to standard error instead.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.modules["capsim_worker"] = sys.modules["__main__"]
    if sys.version_info < (3, 10):
        out.write(json.dumps({"error": f"this is Python {sys.version.split()[0]}; 3.10 or later is needed", "bytes": 0}).encode() + b"\n")
        return
    try:
        import torch
    except Exception as e:
        why = f"`import torch` fails: {type(e).__name__}: {e}"
        out.write(json.dumps({"error": why[:400], "kind": "unavailable", "bytes": 0}).encode() + b"\n")
        out.flush()
        return
    what = sys.argv[1]
    if what == "list":
        found = []
        for kind, index in devices(torch):
            d = Device(torch, kind, index)
            found.append({"device": d.describe(), "kind": kind})
        answer = {"ready": READY, "devices": found, "libraries": libraries(torch), "bytes": 0}
        out.write(json.dumps(answer).encode() + b"\n")
        out.flush()
        return
    if threads := int(sys.argv[3]):
        torch.set_num_threads(threads)
    kind, index = devices(torch)[int(sys.argv[2])]
    serve(torch, kind, index, out)


if __name__ == "__main__":
    main()
