"""What runs on a server during backup and restore: Python's standard library and pg_dump."""

# argv: the database. Its copy goes to standard output. SQLite's online backup is consistent while
# the server writes (sqlite.org/backup.html).
SQLITE_DUMP = """
import pathlib, shutil, sqlite3, sys, tempfile
with tempfile.TemporaryDirectory(dir=pathlib.Path(sys.argv[1]).parent) as folder:
    copy = folder + "/copy.db"
    source = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
    target = sqlite3.connect(copy)
    source.backup(target, pages=512, sleep=0.01)
    target.execute("PRAGMA journal_mode = DELETE")
    problems = target.execute("PRAGMA integrity_check").fetchall()
    target.close()
    if problems != [("ok",)]:
        sys.exit(f"{sys.argv[1]} is damaged: {problems[0][0]}")
    with open(copy, "rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
"""

# argv: the place. Standard input replaces the file in one step; owner and mode stay as they were,
# or as the folder's. The journals of the old database must not be applied to the new one.
FILE_RESTORE = """
import os, pathlib, shutil, sys
place = pathlib.Path(sys.argv[1])
place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
owner = os.stat(place if place.exists() else place.parent)
draft = place.with_name("." + place.name + ".restore")
with open(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
    shutil.copyfileobj(sys.stdin.buffer, file)
    file.flush()
    os.fsync(file.fileno())
os.chown(draft, owner.st_uid, owner.st_gid)
for ending in ("-wal", "-shm", "-journal"):
    pathlib.Path(f"{place}{ending}").unlink(missing_ok=True)
os.replace(draft, place)
"""

# argv: the folder. Links are kept and never followed: an agent may have planted them, and this runs
# as root. A database in use is copied until nothing changed it meanwhile, and recovered in the copy
# (sqlite.org/walformat.html: the log is appended to, the file itself changes at a checkpoint only).
TREE_DUMP = """
import os, shutil, sqlite3, stat, sys, tarfile, tempfile, time
folder = sys.argv[1]
def opened(name, at):
    return open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at), "rb")
def mark(name, at):
    found = []
    for one in (name, name + "-journal"):
        try:
            seen = os.stat(one, dir_fd=at, follow_symlinks=False)
            found.append((seen.st_ino, seen.st_size, seen.st_mtime_ns))
        except FileNotFoundError:
            found.append(None)
    try:
        with opened(name + "-wal", at) as log:
            found.append(log.read(32))
    except OSError:
        found.append(None)
    return found
def database(name, at, place):
    for _ in range(100):
        before = mark(name, at)
        for ending in ("", "-wal", "-journal"):
            if os.path.exists(place + ending):
                os.unlink(place + ending)
            try:
                with opened(name + ending, at) as source, open(place + ending, "wb") as copy:
                    shutil.copyfileobj(source, copy)
            except OSError:
                if not ending:
                    raise
        if mark(name, at) == before:
            break
        time.sleep(0.05)
    else:
        sys.exit(f"{name} changes all the time; pause its agent, then back up again")
    whole = sqlite3.connect(place)
    try:
        whole.execute("PRAGMA trusted_schema = OFF")
        whole.execute("PRAGMA quick_check").fetchall()
    except sqlite3.DatabaseError:
        pass  # only called like one; it is kept as it is
    finally:
        whole.close()
def entry(path, seen):
    made = tarfile.TarInfo(path)
    made.mode, made.mtime = stat.S_IMODE(seen.st_mode), int(seen.st_mtime)
    made.uid, made.gid = seen.st_uid, seen.st_gid
    return made
def add_file(archive, name, at, path, working):
    with opened(name, at) as source, tempfile.SpooledTemporaryFile(8_000_000) as copy:
        made = entry(path, os.fstat(source.fileno()))
        begin = source.read(16)
        if begin == b"SQLite format 3\\0":
            database(name, at, working + "/copy")
            with open(working + "/copy", "rb") as whole:
                shutil.copyfileobj(whole, copy)
        else:
            copy.write(begin)
            shutil.copyfileobj(source, copy)
        made.size = copy.tell()
        copy.seek(0)
        archive.addfile(made, copy)
def part_of_a_database(name, names):
    return any(name.endswith(e) and name.removesuffix(e) in names for e in ("-wal", "-shm"))
beside = os.path.dirname(folder)
with tempfile.TemporaryDirectory(dir=beside if os.path.isdir(beside) else None) as working, \\
        tarfile.open(fileobj=sys.stdout.buffer, mode="w|gz") as archive:
    for root, folders, files, at in os.fwalk(folder) if os.path.isdir(folder) else ():
        inside = os.path.relpath(root, folder)
        here = entry(inside, os.fstat(at))
        here.type = tarfile.DIRTYPE
        archive.addfile(here)
        for name in folders + files:
            path = os.path.normpath(os.path.join(inside, name))
            try:
                seen = os.stat(name, dir_fd=at, follow_symlinks=False)
                if stat.S_ISLNK(seen.st_mode):
                    link = entry(path, seen)
                    link.type, link.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=at)
                    archive.addfile(link)
                elif stat.S_ISREG(seen.st_mode) and not part_of_a_database(name, files):
                    add_file(archive, name, at, path, working)
            except FileNotFoundError:
                continue  # gone since it was listed
"""

# argv: the folder. What was there goes beside it, so that nothing is lost by a restore.
TREE_RESTORE = """
import os, pathlib, sys, tarfile, time
folder = pathlib.Path(sys.argv[1])
draft = folder.with_name("." + folder.name + ".restore")
if draft.exists():
    import shutil
    shutil.rmtree(draft)
draft.mkdir(parents=True, mode=0o700)
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|gz") as archive:
    # The agents' own links may point anywhere inside their containers; devices are refused.
    for member in archive:
        if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
            continue
        if member.name.startswith("/") or ".." in member.name.split("/"):
            sys.exit(f"{member.name} is outside of the folder")
        archive.extract(member, draft, numeric_owner=True, filter="fully_trusted")
if folder.exists():
    aside = folder.with_name(f"{folder.name}.before-restore-{int(time.time())}")
    os.rename(folder, aside)
    print(aside)
os.rename(draft, folder)
"""

# argv: what to ask about. Says whether anything is there.
EXISTS = """
import pathlib, sys
place = pathlib.Path(sys.argv[1])
print(place.is_file() or (place.is_dir() and any(place.iterdir())))
"""
