# Arenas of the library inside gdb: of a process that gdb has stopped, and of a core.
#
#   arenascope show --gdb-script > arenascope-gdb.py
#   gdb -x arenascope-gdb.py -p PID          gdb -x arenascope-gdb.py PROGRAM CORE
#
#   arenascope list                 every living arena, a line each
#   arenascope show [ID]            what its header says (of all, without ID)
#   arenascope dump ID              its bytes, as the library's own dump prints them
#
# May be relied on: reads only; needs neither symbols nor debug information nor the program's help; believes a header only when its numbers fit
# each other. Arenas are found by the library's own lists, whose heads are looked for in the writable data of loaded files (the same way as
# `arenascope show` goes; docs/outside.md). Deliberately absent: reading all memory for arenas in buffers, which gdb is slow at: that is what
# `arenascope show --pid` and `--core` are for; buffers in static memory are found.
#
# Python as Debian 12's gdb has it (gdb 13), nothing but its own library.

import array
import re
import struct

import gdb

MAGIC = b"ARENASC1"
KEPT = b"ARENAKPT"
SHARED = b"ARENASHR"
SHARE = b"ARENASHM"
SLAB = b"ASCOSLAB"
STEP = 128
HEADER = 384
MAX_CAPACITY = (1 << 63) - 1 - (4 << 20)
GROWING, WATCHED, LEASED = 2, 4, 256
# From a header to its place in its list (header.rs, shared_header.rs, slab.rs), and what begins so.
LISTS = {"arenas": (352, (MAGIC, KEPT)), "shared": (344, (SHARED,)), "slabs": (80, (SLAB,))}
# Static data of one mapping that is read, in bytes.
MOST_STATIC = 64 << 20
MOST_TEXT = 64 << 10


class Contradiction(Exception):
    """What in a header does not fit."""


def read(at, count):
    """Bytes of the inferior; None where they cannot be read."""
    if count == 0:
        return b""
    try:
        return gdb.selected_inferior().read_memory(at, count).tobytes()
    except (gdb.MemoryError, gdb.error, OverflowError, MemoryError):
        return None


def word(at):
    data = read(at, 8)
    return None if data is None else struct.unpack("<Q", data)[0]


def quantity(value):
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if value >= 1 << shift:
            whole = value >> shift
            return "%d %s" % (whole, unit) if whole << shift == value else "%.1f %s" % (value / (1 << shift), unit)
    return "%d B" % value


def printable(data):
    """Text of the program's that a terminal does not obey."""
    text = data.decode("utf-8", "backslashreplace") if isinstance(data, bytes) else data
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class Mapping:
    def __init__(self, start, end, writable, path):
        self.start, self.end, self.writable, self.path = start, end, writable, path


def mappings():
    """Mappings of a living process by /proc, of a core by its sections and its list of files; sorted."""
    pid = gdb.selected_inferior().pid
    found = []
    if pid > 0 and not core_sections():
        try:
            with open("/proc/%d/maps" % pid, errors="replace") as lines:
                for line in lines:
                    parts = line.rstrip("\n").split(None, 5)
                    start, end = (int(number, 16) for number in parts[0].split("-"))
                    path = parts[5] if len(parts) > 5 else ""
                    if parts[1][0] == "r" and (parts[1][3] == "p" or "memfd:" in path) and not path.startswith(("[v", "/dev/")):
                        found.append(Mapping(start, end, parts[1][1] == "w", path))
            return found
        except OSError:
            pass
    files = []
    try:
        text = gdb.execute("info proc mappings", to_string=True)
    except gdb.error:
        text = ""
    for line in text.splitlines():
        match = re.match(r"\s*0x([0-9a-f]+)\s+0x([0-9a-f]+)\s+0x[0-9a-f]+\s+0x[0-9a-f]+\s+(?:\S{4}\s+)?(/.*)$", line)
        if match:
            files.append((int(match[1], 16), int(match[2], 16), match[3]))
    for start, end in core_sections():
        path = next((path for first, last, path in files if first <= start < last), "")
        # Sections of a core do not say what may be written; what is executable code is not worth the difference.
        found.append(Mapping(start, end, True, path))
    return sorted(found, key=lambda mapping: mapping.start)


