"""Before anything else is imported: a ROS graph of our own, which no robot and no other test run hears.

Knows nothing of what is tested.
"""

import os

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
# 1-100: the ports of larger domain ids reach into those the system hands out
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
