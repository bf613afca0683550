"""The page: whole in itself, safe from names, readable on a telephone and a wall. test_notebook.py shows it in one."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from ckptkit.model.advice import Flag
from ckptkit.model.disk import Cache, Eater, Eaters, OpenDeleted, Training
from ckptkit.model.events import Outlook, Sample
from ckptkit.model.report import Trail
from ckptkit.ops.diskreport import Report
from ckptkit.ops.diskreport import report as ops_report
from ckptkit.render import board, html
from tests.support.runs import make_run
from tests.support.typed import Ckptkit, Fill, Mount, RunOf, present

CHECKOUT = Path(__file__).resolve().parents[2]
CHROMIUM = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            "--enable-logging=stderr")  # fmt: skip
HOSTILE = "/<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\n\x1b[31m\u202e\udcff&amp;"
GB = 10**9


@pytest.fixture
def found(real: str, tmp_path: Path) -> Report:
    """A report with something in every section, on a real run, each name as hostile as names get."""
    run = make_run(real, str(tmp_path / "run"), {s * 100: "torn" if s == 3 else "intact" for s in range(1, 9)})
    now = time.time()
    report = ops_report([run], now=now)
    mount, total = HOSTILE, report.volumes[0].total_bytes
    other = [Sample(now - (48 - h) * 3600, f"{mount}2", total, int(total * h / 60), total) for h in range(48)]
    samples = [sample._replace(mount=mount, run=HOSTILE) for sample in other]
    eaten = tuple(Eater(f"{HOSTILE}/{n}", (9 - n) * GB) for n in range(9))
    return report._replace(
        volumes=(*report.volumes, report.volumes[0]._replace(mount=HOSTILE, device=HOSTILE, filesystem=HOSTILE)),
        flags=(*report.flags, Flag("red", "x", HOSTILE, HOSTILE)),
        errors=((HOSTILE, HOSTILE),),
        eaters=(Eaters(HOSTILE, 99 * GB, eaten, eaten, 3, HOSTILE, True),),
        caches=(Cache("hf-hub", HOSTILE, mount, 4 * GB, f"rm -rf -- {HOSTILE}", HOSTILE),),
        open_deleted=(OpenDeleted(HOSTILE, mount, 7, HOSTILE, 2 * GB, "kill 7"),),
        processes=(Training(8, HOSTILE, HOSTILE, now, HOSTILE, True, "tmux", "$0", False, HOSTILE, now),),
        trails=(Trail(tuple(samples), Outlook(now + 7200, 900, total, 900)), Trail(tuple(other))),
    )


class Seen(HTMLParser):
    """Every tag, with how it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[Any, dict[Any, Any]]] = []
        self.open: list[Any] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "line", "circle", "polyline", "polygon", "i", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag != "i":
            assert self.open.pop() == tag