def core_sections():
    """Where the core has memory: (start, end); nothing when there is no core."""
    text = gdb.execute("info files", to_string=True)
    at = text.find("Local core dump file:")
    if at < 0:
        return []
    sections = []
    for line in text[at:].splitlines()[1:]:
        match = re.match(r"\s*0x([0-9a-f]+) - 0x([0-9a-f]+) is load", line)
        if match:
            sections.append((int(match[1], 16), int(match[2], 16)))
        elif sections and not line.startswith("\t"):
            break
    return sections


def static_parts(maps):
    """Writable data of loaded files, and the nameless memory behind it (.bss)."""
    before = None
    for mapping in maps:
        is_file = mapping.path.startswith("/") and "memfd:arenascope" not in mapping.path
        follows = mapping.path == "" and before is not None and before.end == mapping.start and before.path.startswith("/")
        if mapping.writable and (is_file or follows):
            yield mapping.start, min(mapping.end, mapping.start + MOST_STATIC)
        before = mapping


class Arena:
    """A living arena by its header."""

    def __init__(self, at, header, maps):
        u32 = lambda offset: struct.unpack_from("<I", header, offset)[0]
        u64 = lambda offset: struct.unpack_from("<Q", header, offset)[0]
        self.at, self.kind, self.leases = at, "arena", []
        version, header_bytes = u32(8), u32(12)
        if version != 2:
            raise Contradiction("layout version %d, and this script knows 2" % version)
        self.flags = u32(208)
        cursor, self.base = u64(16), u64(24)
        self.capacity, self.committed, self.reserved = u64(64), u64(72), u64(80)
        self.id, self.generation, self.depth = u64(88), u64(96), u32(104)
        self.tid, self.pid, self.events = u32(112), u32(116), u64(120)
        self.watched = bool(self.flags & WATCHED) or u64(32) == 0
        if self.flags & LEASED:
            raise Contradiction("a lease of a shared arena that is nowhere")
        if not 232 <= header_bytes <= 4096 or self.base != at + header_bytes:
            raise Contradiction("base %#x is not where a header of %d bytes ends" % (self.base, header_bytes))
        bounds(self, cursor)
        if not covered(maps, at, header_bytes + self.committed):
            raise Contradiction("%d bytes from base %#x on are not all there" % (self.committed, self.base))
        self.used = min(cursor - self.base, self.capacity)
        self.peak = max(self.used, min(max(u64(48) - self.base, 0), self.capacity))
        if self.id == 0:
            raise Contradiction("number 0")
        self.name, self.site = texts(at, header, u64(144), u32(152), 160, u64(128), u32(136), u32(140), u32(156))


class Shared:
    """A living shared arena by its header, with its leases."""

    def __init__(self, at, header, maps):
        u32 = lambda offset: struct.unpack_from("<I", header, offset)[0]
        u64 = lambda offset: struct.unpack_from("<Q", header, offset)[0]
        self.at, self.kind = at, "shared"
        if u32(8) != 1:
            raise Contradiction("layout version %d, and this script knows 1" % u32(8))
        self.base, self.capacity, self.used = u64(24), u64(32), u64(16)
        if self.base != at + u32(12):
            raise Contradiction("base %#x is not where its head ends" % self.base)
        if self.capacity > MAX_CAPACITY or self.used > self.capacity + STEP:
            raise Contradiction("%d bytes leased of %d" % (self.used, self.capacity))
        self.id, self.generation, self.pid = u64(48), u64(56), u32(76)
        self.committed = self.peak = max(u64(80), self.used)
        self.reserved, self.flags, self.depth, self.tid, self.events = self.capacity, u32(152), 0, 0, 0
        self.watched = False
        self.name, self.site = texts(at, header, u64(104), u32(112), 120, u64(88), u32(96), u32(100), u32(116))
        self.leases = []
        row, seen = u64(40), set()
        while row and row % STEP == 0 and row not in seen and len(seen) < 1 << 17:
            seen.add(row)
            head = read(row, 16)
            if head is None:
                break
            following, count = struct.unpack("<QQ", head)
            berths = read(row + 128, 512 * count) if count <= 4096 else None
            for index in range(count if berths else 0):
                berth = berths[512 * index:512 * index + 512]
                owner = struct.unpack_from("<Q", berth)[0]
                cursor, base = struct.unpack_from("<QQ", berth, 128 + 16)
                capacity = struct.unpack_from("<Q", berth, 128 + 64)[0]
                inside = self.base <= base <= cursor <= base + capacity <= self.base + self.capacity
                if berth[128:136] == MAGIC and inside:
                    self.leases.append((base - self.base, capacity, cursor - base, owner & 0xFFFFFFFF))
            row = following
        self.leases.sort()


