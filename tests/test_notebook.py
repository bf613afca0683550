"""A real notebook in a real kernel: a report is shown as its page, a monitor watches beside it and ends with it."""

import os
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from nbclient.client import NotebookClient
from nbformat.notebooknode import NotebookNode

from tests.support.runs import make_run
from tests.support.typed import RunOf, present

CHECKOUT = Path(__file__).resolve().parent.parent
SECONDS = 120  # for a cell, on a box that is busy


def notebook(folder: Path, *cells: str) -> NotebookClient:
    """Write FOLDER/run.ipynb with these cells of code, and return what executes it, as Jupyter would."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(book, folder / "run.ipynb")
    read = nbformat.read(folder / "run.ipynb", as_version=4)
    return nbclient.NotebookClient(read, timeout=SECONDS, startup_timeout=SECONDS, kernel_name="python3")


def outputs(cell: NotebookNode, kind: str) -> list[Any]:
    """What a cell shows, of one MIME type."""
    return [output["data"][kind] for output in cell.outputs if kind in output.get("data", {})]


@pytest.fixture(autouse=True)
def _kernels_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The kernel finds this checkout, and keeps what it writes to itself."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")]))
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))


def test_report_is_shown_as_the_page(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of({100: "intact", 200: "torn"})
    client = notebook(tmp_path, "import ckptkit", f"ckptkit.report([{run!r}])", "1 + 1")
    shown = client.execute(cwd=str(tmp_path)).cells
    (page,) = outputs(shown[1], "text/html")
    assert '<div class="ckptkit">' in page and "checkpoint-200 is incomplete" in page and "<svg" in page
    assert "<html" not in page and "body {" not in page, "its style touches nothing outside"
    assert outputs(shown[2], "text/plain") == ["2"]


def test_report_with_a_past_draws_it_with_its_outlook(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of({100: "intact", 200: "intact"})
    look = f"""
import time, ckptkit
from ckptkit.ops.monitor import Watch
watching = Watch({run!r}, 600.0)
for minutes in range(60, 0, -10):
    watching.tick(time.time() - 60 * minutes)
"""
    client = notebook(tmp_path, look, f"ckptkit.report([{run!r}])")
    (page,) = outputs(client.execute(cwd=str(tmp_path)).cells[1], "text/html")
    assert ">Use over time<" in page and "<polyline" in page and "the disk will not fill up in this run (peak " in page


def test_monitor_watches_beside_the_cells_and_ends_with_the_kernel(run_of: RunOf, real: str, tmp_path: Path) -> None:
    run, prom = run_of({100: "intact"}), tmp_path / "ckptkit.prom"
    cells = (
        f"import ckptkit\nseen = []\nwatching = ckptkit.monitor({run!r}, every='1s', prom={str(prom)!r}, "
        "alerted=lambda alert: seen.append(alert.code))\nwatching",
        "import time\nwhile 'damaged' not in seen:\n    time.sleep(0.05)\nwatching.running, seen.count('damaged')",
    )
    client = notebook(tmp_path, *cells)
    with client.setup_kernel(cwd=str(tmp_path)):
        (handle,) = outputs(client.execute_cell(client.nb.cells[0], 0), "text/plain")
        assert handle.startswith(f"<Monitor watching {run} every 1s")
        make_run(real, run, {200: "torn"}, age=120)  # beside the kernel, as a training that dies
        assert outputs(client.execute_cell(client.nb.cells[1], 1), "text/plain") == ["(True, 1)"]
        assert prom.exists()
        kernel = present(present(client.km).provisioner).process  # type: ignore[attr-defined]
        present(client.kc).shutdown()  # it is asked to end, as by a browser's "Shut down kernel", and not killed
        assert kernel.wait(SECONDS) == 0, "by itself: no thread held it"