def test_page_needs_nothing_else_and_no_name_becomes_markup(found: Report) -> None:
    page = html.page(found)
    seen = Seen(page)
    assert seen.open == [], "each tag is closed"
    assert not {tag for tag, _ in seen.tags} & {"script", "img", "link", "iframe", "object", "a", "base", "form"}
    assert not [a for _, attrs in seen.tags for a in attrs if a.startswith("on") or a in ("src", "href")]
    assert "url(" not in page and "@import" not in page and "http" not in page.replace("http-equiv", "")
    assert "&lt;script&gt;alert(1)" in page and not re.search("[\x00-\x09\x0b-\x1f\u202e\udc80-\udcff]", page)
    page.encode("utf-8")
    policy = [attrs["content"] for tag, attrs in seen.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_template_escapes_by_itself_and_takes_no_name_that_it_was_not_given() -> None:
    written = (
        html.environment().from_string("{{ name }} <i title='{{ name }}'>{{ name|paths }}</i>").render(name=HOSTILE)
    )
    assert [tag for tag, _ in Seen(written).tags if tag != "wbr"] == ["i"]
    assert not re.search("[\x00-\x1f\u202e\udc80-\udcff]", written) and written.isprintable()
    with pytest.raises(UndefinedError, match="'nobody' is undefined"):
        html.environment().from_string("{{ nobody }}").render()


def test_page_has_flags_first_then_every_section(found: Report) -> None:
    page = html.page(found)
    parts = [" could be freed<", 'class="flag red"', ">Volumes<", ">Use over time<", ">Checkpoints<", "<svg",
             "What fills", ">Caches and leftovers<", ">Deleted, but still open<", ">Training<"]  # fmt: skip
    places = [page.index(part, page.index(">Checkpoints<") if part == "<svg" else 0) for part in parts]
    assert places == sorted(places)
    for checkpoint in found.plans[0].decisions:
        assert checkpoint.checkpoint.name in page and checkpoint.reasons[0].message in page


def test_empty_report_is_a_page_too(tmp_path: Path) -> None:
    assert ">Volumes<" in html.page(ops_report([str(tmp_path)]))


def test_pages_for_terminals_carry_no_control_code_of_a_name(found: Report) -> None:
    for page in (board.board(found, False, None), board.board(found, False, 100), board.board(found, False, 40)):
        assert not set(page) & {"\x1b", "\u202e", "\udcff"} and "caches and leftovers" in page


# --- in a browser ---------------------------------------------------------------------------------------------------


def browser(tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run Chromium with a profile of its own."""
    profile = tmp_path / "profile"
    shutil.rmtree(profile, ignore_errors=True)
    command = [*CHROMIUM, f"--user-data-dir={profile}", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, cwd=tmp_path)


SEEN = """f.onload = () => {
    const inside = f.contentDocument, page = inside.querySelector(".ckptkit"), edge = page.getBoundingClientRect().right
    const style = (name) => f.contentWindow.getComputedStyle(inside.querySelector(name))
    document.title = JSON.stringify({
        wide: inside.documentElement.scrollWidth,
        outside: [...page.querySelectorAll("*:not(svg *)")].filter((e) =>
            e.getBoundingClientRect().right > edge + 1 || (e.clientWidth && e.scrollWidth > e.clientWidth + 1
            && getComputedStyle(e).overflow != "visible")).map((e) => e.outerHTML.slice(0, 200)),
        cut: [...page.querySelectorAll("td.short, th, .size")].filter((e) => e.scrollWidth > e.clientWidth + 1).length,
        charts: [...page.querySelectorAll("svg")].map((e) => Math.round(e.getBoundingClientRect().height)),
        page: style(".ckptkit").backgroundColor, row: style(".ckptkit tbody tr").backgroundColor,
        cell: style(".ckptkit td").textAlign, table: style(".ckptkit table").tableLayout})}"""


def seen_in_chromium(tmp_path: Path, page: str, width: int, scheme: str) -> Any:
    """What a frame of that width around a page tells of it: CSP lets the page itself run nothing."""
    (tmp_path / "page.html").write_text(page)
    frame = f'<iframe id=f style="width:{width}px;height:800px;border:0" src=page.html></iframe><script>{SEEN}</script>'
    (tmp_path / "frame.html").write_text(frame)
    wanted = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    flags = ("--allow-file-access-from-files", "--window-size=1600,900", "--virtual-time-budget=5000", "--dump-dom")
    dom = browser(tmp_path, wanted, *flags, f"file://{tmp_path}/frame.html").stdout
    return json.loads(unescape(present(re.search(r"<title>(.*)</title>", dom)).group(1)))


PAGES = {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}


@pytest.mark.parametrize("width", [400, 800, 1400])
@pytest.mark.parametrize("scheme", PAGES)
def test_page_in_chromium_has_no_console_error_and_fits_its_width(
    found: Report, tmp_path: Path, width: int, scheme: str
) -> None:
    (tmp_path / "page.html").write_text(html.page(found))
    wanted = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    shot = f"--screenshot={tmp_path}/shot.png"
    done = browser(tmp_path, wanted, shot, f"--window-size={width},900", f"file://{tmp_path}/page.html")
    assert "CONSOLE" not in done.stderr
    picture = (tmp_path / "shot.png").read_bytes()
    assert struct.unpack(">II", picture[16:24]) == (width, 900) and len(picture) > 20_000
    seen = seen_in_chromium(tmp_path, html.page(found), width, scheme)
    assert seen["wide"] == width and seen["outside"] == [] and seen["cut"] == 0, "nothing to scroll, nothing cut off"
    assert seen["page"] == PAGES[scheme] and set(seen["charts"]) == {60, 150}


@pytest.mark.parametrize("width", [400, 800, 1400])
@pytest.mark.parametrize("theme", PAGES)
def test_part_of_a_notebook_looks_the_same_under_jupyters_own_rules(
    found: Report, tmp_path: Path, width: int, theme: str
) -> None:
    """Also where Jupyter's theme is not the browser's."""
    rules = Path(CHECKOUT, "tests/support/jupyter.css").read_text()
    page = (
        f'<!doctype html><meta charset="utf-8"><style>{rules}</style>'
        f'<body style="margin:0" class="jp-ThemedContainer" data-jp-theme-light="{json.dumps(theme == "light")}">'
        f'<div class="jp-RenderedHTMLCommon jp-RenderedHTML">{html.fragment(found)}</div></body>'
    )
    seen = seen_in_chromium(tmp_path, page, width, "dark" if theme == "light" else "light")
    assert set(seen["charts"]) == {60, 150}, "an svg of `height: auto` and 100 % would fill the page"
    assert seen["wide"] == width and seen["outside"] == [] and seen["cut"] == 0
    assert (seen["cell"], seen["table"], seen["row"]) == ("left", "auto", "rgba(0, 0, 0, 0)")
    assert seen["page"] == PAGES[theme]


def test_rules_of_jupyter_do_reach_an_svg(tmp_path: Path) -> None:
    """The control of the test above."""
    rules = Path(CHECKOUT, "tests/support/jupyter.css").read_text()
    svg = '<svg height="60" width="100%" viewBox="0 0 100 100"></svg>'
    table = "<table><tbody><tr><td>x</td></tr></tbody></table>"
    part = f'<div class="jp-RenderedHTMLCommon"><div class="ckptkit">{svg}{table}</div></div>'
    seen = seen_in_chromium(tmp_path, f"<style>{rules}</style>{part}", 800, "light")
    assert seen["charts"][0] > 500 and seen["cell"] == "right"


def test_a_script_that_got_through_would_be_stopped_and_seen(found: Report, tmp_path: Path) -> None:
    """The control of the test above: Chromium does tell errors, and the page's policy does forbid scripts."""
    page = html.page(found).replace("<h1>", "<script>document.title = 'ran'</script><h1>")
    (tmp_path / "page.html").write_text(page)
    done = browser(tmp_path, "--dump-dom", f"file://{tmp_path}/page.html")
    assert "CONSOLE" in done.stderr and "<title>ran" not in done.stdout


# --- the file -------------------------------------------------------------------------------------------------------


def test_html_writes_the_page_beside_the_board(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    run = run_of({100: "intact"})
    called = ckptkit("diskreport", run, "--no-eaters", "--html", tmp_path / "out.html")
    assert called.code == 0 and f"wrote {tmp_path}/out.html" in called.out and "checkpoint-100" in called.out
    page = (tmp_path / "out.html").read_text()
    assert page.startswith("<!doctype html>") and page.endswith("</html>\n") and "checkpoint-100" in page
    assert [p.name for p in tmp_path.glob("out*")] == ["out.html"]


# An environment in which Jinja2 can't be imported, and which notes that somebody tried.
NO_JINJA = 'open("tried", "w").close()\nraise ImportError("no Jinja2 here")\n'


def test_without_jinja2_html_is_one_line_that_says_what_to_install_and_nothing_else_misses_it(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path
) -> None:
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries/jinja2.py").write_text(NO_JINJA)
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "libraries"), str(CHECKOUT)])}
    run, tried = run_of({100: "intact"}), tmp_path / "tried"
    words = [
        ("prune", run, "-n"),
        ("verify", run),
        ("latest", run),
        ("strip", run, "-n"),
        ("diskreport", run, "--no-eaters"),
    ]
    for verb, *more in words:
        assert ckptkit(verb, *more, env=env).code == 0 and not tried.exists(), verb
    called = ckptkit("diskreport", run, "--html", tmp_path / "out.html", env=env)
    assert called.code == 2 and called.out == "" and called.err.count("\n") == 1 and tried.exists()
    assert re.search("the page needs Jinja2, which is not installed; fix: .*pip install.* jinja2$", called.err.strip())
    assert not (tmp_path / "out.html").exists()


def test_without_jinja2_a_notebook_is_warned_and_gets_the_line(found: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    html.environment.cache_clear()
    with pytest.warns(UserWarning, match="needs Jinja2.*fix: "):
        assert found._repr_html_() is None
    assert repr(found).startswith("<Report ")


@pytest.mark.mounts
def test_full_disk_is_one_line_and_the_page_from_before_stays(
    mount: Mount, run_of: RunOf, ckptkit: Ckptkit, fill: Fill
) -> None:
    volume = mount("tmpfs", "size=1m")
    Path(volume, "out.html").write_text("before")
    fill(volume)
    called = ckptkit("diskreport", run_of({100: "intact"}), "--no-eaters", "--html", f"{volume}/out.html")
    assert called.code == 3 and called.err.count("\n") == 1 and "No space left on device" in called.err
    assert Path(volume, "out.html").read_text() == "before"
    assert sorted(os.listdir(volume)) == ["ballast", "out.html"]


def test_page_that_cant_be_placed_is_one_line(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    called = ckptkit("diskreport", run_of({100: "intact"}), "--no-eaters", "--html", tmp_path / "no" / "out.html")
    assert called.code == 3 and called.err.count("\n") == 1 and "No such file or directory" in called.err
