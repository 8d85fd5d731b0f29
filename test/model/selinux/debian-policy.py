"""Writes the file_contexts that Debian's selinux-policy-default makes when it is installed.

    debian-policy.py PACKAGE.deb DIR

The package has policy modules; each holds lines of file_contexts. Installing them sorts the lines, so that those without
special characters, and then those with long fixed beginnings, come last; lines about home directories go to a file of their own.
"""
import bz2
import io
import os
import re
import struct
import subprocess
import sys
import tarfile

PACKAGE_MAGIC, CONTEXTS_MAGIC = 0xF97CFF8F, 0xF97CFF90
META = re.compile(r"(?<!\\)[.^$?*+|\[({]")
HOME = {"HOME_DIR": "/home/[^/]+", "HOME_ROOT": "/home", "%{USERID}": "[0-9]+", "%{USERNAME}": "[^/]+", "ROLE": "user"}


def contexts(module):
    magic, _, sections = struct.unpack_from("<III", module)
    assert magic == PACKAGE_MAGIC
    offsets = [*struct.unpack_from(f"<{sections}I", module, 12), len(module)]
    for start, end in zip(offsets, offsets[1:]):
        if struct.unpack_from("<I", module, start)[0] == CONTEXTS_MAGIC:
            return module[start + 4 : end].decode().splitlines()
    return []


def order(line):
    regex, *rest = line.split()
    special = META.search(regex)
    return (special is None, special.start() if special else 0, len(regex), len(rest) > 1)


def main(package, directory):
    os.makedirs(directory, exist_ok=True)
    data = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, stdout=subprocess.PIPE).stdout
    lines, subs = [], b""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in sorted(tar, key=lambda member: member.name):
            if member.name.endswith(".pp.bz2"):
                lines += contexts(bz2.decompress(tar.extractfile(member).read()))
            elif member.name.endswith("/contexts/files/file_contexts.subs_dist"):
                subs = tar.extractfile(member).read()
    lines = [line for line in lines if line.split() and not line.startswith("#")]
    home = [line for line in lines if any(name in line for name in HOME)]
    for name, template in {**HOME}.items():
        home = [line.replace(name, template) for line in home]
    general = set(line for line in lines if not any(name in line for name in HOME))
    for name, content in (("file_contexts", general), ("file_contexts.homedirs", set(home))):
        with open(os.path.join(directory, name), "w") as file:
            file.writelines(line + "\n" for line in sorted(sorted(content), key=order))
    with open(os.path.join(directory, "file_contexts.subs_dist"), "wb") as file:
        file.write(subs)


main(*sys.argv[1:])