def bounds(arena, cursor):
    if arena.base == 0 or arena.base % 8:
        raise Contradiction("base %#x is no place for blocks" % arena.base)
    if arena.capacity > MAX_CAPACITY:
        raise Contradiction("a capacity of %d bytes" % arena.capacity)
    if arena.reserved > MAX_CAPACITY or arena.committed > arena.reserved:
        raise Contradiction("%d bytes in use of %d reserved" % (arena.committed, arena.reserved))
    highest = arena.base + min((arena.capacity + 7) & ~7, arena.committed)
    if not arena.base <= cursor <= highest or cursor % 8:
        raise Contradiction("cursor %#x is not in %#x..=%#x, or not at a multiple of 8" % (cursor, arena.base, highest))


def covered(maps, start, count):
    at = start
    for mapping in maps:
        if mapping.start <= at < mapping.end:
            at = mapping.end
        if at >= start + count:
            return True
    return False


def texts(at, header, name, name_bytes, inline, file, file_bytes, line, column):
    """Name and creation site; a text that cannot be had says why."""
    if name_bytes > MOST_TEXT or (name == 0 and name_bytes > 0) or (name == at + inline and name_bytes > 32):
        raise Contradiction("a name of %d bytes" % name_bytes)
    if file_bytes > MOST_TEXT:
        raise Contradiction("a creation site whose file's name has %d bytes" % file_bytes)
    def text(place, count):
        if place == 0 or count == 0:
            return ""
        data = read(place, count)
        return printable(data) if data is not None else "(not to be read)"
    told = text(name, name_bytes)
    site = text(file, file_bytes)
    if site and line:
        site += ":%d" % line + (":%d" % column if column else "")
    return told, site


class Between:
    """Memory that processes share, by its header, with its leases."""

    def __init__(self, at, header, maps):
        u32 = lambda offset: struct.unpack_from("<I", header, offset)[0]
        u64 = lambda offset: struct.unpack_from("<Q", header, offset)[0]
        self.at, self.kind, self.flags = at, "between processes", 0
        cursor, bound, mapping = u64(16), u64(24), u64(32)
        if u32(8) != 1 or u32(12) != 8192:
            raise Contradiction("layout version %d, and this script knows 1" % u32(8))
        if not 8192 <= cursor <= bound + STEP or not 8192 <= bound <= mapping:
            raise Contradiction("cursor %d, bound %d, mapping of %d bytes" % (cursor, bound, mapping))
        self.base, self.capacity, self.reserved = at + 8192, bound - 8192, mapping
        self.used = self.committed = self.peak = min(cursor - 8192, self.capacity)
        self.id, self.pid, self.name, self.site = u64(64), u32(56), "", ""
        self.generation = self.depth = self.tid = self.events = 0
        self.watched = False
        self.leases = []
        for offset in range(128, 8192, 32):
            owner, span, used = struct.unpack_from("<QQQ", header, offset)
            start, size = (span & ((1 << 36) - 1)) * STEP, (span >> 36) * STEP
            if size and 8192 <= start and start + size <= cursor:
                used = size if used == (1 << 64) - 1 else min(max(used - start, 0), size)
                self.leases.append((start - 8192, size, used, owner & 0x7FFFFFFF))
        self.leases.sort()


