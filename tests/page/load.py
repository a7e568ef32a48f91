"""Measure a running page under load, and its CPU and memory use without viewers.

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


async def request(server, path, scheduled):
    """Send a request on a new connection; return path, result and seconds since `scheduled`."""
    message = f"GET {path} HTTP/1.1\r\nHost: {server.netloc}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            reader, writer = await asyncio.open_connection(server.hostname, server.port or 80)
            writer.write(message.encode())
            response = await reader.read()
            writer.close()
        result = response[9:12].decode() or "empty"
    except (OSError, TimeoutError) as error:
        result = type(error).__name__
    return path, result, time.perf_counter() - scheduled


async def fire(url, rate, seconds):
    """Send requests at fixed times, even if answers are late; waiting counts as latency."""
    server, tasks = urlsplit(url), []
    started = time.perf_counter()
    for number in range(int(rate * seconds)):
        scheduled = started + number / rate
        await asyncio.sleep(scheduled - time.perf_counter())
        tasks.append(asyncio.create_task(request(server, PATHS[number % 2], scheduled)))
    return await asyncio.gather(*tasks)


def summary(path, results):
    """Return one line for a path: quantiles of the latency, and results."""
    times = sorted(seconds for requested, _, seconds in results if requested == path)
    p50, p99, worst = (times[int(share * (len(times) - 1))] * 1000 for share in (0.5, 0.99, 1))
    counts = dict(Counter(result for requested, result, _ in results if requested == path))
    # 503 is not an error: /status.json returns it while an essential service is down.
    errors = sum(number for result, number in counts.items() if result not in ("200", "503"))
    figures = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {worst:.1f} ms"
    return f"{path:<13} {len(times)} requests, {figures}, {errors} errors {counts}"


def cost(process, since):
    """Return the share of one core used since (moment, CPU seconds), and the memory."""
    used = sum(process.cpu_times()[:2])
    share = (used - since[1]) / (time.perf_counter() - since[0])
    return f"{share:.1%} of a core, {process.memory_info().rss / 2**20:.0f} MiB"


def usage(process):
    """Return the current moment and the CPU seconds of the process."""
    return time.perf_counter(), sum(process.cpu_times()[:2])


def main():
    """Measure and print; with --pid also the use of CPU and memory, first idle for a minute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument(
        "--pid", type=int, help="process id of the server, to measure its CPU and memory"
    )
    options = parser.parse_args()
    process = psutil.Process(options.pid) if options.pid else None
    if process:
        before = usage(process)
        time.sleep(IDLE_SECONDS)
        print(f"idle          {cost(process, before)}")
        before = usage(process)
    results = asyncio.run(fire(options.url, options.rate, options.seconds))
    print(*(summary(path, results) for path in PATHS), sep="\n")
    if process:
        print(f"under load    {cost(process, before)}")


if __name__ == "__main__":
    main()
