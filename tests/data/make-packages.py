#!/usr/bin/env python3
"""Turn a Debian package index into records for tests and benchmarks.

Reads a `Packages` index, plain or compressed with gzip or xz, and
writes one JSON object a line, sorted by name. Standard library only.

Owns: the parsing of the index, the choice of packages, the form of the data.
Never: fetches anything, invents or corrects a value, depends on the clock,
the locale or the order of the index.

Invariants:
1. The same set of stanzas gives the same bytes, in whatever order they come.
2. A name occurs once. Of several versions the highest is kept.
3. With --limit-bytes the output is never longer than the limit.
4. With --limit-bytes a chosen package brings the packages that it depends on,
   and theirs in turn. A reference that stays open is to a virtual package, or
   to one that the index does not hold.

Fields of a record:
  name            string   Package
  version         string   Version
  section         string   Section
  maintainer      string   Maintainer, unmodified
  size            integer  Size of the package file, in bytes
  installed_size  integer  Installed-Size, in KiB; null where the index has none
  description     string   first line of Description
  depends         array    package names of Pre-Depends, then of Depends.
                           Version constraints and architecture qualifiers are
                           dropped, of alternatives the first is taken, a name
                           that came before is left out.

How --limit-bytes chooses: packages are offered in this order,
  1. the base system: those that are essential, or whose priority is required,
     important or standard, by name;
  2. the --hubs packages that most others depend on, ties by name;
  3. all others, by the SHA-256 of their name.
Each is offered together with every package that it needs, directly or not,
and that has not been chosen yet. The group is taken if it fits into what is
left of the limit, and is passed over if it does not.
"""

import argparse
import csv
import gzip
import hashlib
import io
import json
import lzma
import re
import sys
import zlib
from collections import Counter
from functools import cmp_to_key

EXAMPLES = """\
examples:
  # a sample of at most two million bytes, dependencies included
  make-packages.py --limit-bytes 2000000 -o packages.jsonl Packages.xz

  # every package of the index
  make-packages.py --all -o packages-full.jsonl Packages.gz

  # a table of the sections: name, packages, bytes
  make-packages.py --sections -o sections.csv Packages

  # the index that apt keeps on a Debian machine, through standard input
  /usr/lib/apt/apt-helper cat-file \\
      /var/lib/apt/lists/*_dists_bookworm_main_binary-amd64_Packages* |
      make-packages.py --all -o packages-full.jsonl -

A summary (counts, bytes, checksums) goes to standard error.
"""

BASE_PRIORITIES = ("required", "important", "standard")
REQUIRED_FIELDS = ("Package", "Version", "Size")
WANTED_FIELDS = frozenset(
    (
        "Package",
        "Version",
        "Section",
        "Maintainer",
        "Size",
        "Installed-Size",
        "Description",
        "Depends",
        "Pre-Depends",
        "Priority",
        "Essential",
    )
)
DIGITS = "0123456789"
LZ4_MAGIC = b"\x04\x22\x4d\x18"
DECOMPRESSORS = (
    (b"\x1f\x8b", gzip.decompress),
    (b"\xfd7zXZ\x00", lzma.decompress),
)


class BadIndex(Exception):
    """The index cannot be read as one; the message says where and why."""


READ_ERRORS = (
    BadIndex,
    OSError,
    EOFError,
    UnicodeDecodeError,
    lzma.LZMAError,
    zlib.error,
)


# Reading


def read_index(path):
    """The bytes of the index, decompressed by what they are, not by suffix."""
    if path == "-":
        raw = sys.stdin.buffer.read()
    else:
        with open(path, "rb") as file:
            raw = file.read()
    for magic, decompress in DECOMPRESSORS:
        if raw.startswith(magic):
            return decompress(raw)
    if raw.startswith(LZ4_MAGIC):
        raise BadIndex(
            "the index is compressed with lz4: pipe it through "
            "'/usr/lib/apt/apt-helper cat-file FILE' and pass '-'"
        )
    return raw


def stanzas(text):
    """Yield (line number, fields) for each stanza, wanted fields only."""
    fields, start, current = {}, 1, None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            if fields:
                yield start, fields
            fields, current = {}, None
        elif line[0] in " \t":
            # A folded field goes on; of a description only the first line counts.
            if current in ("Depends", "Pre-Depends"):
                fields[current] += " " + line.strip()
        else:
            key, colon, value = line.partition(":")
            if not colon:
                raise BadIndex(f"line {number}: neither a field nor a continuation")
            if not fields:
                start = number
            current = key if key in WANTED_FIELDS else None
            if current:
                fields[key] = value.strip()
    if fields:
        yield start, fields