class Found:
    """All living arenas, and what could not be believed."""

    def __init__(self):
        self.arenas, self.damaged, self.broken, self.kept = [], [], [], 0
        self.maps = mappings()
        if not self.maps:
            raise gdb.GdbError("no process and no core: start one, attach, or open a core")
        headers = {"arenas": [], "shared": [], "slabs": []}
        for start, end in static_parts(self.maps):
            self.heads(start, end, headers)
        for slab in headers["slabs"]:
            headers["arenas"].extend(self.slots(slab))
        for at in dict.fromkeys(headers["arenas"]):
            self.add(at, MAGIC, HEADER, Arena)
        for at in dict.fromkeys(headers["shared"]):
            self.add(at, SHARED, HEADER, Shared)
        for mapping in self.maps:
            if "memfd:arenascope" in mapping.path:
                self.add(mapping.start, SHARE, 8192, Between)
        self.arenas.sort(key=lambda arena: (arena.kind == "between processes", arena.id))

    def heads(self, start, end, headers):
        """Follows each word of static data that points at an entry of a list; notes arenas in static buffers."""
        data = read(start, (end - start) & ~7)
        if data is None:
            return
        words = array.array("Q")
        words.frombytes(data)
        for offset in range(-start % STEP, len(data) - 8, STEP):
            if data[offset:offset + 8] == MAGIC:
                headers["arenas"].append(start + offset)
        places = {place % STEP: (kind, place, begins) for kind, (place, begins) in LISTS.items()}
        tried = set()
        for value in words:
            if value % STEP in places and value not in tried and value > STEP:
                tried.add(value)
                kind, place, begins = places[value % STEP]
                if any(mapping.start <= value - place < mapping.end for mapping in self.maps) and read(value - place, 8) in begins:
                    self.follow(kind, place, begins, value, headers)

    def follow(self, kind, place, begins, entry, headers):
        seen = set()
        while entry:
            magic = read(entry - place, 8)
            if magic not in begins or entry in seen:
                self.broken.append("the list of %s breaks off at %#x" % (kind, entry))
                return
            seen.add(entry)
            if magic == KEPT:
                self.kept += 1
            else:
                headers[kind].append(entry - place)
            entry = word(entry) or 0

    def slots(self, slab):
        head = read(slab, 32)
        if head is None:
            return
        stride, slots, carved = struct.unpack_from("<QQQ", head, 8)
        if stride % STEP or not HEADER <= stride <= 1 << 20 or not 1 <= slots <= 1 << 16 or carved > slots:
            self.damaged.append((slab, "slab", "%d slots of %d bytes, %d used" % (slots, stride, carved)))
            return
        for index in range(carved):
            at = slab + 128 + index * stride
            magic = read(at, 8)
            if magic == MAGIC:
                yield at
            elif magic == KEPT:
                self.kept += 1
            elif magic is not None and magic != b"\0" * 8:
                self.damaged.append((at, "arena", "a slot that begins with %r and not as an arena" % magic))

    def add(self, at, magic, count, kind):
        header = read(at, count)
        if header is None:
            self.damaged.append((at, kind.__name__.lower(), "its header cannot be read"))
        elif header[:8] == magic:
            try:
                self.arenas.append(kind(at, header, self.maps))
            except Contradiction as why:
                self.damaged.append((at, kind.__name__.lower(), str(why)))

    def one(self, number):
        for arena in self.arenas:
            if arena.id == number and arena.kind != "between processes":
                return arena
        raise gdb.GdbError("no living arena has number %d: `arenascope list` lists them" % number)

    def tell_rest(self):
        for at, what, why in self.damaged:
            print("damaged header at %#x (%s): %s" % (at, what, why))
        for why in self.broken:
            print(why)


