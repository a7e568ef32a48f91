"""By hand: many viewers of a running page at once, and what it costs while nobody looks.

`python -m tests.page.load http://localhost:8081 --rate 200 --seconds 20 --pid PID`
"""

import argparse
import asyncio
import time
from collections import Counter
from urllib.parse import urlsplit

import psutil

PATHS = ("/", "/status.json")
LIMIT_SECONDS = 10
IDLE_SECONDS = 60


async def ask(where, path, scheduled):
    """Ask once over a connection of its own: (path, what came of it, seconds since its time)."""
    words = f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            reader, writer = await asyncio.open_connection(where.hostname, where.port or 80)
            writer.write(words.encode())
            answer = await reader.read()
            writer.close()
        result = answer[9:12].decode() or "nothing"
    except (OSError, TimeoutError) as error:
        result = type(error).__name__
    return path, result, time.perf_counter() - scheduled


async def fire(url, rate, seconds):
    """Ask at fixed times, however late the answers are: what waits counts as latency."""
    where, tasks = urlsplit(url), []
    begun = time.perf_counter()
    for number in range(int(rate * seconds)):
        scheduled = begun + number / rate
        await asyncio.sleep(scheduled - time.perf_counter())
        tasks.append(asyncio.create_task(ask(where, PATHS[number % 2], scheduled)))
    return await asyncio.gather(*tasks)


def told(path, results):
    """One line for a path: quantiles of the latency, and what came of it."""
    mine = sorted(seconds for asked, _, seconds in results if asked == path)
    p50, p99, worst = (mine[int(share * (len(mine) - 1))] * 1000 for share in (0.5, 0.99, 1))
    counts = dict(Counter(result for asked, result, _ in results if asked == path))
    # 503 is an answer too: /status.json gives it while an essential service is down.
    errors = sum(number for result, number in counts.items() if result not in ("200", "503"))
    figures = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {worst:.1f} ms"
    return f"{path:<13} {len(mine)} asked, {figures}, {errors} errors {counts}"


def cost(process, since):
    """Share of one processor since (moment, seconds used), and memory."""
    used = sum(process.cpu_times()[:2])
    share = (used - since[1]) / (time.perf_counter() - since[0])
    return f"{share:.1%} of a processor, {process.memory_info().rss / 2**20:.0f} MiB"


def now(process):
    """A moment, and what the process has used until then."""
    return time.perf_counter(), sum(process.cpu_times()[:2])


def main():
    """Fire, tell; with --pid the costs as well, and those of a minute without viewers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--pid", type=int, help="of the server, to tell its costs")
    asked = parser.parse_args()
    process = psutil.Process(asked.pid) if asked.pid else None
    if process:
        before = now(process)
        time.sleep(IDLE_SECONDS)
        print(f"idle          {cost(process, before)}")
        before = now(process)
    results = asyncio.run(fire(asked.url, asked.rate, asked.seconds))
    print(*(told(path, results) for path in PATHS), sep="\n")
    if process:
        print(f"under load    {cost(process, before)}")


if __name__ == "__main__":
    main()
