import sys
from pathlib import Path

import numpy as np
import pytest

from keysync.memory import give_back


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_blocks_between_living_ones_go_back() -> None:
    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    blocks = [np.ones(16_000, np.uint8) for _ in range(8_000)]  # 128 MB in blocks too small for a mapping
    living = blocks[::8]
    del blocks
    before = resident_mb()
    give_back()
    assert before - resident_mb() > 40
    assert len(living) == 1_000
