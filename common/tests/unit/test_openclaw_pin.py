import json
import re

from ocmt_common.openclaw import default_image, openclaw_version, pin_folder


def test_the_manifest_and_the_lock_pin_the_same_exact_version() -> None:
    lock = json.loads((pin_folder() / "package-lock.json").read_text())

    assert re.fullmatch(r"\d+\.\d+\.\d+", openclaw_version())
    assert lock["packages"]["node_modules/openclaw"]["version"] == openclaw_version()


def test_every_locked_package_has_a_hash_and_no_address() -> None:
    lock = json.loads((pin_folder() / "package-lock.json").read_text())
    packages = {name: p for name, p in lock["packages"].items() if name and not p.get("inBundle")}

    assert packages
    assert [n for n, p in packages.items() if "integrity" not in p] == []
    assert [n for n, p in packages.items() if "resolved" in p] == []


def test_the_image_is_named_after_the_version() -> None:
    assert default_image().endswith(":" + openclaw_version())
