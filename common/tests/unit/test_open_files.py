import subprocess
import sys

PROGRAM = """
import resource
from ocmt_common.open_files import allow_many_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))
print(allow_many_open_files(), resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_server_may_open_as_much_as_the_system_lets_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )

    assert done.stdout == "512 (512, 512)\n"
