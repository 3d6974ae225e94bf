"""What is measured, as data, and the taking of turns between the relay and the service."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from statistics import median
from urllib.request import Request, urlopen

import orjson
from attrs import define, evolve, field, frozen

from shared.upstream.client import through
from tests.bench.load import TIMEOUT, Job, Load
from tests.bench.processes import ROOT, Cores, Process, ProcessError, free_port
from tests.bench.script import Script
from tests.bench.sites import SITES

BUSY_MOST = 0.9
"""Share of a core that a process may need, or wait for, if each frame is to be dealt with before the next."""

STREAM_END = "data: [DONE]\n\n"

PACED = Script(frames=64, every=20)
_PERIOD = PACED.frames * PACED.every / 1000


@frozen
class Scenario:
    """One thing to measure: the figures of `Job`, and whether the processor time counts by call or by frame."""

    script: Script
    slots: int
    calls: int = 0
    ramp: float = 0.0
    window: float = 0.0
    stream: bool = True
    per_call: bool = False

    def shorter(self) -> "Scenario":
        """Give the scenario for a quick run: less of the same, with as many clients at work at once."""
        if not self.window:
            return evolve(self, calls=self.calls * 2 // 5)
        # One call that outlasts the window: it can be shorter by what the window is.
        script = evolve(self.script, frames=self.script.frames * 2 // 3) if self.calls else self.script
        return evolve(self, script=script, window=self.window / 2)


SCENARIOS = {
    "call": Scenario(Script(frames=8), slots=8, calls=250, stream=False, per_call=True),
    # The ramp is as long as one stream, so that at every moment as many begin as end.
    **{f"paced {slots}": Scenario(PACED, slots, ramp=_PERIOD, window=1.92) for slots in (32, 128, 256)},
    # Streams longer than ramp and window: no call begins or ends while these are measured.
    "frames alone": Scenario(Script(frames=128, every=20), 128, calls=1, ramp=0.64, window=1.5),
    "burst": Scenario(Script(frames=500), slots=4, calls=15),
    "at 500": Scenario(Script(frames=100, every=20, start=500), 8, calls=1, ramp=0.16, window=1.5),
    "at 50,000": Scenario(Script(frames=100, every=20, start=50_000), 8, calls=1, ramp=0.16, window=1.5),
}

BRIEF = {name: SCENARIOS[name].shorter() for name in ("call", "paced 128", "burst")}
"""What is measured of every service, to compare them."""


@define
class Figures:
    """What was measured of one process, by scenario in the order of the rounds. Memory in MB, times in seconds."""

    loads: dict[str, list[Load]] = field(factory=lambda: {name: [] for name in SCENARIOS})
    starts: list[float] = field(factory=list)
    idle: float = 0.0
    peak: float = 0.0

    def costs(self, name: str) -> list[float]:
        """Give the processor seconds of one call, or one frame, in each round."""
        per_call = SCENARIOS[name].per_call
        return [load.cpu / (load.calls if per_call else load.frames) for load in self.loads[name]]

    def firsts(self, name: str, share: float) -> list[float]:
        """Give a percentile of the seconds from a request to its first byte of text, in each round."""
        rounds = [sorted(load.firsts) for load in self.loads[name]]
        return [firsts[int(share * len(firsts))] for firsts in rounds]

    def piled_up(self, name: str) -> bool:
        """Tell whether a core was too little for frames that come at their own pace.

        Then several are taken at once, some not within the window, and the cost of one is higher than it looks.
        """
        share = median((load.cpu + load.waited) / load.elapsed for load in self.loads[name])
        return SCENARIOS[name].window > 0 and share > BUSY_MOST

    def waited(self) -> float:
        """Give the time spent waiting for the core, as a share of the time spent on it."""
        loads = [load for rounds in self.loads.values() for load in rounds]
        return sum(load.waited for load in loads) / sum(load.cpu for load in loads)


@frozen
class Contender:
    """One of the two that are compared. `end` is what ends each of its streams, beside the end of the body."""

    figures: Figures
    start: Callable[[], Process]
    end: str = ""


class Bench:
    """One run: the fake site, and both contenders."""

    def __init__(self, service: str, fake_port: int, cores: Cores) -> None:
        self.relay = Contender(Figures(), self._start_relay)
        self.service = Contender(Figures(), self._start_service, STREAM_END)
        self._name = service
        self._fake_port = fake_port
        self._gateway = f"http://127.0.0.1:{fake_port}"
        self._cores = cores

    @classmethod
    @contextmanager
    def open(cls, service: str) -> Iterator["Bench"]:
        """Start the fake site, and end it with the context, which gives this process all its cores back."""
        cores = Cores.split()
        os.sched_setaffinity(0, cores.others)
        port = free_port()
        try:
            with Process(["-m", "tests.bench.fake", service, str(port)], port, cores.others, {}):
                yield cls(service, port, cores)
        finally:
            os.sched_setaffinity(0, cores.others | cores.measured)

    def measure_starts(self, times: int) -> None:
        """Start and end each of the two so many times, for their start times and idle memory."""
        for _ in range(times):
            for contender in (self.relay, self.service):
                with contender.start() as process:
                    contender.figures.starts.append(process.start_seconds)
                    contender.figures.idle = process.megabytes("VmRSS")

    def measure_loads(self, rounds: int, scenarios: Mapping[str, Scenario], progress: Callable[[str], None]) -> None:
        """Give both the same work, in turns."""
        with ExitStack() as stack:
            running = [(each, stack.enter_context(each.start())) for each in (self.relay, self.service)]
            self._check_answer(running[1][1])
            for number in range(rounds):
                for name, scenario in scenarios.items():
                    progress(f"{self._name}, round {number + 1} of {rounds}: {name}")
                    job = self._job(scenario)
                    for contender, process in running:
                        load = _run(evolve(job, port=process.port, pid=process.pid, end=contender.end))
                        contender.figures.loads[name].append(load)
                running.reverse()
            for contender, process in running:
                contender.figures.peak = process.megabytes("VmHWM")

    def _start_relay(self) -> Process:
        port = free_port()
        url = through(self._gateway, SITES[self._name].stream_url)
        return Process(["-m", "tests.bench.relay", str(port), url], port, self._cores.measured, {})

    def _start_service(self) -> Process:
        port = free_port()
        settings = {"HOST": "127.0.0.1", "PORT": str(port), "UPSTREAM_GATEWAY": self._gateway}
        return Process(["-m", f"services.{self._name}"], port, self._cores.measured, settings)

    def _job(self, scenario: Scenario) -> Job:
        return Job(
            service=self._name,
            port=0,
            pid=0,
            fake_port=self._fake_port,
            script=scenario.script,
            slots=scenario.slots,
            stream=scenario.stream,
            calls=scenario.calls,
            ramp=scenario.ramp,
            window=scenario.window,
        )

    def _check_answer(self, process: Process) -> None:
        """Raise `ProcessError` unless the service answers with the text of the site: else no figure has a meaning."""
        script = SCENARIOS["burst"].script
        job = evolve(self._job(SCENARIOS["call"]), script=script)
        head, _, body = job.request(0).partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        url = f"http://127.0.0.1:{process.port}/v1/chat/completions"
        with urlopen(Request(url, body, headers), timeout=TIMEOUT) as response:
            answer = orjson.loads(response.read())
        if answer["choices"][0]["message"]["content"] != SITES[self._name].answer(script):
            raise ProcessError("the service's answer is not what the site sent")


def _run(job: Job) -> Load:
    command = [sys.executable, "-m", "tests.bench.load", job.write()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=TIMEOUT * 2, check=False)
    if done.returncode:
        raise ProcessError(f"the clients gave up: {done.stderr.decode().strip().splitlines()[-1]}")
    return Load(**orjson.loads(done.stdout))
