#!/usr/bin/env python3
"""Writes the licences of every Rust crate that edgebench is linked from, and of the C library behind a static program.

    crate_notices.py TARGET FILE

Reads what cargo resolved for the target (build and test dependencies left out) and the licence files in each crate's source.
A text that several crates share is written once. A crate without a licence file is listed with its licence expression.
"""

import json
import pathlib
import subprocess
import sys

NAMES = ("licen", "copying", "notice", "copyright", "unlicense")
# Linked into the static program; Debian, Fedora and others keep its terms in one of these.
LIBC = ("/usr/share/doc/libc6-dev/copyright", "/usr/share/doc/libc6/copyright", "/usr/share/licenses/glibc/LICENSES")


def linked(metadata):
    """Ids of the packages that end up in the programs."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    seen, open_ = {root}, [root]
    macros = {package["id"] for package in metadata["packages"]
              if any("proc-macro" in target["kind"] for target in package["targets"])}
    while open_:
        for dependency in nodes[open_.pop()]["deps"]:
            normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if normal and dependency["pkg"] not in seen | macros:
                seen.add(dependency["pkg"])
                open_.append(dependency["pkg"])
    return seen - {root}


def main(target, out):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    wanted = linked(metadata)
    texts, bare, listed = {}, [], []
    for package in sorted(metadata["packages"], key=lambda package: package["name"]):
        if package["id"] not in wanted:
            continue
        name = f"{package['name']} {package['version']}"
        listed.append(f"{name}: {package['license'] or 'see its licence file'}")
        folder = pathlib.Path(package["manifest_path"]).parent
        files = [path for path in folder.rglob("*") if path.is_file() and path.name.lower().startswith(NAMES)
                 and path.suffix.lower() in ("", ".txt", ".md", ".mit", ".apache", ".bsd")]
        for path in sorted(files):
            texts.setdefault(path.read_text(errors="replace").strip(), []).append(f"{name} ({path.relative_to(folder)})")
        if not files:
            bare.append(name)
    libc = next((path for path in map(pathlib.Path, LIBC) if path.exists()), None)
    parts = ["edgebench is linked from these Rust crates:", "\n".join(listed)]
    if bare:
        parts.append(f"Without a licence file in their source, under the terms named above: {', '.join(bare)}.")
    parts.append("It is linked with the Rust standard library (MIT or Apache-2.0) and the GNU C library (LGPL-2.1-or-later).")
    for text, users in texts.items():
        parts.append(f"{'-' * 80}\n{', '.join(users)}\n{'-' * 80}\n\n{text}")
    if libc:
        parts.append(f"{'-' * 80}\nGNU C library ({libc.name} of {libc.parent.name})\n{'-' * 80}\n\n{libc.read_text(errors='replace').strip()}")
    pathlib.Path(out).write_text("\n\n".join(parts) + "\n")
    print(f"{out}: {len(listed)} crates, {len(texts)} texts" + ("" if libc else ", no licence of the C library found here"))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
