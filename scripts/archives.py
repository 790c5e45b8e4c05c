"""Packs and checks the archives of a release. scripts/release.sh calls it.

archives.py pack DIRECTORY FILE    packs a directory as FILE, .tar.gz or .zip. The names, the contents, the executable bits and
                                   SOURCE_DATE_EPOCH determine every byte: sorted, owner 0, modes 755 and 644.
archives.py check FILE [TARGET]    checks what users of the archive rely on: the documents, their links to each other, the manual
                                   pages and completions; with a target, also the names by which `cargo binstall` finds the programs.
"""

import gzip
import io
import os
import pathlib
import posixpath
import re
import sys
import tarfile
import time
import tomllib
import zipfile


def pack(directory, file):
    """Packs a directory under its own name."""
    parent = pathlib.Path(directory).resolve().parent
    paths = sorted(path for path in pathlib.Path(directory).resolve().rglob("*") if path.is_file())
    entries = [(str(path.relative_to(parent)), path.read_bytes(), 0o755 if os.access(path, os.X_OK) else 0o644) for path in paths]
    seconds = int(os.environ["SOURCE_DATE_EPOCH"])
    if file.endswith(".zip"):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, content, mode in entries:
                entry = zipfile.ZipInfo(name, time.gmtime(seconds)[:6])
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.create_system = 3  # Unix, whose modes external_attr has
                entry.external_attr = (0o100000 | mode) << 16
                archive.writestr(entry, content)
        return
    with open(file, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as compressed:
        with tarfile.open(fileobj=compressed, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name, content, mode in entries:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode, entry.mtime = len(content), mode, seconds
                archive.addfile(entry, io.BytesIO(content))


def read(file):
    """Returns the content and the mode of each entry, by name."""
    if file.endswith(".zip"):
        with zipfile.ZipFile(file) as archive:
            return {entry.filename: (archive.read(entry), entry.external_attr >> 16) for entry in archive.infolist()}
    with tarfile.open(file) as archive:
        return {entry.name: (archive.extractfile(entry).read(), entry.mode) for entry in archive}


def faults(file, target):
    """Yields what is wrong with an archive."""
    entries = read(file)
    base = os.path.basename(file)
    name = base.removesuffix(".zip").removesuffix(".tar.gz")
    if outside := [entry for entry in entries if not entry.startswith(f"{name}/")]:
        yield f"outside of {name}/: {outside}"

    needed = ["README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "INSTALL.txt", "docs/server.md", "docs/client.md"]
    for program in ["mapcast-server", "mapcast-client"]:
        needed += [f"man/{program}.1", f"completions/{program}.bash", f"completions/{program}.fish", f"completions/_{program}"]
    yield from (f"lacks {one}" for one in needed if f"{name}/{one}" not in entries)

    for page in [entry for entry in entries if entry.endswith(".md")]:
        for link in re.findall(r"\]\(([^)#\s]+)", entries[page][0].decode()):
            if "://" not in link and posixpath.normpath(posixpath.join(posixpath.dirname(page), link)) not in entries:
                yield f"{page} links to {link}, which is not in the archive"

    if not target:
        return
    with open("Cargo.toml", "rb") as manifest:
        manifest = tomllib.load(manifest)
    package = manifest["package"]
    windows = "windows" in target
    install = package["metadata"]["binstall"]
    if windows:
        install = install | install["overrides"]["cfg(windows)"]
    facts = {"version": package["version"], "target": target, "binary-ext": ".exe" if windows else "", "repo": ""}

    def fill(template, **more):
        return re.sub(r"\{ *([a-z-]+) *\}", lambda found: (facts | more)[found[1]], template)

    if (wanted := posixpath.basename(fill(install["pkg-url"]))) != base:
        yield f"cargo binstall would download {wanted}"
    if {"tgz": ".tar.gz", "zip": ".zip"}[install["pkg-fmt"]] != base.removeprefix(name):
        yield f"cargo binstall would unpack it as {install['pkg-fmt']}"
    for program in manifest["bin"]:
        wanted = fill(install["bin-dir"], bin=program["name"])
        if wanted not in entries:
            yield f"cargo binstall would install {wanted}, which is not in the archive"
        elif not entries[wanted][1] & 0o100:
            yield f"{wanted} is not executable"


if sys.argv[1] == "pack":
    pack(*sys.argv[2:4])
else:
    found = list(faults(sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None))
    for fault in found:
        print(f"{os.path.basename(sys.argv[2])}: {fault}", file=sys.stderr)
    sys.exit(bool(found))
