"""What the service loads to answer requests: nothing of the batch side, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import msgspec

BATCH_ONLY = (
    "polars", "pandas", "sklearn", "xgboost", "pyarrow", "duckdb", "deltalake", "matplotlib", "scipy",
    "skl2onnx", "onnxmltools", "onnx", "trainer", "benchmarks", "features.offline",
)  # fmt: skip

PROGRAM = """
import sys, time
from pathlib import Path
began = time.perf_counter()
import service.app
imported = time.perf_counter()
from service.settings import Settings
service.app.build(Settings(bundles=Path(sys.argv[1]), journal=None))
built = time.perf_counter()
import msgspec
said = {"imported": imported - began, "built": built - imported, "modules": sorted(sys.modules)}
sys.stdout.buffer.write(msgspec.json.encode(said))
"""


def test_building_the_app_loads_nothing_of_the_batch_side(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    said = msgspec.json.decode(ran.stdout)
    loaded = [
        name for name in said["modules"] if any(name == each or name.startswith(f"{each}.") for each in BATCH_ONLY)
    ]
    print(
        f"import service.app {said['imported'] * 1000:.0f} ms, build {said['built'] * 1000:.0f} ms more, "
        f"{len(said['modules'])} modules"
    )
    assert loaded == []
