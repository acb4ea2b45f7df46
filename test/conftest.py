"""For all tests: a ROS graph that no robot hears, set before anything else is imported, and where the data lies.

Knows nothing of what is tested.
"""

import os
from pathlib import Path

import pytest

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
# 1-100: the ports of larger domain ids reach into those the system hands out
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real bags, clips and photographs, kept beside the repository."""
    folder = Path(os.environ.get("SAM2_ROS_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"evaluation data not found in {folder} (set SAM2_ROS_DATA)")
    return folder
