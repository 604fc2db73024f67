"""What the image has, and that it runs: its file system is laid out by hand, and the binary started in there as its user."""

import os
import shutil
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from bicep import INFRA, ROOT
from image import Image, context_of

IMAGE = Image(INFRA / "container" / "Dockerfile")


def handler():
    """A static binary to put in: SIGNET_HANDLER, or the newest that was built here; nothing where there is none."""
    named = os.environ.get("SIGNET_HANDLER")
    if named:
        return Path(named)
    built = [ROOT / "bin" / "handler", *(ROOT / "target").glob("*-linux-musl/release/handler")]
    found = [path for path in built if path.is_file() and is_static(path.read_bytes())]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def is_static(binary):
    """Whether a 64-bit ELF file asks for no interpreter (PT_INTERP, 3): the demo and the tests may leave one that does."""
    if binary[:5] != b"\x7fELF\x02":
        return False
    (headers,) = struct.unpack_from("<Q", binary, 32)
    size, count = struct.unpack_from("<HH", binary, 54)
    return all(struct.unpack_from("<I", binary, headers + size * at)[0] != 3 for at in range(count))


def test_it_is_the_binary_and_nothing_else():
    assert IMAGE.base == "scratch"
    assert IMAGE.copies == [("bin/handler", "/handler")]
    assert {instruction for instruction, _ in IMAGE.instructions} <= {
        "COMMENT", "FROM", "ARG", "LABEL", "COPY", "USER", "ENV", "EXPOSE", "ENTRYPOINT", "CMD",
    }


def test_nothing_but_the_binary_is_sent_to_whoever_builds_it():
    assert context_of(ROOT / ".dockerignore") == [source for source, _ in IMAGE.copies]


def test_nobody_in_it_is_root():
    assert (IMAGE.user, IMAGE.group) == (65532, 65532)


def test_it_pulls():
    assert IMAGE.entry_point + IMAGE.command == ["/handler", "pull"]


def test_its_health_is_asked_from_outside_at_the_port_it_names():
    assert IMAGE.environment == {"SIGNET_HEALTH": f"0.0.0.0:{port}" for port in IMAGE.ports}


def test_it_says_what_it_is():
    assert {"title", "description", "source", "licenses", "version", "revision"} == {name.rpartition(".")[2] for name in IMAGE.labels}
    assert all(name.startswith("org.opencontainers.image.") for name in IMAGE.labels)
    assert f'repository = "{IMAGE.labels["org.opencontainers.image.source"]}"' in (ROOT / "Cargo.toml").read_text()


def test_static_is_told_from_dynamic():
    assert not is_static(Path(sys.executable).resolve().read_bytes())
    assert not is_static(b"MZ")


@pytest.mark.skipif(handler() is None, reason="no static binary is here: scripts/package, or SIGNET_HANDLER")
@pytest.mark.skipif(os.geteuid() != 0 or not hasattr(os, "chroot"), reason="only root changes the root")
def test_the_binary_runs_in_its_file_system_as_its_user(tmp_path):
    context, root = tmp_path / "context", tmp_path / "root"
    for source, _ in IMAGE.copies:
        (context / source).parent.mkdir(parents=True)
        shutil.copy(handler(), context / source)
    IMAGE.lay_out(context, root)
    for directory in (root, tmp_path):
        directory.chmod(0o755)
    # It may not write anywhere in there.
    assert all(path.stat().st_uid == 0 and not path.stat().st_mode & stat.S_IWOTH for path in [root, *root.rglob("*")])

    def enter():
        os.chroot(root)
        os.chdir("/")
        # Only now, since only root may do the above.
        os.setgroups([])
        os.setgid(IMAGE.group)
        os.setuid(IMAGE.user)

    def run(*command):
        return subprocess.run(command, env=IMAGE.environment, preexec_fn=enter, capture_output=True, text=True, timeout=30, check=False)

    version = run(*IMAGE.entry_point, "--version")
    assert (version.returncode, version.stdout.split(" ")[0]) == (0, "handler"), version.stderr
    # Nothing else could be started in there.
    with pytest.raises(FileNotFoundError):
        run("/bin/sh", "-c", "true")
