"""Functions in workers: what strangers' bytes do there harms nobody else. Real processes, and real bombs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from sluiceway import metrics
from sluiceway.errors import Unavailable
from sluiceway.isolation import Crashed, Workers

from .conftest import until

ROOT = Path(__file__).parents[2]
MODULE = "tests.isolated.parsing"
MiB = 1024 * 1024
LONG_S = 30.0
"""Where the clock is not what is tested."""
SHORT_S = 1.0


class House(Workers):
    """Workers that know where the functions are."""

    async def do(self, function: str, *arguments: str | int | bytes) -> object:
        return msgspec.json.decode(await self.call(f"{MODULE}:{function}", *arguments))

    async def crash(self, function: str, *arguments: str | int | bytes) -> tuple[str, str]:
        with pytest.raises(Crashed) as caught:
            await self.do(function, *arguments)
        return caught.value.why, caught.value.what


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker imports what its parent can."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
async def one() -> AsyncIterator[House]:
    """One worker that has time."""
    house = House(1, LONG_S)
    yield house
    await house.close()


@pytest.fixture
async def hasty() -> AsyncIterator[House]:
    """One worker that has little time."""
    house = House(1, SHORT_S)
    yield house
    await house.close()


@pytest.fixture
async def four() -> AsyncIterator[House]:
    """Four workers that have time."""
    house = House(4, LONG_S)
    yield house
    await house.close()


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be counted does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def start_parent(folder: Path, seconds: int = 60) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-m", "tests.isolated.parent", str(folder), str(seconds)]
    return subprocess.Popen(arguments, cwd=ROOT)


async def pid_in(file: Path) -> int:
    await until(file.exists, f"{file.name} says who it is")
    return int(file.read_text())  # noqa: ASYNC240  # it is small


class TestACall:
    async def test_returns_what_the_function_returns_as_json(self, one: House) -> None:
        assert await one.call(f"{MODULE}:found", "ä", b"b", 3) == '{"words":"äb","size":3,"when":null}'.encode()

    async def test_is_served_by_the_process_that_served_the_last(self, one: House) -> None:
        pids = {await one.do("pid") for _ in range(20)}
        assert len(pids) == 1
        assert pids != {os.getpid()}

    async def test_runs_beside_others(self, four: House) -> None:
        pids = await asyncio.gather(*(four.do("briefly", 300) for _ in range(4)))
        assert len(set(map(str, pids))) == 4

    async def test_starts_no_process_before_it_is_made(self, four: House) -> None:
        assert four.pids == []
        await four.do("pid")
        assert len(four.pids) == 1

    async def test_is_served_by_a_fresh_process_after_so_many(self) -> None:
        house = House(1, LONG_S, calls=3)
        pids = [await house.do("pid") for _ in range(7)]
        await house.close()
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]

    async def test_of_a_function_that_is_not_there_was_not_tried(self, one: House) -> None:
        for function in ("tests.isolated.nowhere:parse", f"{MODULE}:nothing"):
            with pytest.raises(Unavailable, match=r"can't be loaded: (ModuleNotFound|Attribute)Error"):
                await one.call(function)
        assert await one.do("found", "a", b"b", 1)

    async def test_with_large_arguments_is_refused(self, one: House) -> None:
        with pytest.raises(ValueError, match="put them into a file"):
            await one.do("found", "", b"x" * MiB, 1)

    async def test_that_is_cancelled_ends_its_process_and_the_next_is_served(self, one: House, tmp_path: Path) -> None:
        call = asyncio.create_task(one.do("slowly", str(tmp_path / "pid")))
        pid = await pid_in(tmp_path / "pid")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await one.do("pid") != pid
        assert not alive(pid)

    async def test_is_counted_by_what_became_of_it(self, hasty: House) -> None:
        def count(outcome: str) -> float:
            return float(metrics.isolated.labels(outcome)._value.get())

        before = {outcome: count(outcome) for outcome in ("ok", "time", "error", "ended", "unavailable")}
        await hasty.do("pid")
        await hasty.crash("spinning")
        await hasty.crash("raising", "")
        await hasty.crash("ending", 0)
        with pytest.raises(Unavailable):
            await hasty.do("nothing")
        assert {outcome: count(outcome) - was for outcome, was in before.items()} == dict.fromkeys(before, 1.0)


class TestABomb:
    @pytest.mark.parametrize("function", ["spinning", "stopping", "nesting"])
    async def test_that_takes_too_long_is_ended_by_the_clock(self, hasty: House, function: str) -> None:
        assert await hasty.crash(function) == ("time", "")
        assert await hasty.do("pid")

    async def test_that_takes_the_processor_too_long_is_ended_before_its_time_is_over(self) -> None:
        house = House(1, LONG_S, cpu_seconds=1)
        assert await house.crash("spinning") == ("time", "")
        assert await house.do("briefly", 10)
        await house.close()

    async def test_that_takes_too_long_in_c_code_is_ended_too(self, hasty: House, tmp_path: Path) -> None:
        assert await hasty.crash("backtracking", str(tmp_path / "pid")) == ("time", "")
        assert await hasty.do("pid")
        assert not alive(await pid_in(tmp_path / "pid"))

    @pytest.mark.parametrize("function", ["hoarding", "crumbs", "multiplying"])
    async def test_that_takes_memory_gets_no_more_than_there_is(self, one: House, function: str) -> None:
        assert await one.crash(function) == ("memory", "")
        assert await one.do("pid")

    @pytest.mark.parametrize("function", ["mapping", "hoarding_amid_others"])
    async def test_that_takes_memory_in_other_ways_gets_no_more_either(self, one: House, function: str) -> None:
        assert (await one.crash(function))[0] in ("error", "memory", "ended")
        assert await one.do("pid")

    async def test_is_never_larger_than_it_may_be(self, one: House) -> None:
        most = await one.do("most_resident")
        assert isinstance(most, int)
        assert 200 * MiB < most <= 256 * MiB

    async def test_leaves_the_next_call_all_the_memory(self, one: House) -> None:
        pid = await one.do("pid")
        assert await one.do("leaving", 60) == pid
        assert await one.do("leaving", 60) == pid, "the last before there is less than half"
        assert await one.do("leaving", 150) != pid

    async def test_of_recursion_is_an_error(self, one: House) -> None:
        assert await one.crash("descending") == ("error", "RecursionError")
        assert (await one.crash("deep_result"))[0] == "error"
        assert await one.do("pid")

    async def test_of_parts_within_parts_is_an_error(self, one: House) -> None:
        assert await one.crash("nested_parts", 3000) == ("error", "RecursionError")

    async def test_of_encoded_words_is_ended_by_one_limit_or_the_other(self, hasty: House) -> None:
        assert await hasty.crash("encoded_words", 20_000) in (("time", ""), ("memory", ""))

    @pytest.mark.parametrize(
        ("function", "signal_name"), [("segfaulting", "SIGSEGV"), ("aborting", "SIGABRT"), ("overflowing", "SIGSEGV")]
    )
    async def test_that_breaks_the_process_says_by_which_signal(
        self, one: House, function: str, signal_name: str
    ) -> None:
        pid = await one.do("pid")
        assert await one.crash(function) == ("ended", signal_name)
        assert await one.do("pid") != pid

    @pytest.mark.parametrize("code", [0, 1])
    async def test_that_exits_ends_only_its_call(self, one: House, code: int) -> None:
        assert await one.crash("ending", code) == ("ended", "")
        assert await one.do("pid")

    async def test_that_asks_for_an_exit_does_not_get_it(self, one: House) -> None:
        pid = await one.do("pid")
        assert await one.crash("leaving_the_house") == ("error", "SystemExit")
        assert await one.do("pid") == pid

    async def test_that_prints_is_not_heard(self, one: House, capfd: pytest.CaptureFixture[str]) -> None:
        assert await one.do("printing") == "printed"
        assert await one.do("found", "a", b"b", 1) == {"words": "ab", "size": 1, "when": None}
        assert capfd.readouterr() == ("", "")

    async def test_of_a_huge_result_is_an_error(self, one: House) -> None:
        assert await one.crash("huge", 8) == ("error", "ResultTooLarge")
        assert len(str(await one.do("huge", 7))) == 7 * MiB

    async def test_of_a_result_that_is_no_text_is_an_error(self, one: House) -> None:
        assert await one.crash("unspeakable") == ("error", "UnicodeEncodeError")

    async def test_tells_only_the_name_of_its_exception(self, one: House) -> None:
        assert await one.crash("raising", "a customer's words") == ("error", "ValueError")
        assert await one.crash("raising_oddly") == ("error", "")

    @pytest.mark.parametrize(
        "frame",
        [
            b"\xff\xff\xff\xff",
            b"\x00\x00\x00\x01\xc1",
            b"\x00\x00\x00\x02\x91\xa0",
            b"\x00\x00\x00\x04\x91\xa2no",
            b"HTTP/1.1 200 OK",
        ],
    )
    async def test_that_answers_in_other_words_is_ended(self, one: House, frame: bytes) -> None:
        assert (await one.crash("write_where_answers_go", frame))[0] == "ended"
        assert await one.do("pid")

    async def test_that_hangs_up_is_ended(self, one: House) -> None:
        assert (await one.crash("close_where_answers_go"))[0] == "ended"
        assert await one.do("pid")

    async def test_that_speaks_between_two_calls_harms_no_other(self, one: House, tmp_path: Path) -> None:
        frame = b"\x00\x00\x00\x05\x93\xa2ok\xc4"
        pid = await one.do("later_write_where_answers_go", frame, str(tmp_path / "pid"))
        assert await pid_in(tmp_path / "pid") == pid
        assert await one.do("pid") != pid

    async def test_that_starts_a_process_takes_it_along(self, hasty: House, tmp_path: Path) -> None:
        assert await hasty.crash("having_a_child", str(tmp_path / "pid")) == ("time", "")
        child = await pid_in(tmp_path / "pid")
        await until(lambda: not alive(child), "the child is gone")

    async def test_that_writes_a_large_file_is_an_error(self, one: House, tmp_path: Path) -> None:
        assert await one.do("writing", str(tmp_path), 25) == 25 * MiB
        assert (await one.crash("writing", str(tmp_path), 100))[0] == "error"
        assert (tmp_path / "1").stat().st_size <= 64 * MiB

    async def test_that_opens_files_gets_few(self, one: House) -> None:
        assert await one.crash("opening", 100) == ("error", "OSError")
        assert await one.do("found", "a", b"b", 1)


class TestOthers:
    async def test_are_served_while_bombs_go_off(self) -> None:
        house = House(4)
        bombs = ["spinning", "hoarding", "segfaulting", "nesting", "descending", "crumbs"]
        crashes = [asyncio.create_task(house.crash(bomb)) for bomb in bombs]
        served = [asyncio.create_task(house.do("found", "a", b"b", n)) for n in range(40)]
        assert [answer["size"] for answer in await asyncio.gather(*served) if isinstance(answer, dict)] == [*range(40)]
        assert {why for why, _ in await asyncio.gather(*crashes)} <= {"time", "memory", "error", "ended"}
        assert len(house.pids) <= 4
        await house.close()

    async def test_wait_in_order_where_all_are_busy(self, one: House) -> None:
        order: list[int] = []

        async def ask(number: int) -> None:
            await one.do("found", "a", b"b", number)
            order.append(number)

        await asyncio.gather(*map(ask, range(20)))
        assert order == [*range(20)]

    async def test_are_refused_where_too_many_wait(self) -> None:
        house = House(1, LONG_S, waiting=2)
        calls = [asyncio.create_task(house.do("briefly", 300)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="2 calls wait"):
            await house.do("pid")
        assert len(set(map(str, await asyncio.gather(*calls)))) == 1
        await house.close()

    async def test_who_give_up_waiting_keep_no_place(self) -> None:
        house = House(1, LONG_S, waiting=1)
        served = asyncio.create_task(house.do("briefly", 300))
        for _ in range(3):
            await asyncio.sleep(0)
            waits = asyncio.create_task(house.do("pid"))
            await asyncio.sleep(0)
            waits.cancel()
            await asyncio.wait([waits])
        await served
        assert await house.do("pid")
        await house.close()


class TestAWorker:
    async def test_that_is_killed_while_busy_ends_its_call(self, one: House, tmp_path: Path) -> None:
        call = asyncio.create_task(one.crash("slowly", str(tmp_path / "pid")))
        os.kill(await pid_in(tmp_path / "pid"), signal.SIGKILL)
        assert await call == ("ended", "SIGKILL")
        assert await one.do("pid")

    async def test_that_is_killed_while_idle_harms_no_call(self, one: House) -> None:
        pid = await one.do("pid")
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not alive(pid), "it is gone")
        assert await one.do("pid") != pid

    async def test_that_crashed_is_replaced_before_anybody_asks(self, one: House) -> None:
        await one.do("pid")
        (pid,) = one.pids
        await one.crash("segfaulting")
        await until(lambda: one.pids not in ([], [pid]), "there is another")

    async def test_that_is_idle_for_long_is_ended_but_the_last(self) -> None:
        house = House(4, LONG_S, idle_s=0.5)
        await asyncio.gather(*(house.do("briefly", 300) for _ in range(4)))
        pids = house.pids
        await until(lambda: len(house.pids) == 1, "one is left")
        await until(lambda: sum(map(alive, pids)) == 1, "the others are gone")
        assert await house.do("pid") in pids
        await house.close()

    async def test_sees_nothing_of_its_parents_environment(self, one: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TWILIO_TOKEN", "0123456789abcdef")
        names = await one.do("environment")
        assert isinstance(names, dict)
        assert set(names) <= {"PATH", "LANG", "LC_CTYPE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "MALLOC_ARENA_MAX"}
        assert "0123456789abcdef" not in str(await one.do("real_environment"))

    async def test_goes_after_its_parent_in_whose_session_it_is(self, one: House) -> None:
        pid = await one.do("pid")
        assert isinstance(pid, int)
        assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
        assert (os.getpgid(pid), os.getsid(pid)) == (pid, os.getsid(0))

    async def test_has_none_of_its_parents_files_open(self, one: House, tmp_path: Path) -> None:
        with (tmp_path / "secret").open("w") as file:
            os.set_inheritable(file.fileno(), True)
            numbers = await one.do("open_files")
        assert isinstance(numbers, list)
        assert numbers[:3] == [0, 1, 2]
        assert len(numbers) == 4, "and where it answers"

    async def test_imports_nothing_from_where_its_parent_happens_to_be(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend("")
        (tmp_path / "msgspec.py").write_text("raise SystemExit")
        house = House(1, LONG_S)
        paths = await house.do("paths")
        assert isinstance(paths, list)
        assert all(Path(path).is_absolute() for path in paths)
        await house.close()


class TestTheEnd:
    async def test_ends_who_is_idle(self, four: House) -> None:
        await asyncio.gather(*(four.do("briefly", 200) for _ in range(4)))
        pids = four.pids
        await four.close()
        assert len(pids) == 4
        assert not any(map(alive, pids))
        assert four.pids == []

    async def test_ends_who_is_busy_and_tells_who_waits_that_nothing_was_wrong_with_their_bytes(
        self, tmp_path: Path
    ) -> None:
        house = House(1, LONG_S)
        calls = [asyncio.create_task(house.do("slowly", str(tmp_path / "pid"))) for _ in range(3)]
        pid = await pid_in(tmp_path / "pid")
        await house.close()
        assert not alive(pid)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable] * 3

    async def test_ends_who_is_only_starting(self) -> None:
        house = House(2, LONG_S)
        calls = [asyncio.create_task(house.do("pid")) for _ in range(4)]
        await until(lambda: len(house.pids) == 2, "two start")
        pids = house.pids
        await house.close()
        assert not any(map(alive, pids))
        assert {type(result) for result in await asyncio.gather(*calls, return_exceptions=True)} == {Unavailable}

    async def test_is_the_end_and_may_come_twice_or_before_the_beginning(self) -> None:
        house = House(2)
        await house.close()
        await house.close()
        with pytest.raises(Unavailable, match="closed"):
            await house.do("pid")
        assert house.pids == []

    async def test_no_worker_outlives_a_parent_that_was_killed(self, tmp_path: Path) -> None:
        parent = start_parent(tmp_path)
        try:
            pids = [await pid_in(tmp_path / name) for name in ("slowly", "backtracking", "ignoring_signals", "tell")]
            assert len(set(pids)) == 4
            assert all(map(alive, pids))
        finally:
            parent.kill()
            parent.wait()
        await until(lambda: not any(map(alive, pids)), "all are gone")

    async def test_no_worker_goes_on_where_its_parent_stands_still(self, tmp_path: Path) -> None:
        parent = start_parent(tmp_path, seconds=2)
        try:
            pids = [await pid_in(tmp_path / name) for name in ("slowly", "backtracking", "ignoring_signals")]
            parent.send_signal(signal.SIGSTOP)
            await until(lambda: not any(map(alive, pids)), "all are gone")
        finally:
            parent.kill()
            parent.wait()