def bar(spans, total, width=64):
    """Used and free, drawn: (start, length) of what is used."""
    cells = ["."] * width
    for start, length in spans:
        first, last = start * width // max(total, 1), -(-(start + length) * width // max(total, 1))
        for cell in range(first, min(max(last, first + 1 if length else first), width)):
            cells[cell] = "#"
    return "  +0 |%s| +%d" % ("".join(cells), total)


def show(arena):
    title = "arena %d" % arena.id + (' "%s"' % arena.name if arena.name else "")
    kind = arena.kind if arena.kind != "arena" else "grows" if arena.flags & GROWING else "bounded"
    print("%s   %s, %s   used %s   peak %s" % (
        title, kind, quantity(arena.capacity), quantity(arena.used), quantity(arena.peak)))
    by = "   held by thread %d" % arena.tid if arena.tid else ""
    print("  created    %s%s   in process %d" % (arena.site or "at an unknown place", by, arena.pid))
    print("  memory     header at %#x   base %#x   %s committed of %s reserved" % (
        arena.at, arena.base, quantity(arena.committed), quantity(arena.reserved)))
    print("  life       generation %d   %d open scopes   %d reported events%s" % (
        arena.generation, arena.depth, arena.events, "   watched" if arena.watched else ""))
    total = max(arena.committed, arena.used) if arena.flags & GROWING else arena.capacity
    print(bar([(0, arena.used)], total))
    for number, (offset, size, used, tid) in enumerate(arena.leases, 1):
        who = "thread %d" % tid if tid else "nobody, waits for a thread"
        print("  lease %-4d +%-10d %10s, %s used   %s" % (number, offset, quantity(size), quantity(used), who))


class Prefix(gdb.Command):
    """Arenas of the library: arenascope list, arenascope show [ID], arenascope dump ID."""

    def __init__(self):
        super().__init__("arenascope", gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)


class List(gdb.Command):
    """Every living arena of the process or core, a line each: arenascope list"""

    def __init__(self):
        super().__init__("arenascope list", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        found = Found()
        if found.arenas:
            print("%8s  %12s  %12s  %12s  name, created" % ("arena", "reserved", "committed", "used"))
        for arena in found.arenas:
            name = '"%s"  ' % arena.name if arena.name else ""
            name += "between processes" if arena.kind == "between processes" else ""
            print("%8d  %12s  %12s  %12s  %s%s" % (
                arena.id, quantity(arena.reserved), quantity(arena.committed), quantity(arena.used), name, arena.site))
        used = sum(arena.used for arena in found.arenas)
        print("%d arenas, %s used; %d regions kept for the next ones" % (len(found.arenas), quantity(used), found.kept))
        found.tell_rest()


def number_of(argument, command):
    words = gdb.string_to_argv(argument)
    if len(words) != 1 or not words[0].isdigit():
        raise gdb.GdbError("%s ID: an arena's number is wanted, as `arenascope list` lists them" % command)
    return int(words[0])


class Show(gdb.Command):
    """What headers say: arenascope show [ID]"""

    def __init__(self):
        super().__init__("arenascope show", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        if argument.strip():
            number = number_of(argument, "arenascope show")
            show(Found().one(number))
            return
        found = Found()
        for arena in found.arenas:
            show(arena)
        print("%d arenas" % len(found.arenas))
        found.tell_rest()


class Dump(gdb.Command):
    """An arena's bytes, as the library's dump prints them: arenascope dump ID"""

    def __init__(self):
        super().__init__("arenascope dump", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        number = number_of(argument, "arenascope dump")
        arena = Found().one(number)
        print("Arena dump (%d used / %d total):" % (arena.used, arena.capacity))
        at, end = arena.base, arena.base + arena.used
        while at < end:
            count = min(end - at, 1 << 16)
            data = read(at, count)
            if data is None:
                print("(%d bytes at %#x cannot be read)" % (count, at))
            else:
                print("".join(chr(byte) if 32 <= byte < 127 else "." for byte in data), end="")
            at += count
        print()


Prefix()
List()
Show()
Dump()
