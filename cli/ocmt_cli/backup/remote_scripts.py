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

# argv: the folder, the file left out. Names are packed by numeric owner; links are not followed.
TREE_DUMP = """
import pathlib, sys, tarfile
folder = pathlib.Path(sys.argv[1])
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|gz") as archive:
    if folder.is_dir():
        archive.add(folder, arcname=".")
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