def dependencies(*lists):
    """Names of the first alternatives, in order, each once."""
    names = {}
    for text in lists:
        for group in text.split(","):
            first = group.split("|")[0]
            name = re.split(r"[\s(\[<]", first.strip(), maxsplit=1)[0]
            name = name.split(":")[0]
            if name:
                names[name] = None
    return list(names)


def whole_number(text, field, line):
    """A field that must be a plain decimal number."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise BadIndex(f"stanza at line {line}: {field} is not a size: {text[:40]!r}")
    return int(text)


class Package:
    """One package: its record, the line that will be written, its rank."""

    def __init__(self, line, fields):
        for field in REQUIRED_FIELDS:
            if not fields.get(field):
                raise BadIndex(f"stanza at line {line}: no field {field}")
        installed = fields.get("Installed-Size")
        self.record = {
            "name": fields["Package"],
            "version": fields["Version"],
            "section": fields.get("Section", ""),
            "maintainer": fields.get("Maintainer", ""),
            "size": whole_number(fields["Size"], "Size", line),
            "installed_size": (
                whole_number(installed, "Installed-Size", line) if installed else None
            ),
            "description": fields.get("Description", ""),
            "depends": dependencies(
                fields.get("Pre-Depends", ""), fields.get("Depends", "")
            ),
        }
        self.name = self.record["name"]
        self.depends = self.record["depends"]
        self.is_base = (
            fields.get("Essential") == "yes"
            or fields.get("Priority") in BASE_PRIORITIES
        )
        text = json.dumps(self.record, ensure_ascii=False, separators=(",", ":"))
        self.line = text.encode("utf-8") + b"\n"


# Versions


def compare_parts(left, right):
    """Compare two upstream versions or revisions as Debian orders them.

    Runs of non-digits and runs of digits take turns. A tilde sorts before
    everything, even before the end; letters sort before other signs.
    """

    def weight(text, at):
        """Rank of the sign at `at`; a digit and the end count alike."""
        if at >= len(text) or text[at] in DIGITS:
            return 0
        if text[at] == "~":
            return -1
        return ord(text[at]) + (0 if text[at].isalpha() else 0x110000)

    def number(text, at):
        """The run of digits at `at`: a key that sorts by value, and its end."""
        end = at
        while end < len(text) and text[end] in DIGITS:
            end += 1
        digits = text[at:end].lstrip("0")
        return (len(digits), digits), end

    i = j = 0
    while i < len(left) or j < len(right):
        a, b = weight(left, i), weight(right, j)
        if a != b:
            return -1 if a < b else 1
        if a != 0:
            i, j = i + 1, j + 1
            continue
        a, i = number(left, i)
        b, j = number(right, j)
        if a != b:
            return -1 if a < b else 1
    return 0


def compare_versions(left, right):
    """Compare two versions: epoch, then upstream version, then revision."""

    def split(version):
        epoch, colon, rest = version.partition(":")
        if not colon:
            epoch, rest = "0", version
        upstream, dash, revision = rest.rpartition("-")
        if not dash:
            upstream, revision = rest, ""
        return epoch, upstream, revision

    for a, b in zip(split(left), split(right)):
        order = compare_parts(a, b)
        if order:
            return order
    return 0


def parse(text):
    """Packages by name, one version each, and the number of stanzas read."""
    version_key = cmp_to_key(compare_versions)
    packages, count = {}, 0
    for line, fields in stanzas(text):
        package = Package(line, fields)
        count += 1
        held = packages.get(package.name)
        if held is not None:
            # Equal versions are told apart by the rest, so that the order of
            # the index does not show.
            old, new = (
                (version_key(one.record["version"]), one.line, one.is_base)
                for one in (held, package)
            )
            if not old < new:
                continue
        packages[package.name] = package
    if not packages:
        raise BadIndex("the index holds no package")
    return packages, count


# Choosing


def offers(packages, hubs):
    """Names in the order in which the sample considers them."""
    base = sorted(name for name, package in packages.items() if package.is_base)
    named_by = Counter(
        name
        for package in packages.values()
        for name in package.depends
        if name in packages
    )
    by_rank = sorted(named_by, key=lambda name: (-named_by[name], name))
    others = sorted(
        packages, key=lambda name: hashlib.sha256(name.encode("utf-8")).digest()
    )
    # A name that comes again has been taken, or will not fit now either.
    return base + by_rank[:hubs] + others


def closure(packages, name, chosen):
    """The package and all that it needs, without what was chosen before."""
    found, queue = {name}, [name]
    while queue:
        for needed in packages[queue.pop()].depends:
            if needed in packages and needed not in chosen and needed not in found:
                found.add(needed)
                queue.append(needed)
    return found


def choose(packages, limit_bytes, hubs):
    """Names of a sample that fits into the limit; see the head of the file."""
    chosen, left = set(), limit_bytes
    smallest = min(len(package.line) for package in packages.values())
    for name in offers(packages, hubs):
        if left < smallest:
            break
        # A package that does not fit alone need not be closed over.
        if name in chosen or len(packages[name].line) > left:
            continue
        group = closure(packages, name, chosen)
        cost = sum(len(packages[member].line) for member in group)
        if cost <= left:
            chosen |= group
            left -= cost
    return chosen


# Writing


def records(packages, names):
    """The lines of the chosen packages, sorted by name."""
    return b"".join(packages[name].line for name in sorted(names))


def sections(packages):
    """A table of sections as CSV, sorted by name, with a header row."""
    count, size_bytes = Counter(), Counter()
    for package in packages.values():
        section = package.record["section"]
        count[section] += 1
        size_bytes[section] += package.record["size"]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("section", "packages", "size_bytes"))
    for section in sorted(count):
        table.writerow((section, count[section], size_bytes[section]))
    return text.getvalue().encode("utf-8")


def summary(packages, names):
    """What the records hold, a line each."""
    references = [ref for name in names for ref in packages[name].depends]
    held = sum(ref in names for ref in references)
    nulls = sum(packages[name].record["installed_size"] is None for name in names)
    targets = len({ref for ref in references if ref in names})
    return (
        f"records        {len(names)}",
        f"references     {len(references)}, of which {held} to a record of the output",
        f"referred to    {targets} records",
        f"no dependency  {sum(not packages[name].depends for name in names)} records",
        f"no size        {nulls} records without installed_size",
        f"sections       {len({packages[name].record['section'] for name in names})}",
    )


def count_argument(text):
    """A count on the command line: a whole number, zero or more."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"not a whole number: {text!r}")
    return int(text)


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Turn a Debian package index into JSON lines or a table of sections.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "index", help="a Packages index, plain, .gz or .xz; '-' for standard input"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--all", action="store_true", help="write every package")
    what.add_argument(
        "--limit-bytes",
        type=count_argument,
        metavar="N",
        help="write a deterministic sample of at most N bytes, dependencies included",
    )
    what.add_argument(
        "--sections",
        action="store_true",
        help="write a CSV table of all sections: section,packages,size_bytes",
    )
    parser.add_argument(
        "--hubs",
        type=count_argument,
        default=500,
        metavar="N",
        help="with --limit-bytes: how many of the most depended on packages are "
        "offered before the others (default: %(default)s)",
    )
    parser.add_argument(
        "-o", "--output", default="-", metavar="FILE", help="default: standard output"
    )
    return parser.parse_args()


def main():
    """Read, choose, write; 0 if all went well, 1 if not."""
    args = arguments()
    try:
        raw = read_index(args.index)
        packages, stanza_count = parse(raw.decode("utf-8"))
        notes = [
            f"index          {len(raw)} bytes, sha256 {hashlib.sha256(raw).hexdigest()}",
            f"stanzas        {stanza_count}, names {len(packages)}",
        ]
        if args.sections:
            output = sections(packages)
        else:
            if args.all:
                names = set(packages)
            else:
                names = choose(packages, args.limit_bytes, args.hubs)
            output = records(packages, names)
            notes.extend(summary(packages, names))
        if args.output == "-":
            sys.stdout.buffer.write(output)
            sys.stdout.buffer.flush()
        else:
            with open(args.output, "wb") as file:
                file.write(output)
    except READ_ERRORS as error:
        print(f"make-packages.py: {error}", file=sys.stderr)
        return 1
    notes.append(
        f"output         {len(output)} bytes, sha256 {hashlib.sha256(output).hexdigest()}"
    )
    print("\n".join(notes), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
