"""What only a browser can tell: the site in Chromium, and a notebook run whole in JupyterLab.

Skipped where Chromium, playwright or axe is missing; the extra ``browser`` brings the latter two.
"""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import nbformat
import pytest

from hsta_lib import ROOT

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: the extra `browser`")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe: the extra `browser`")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
REPORTS = {path.stem for path in (ROOT / "reports").glob("*.ipynb") if ".partial" not in path.name}
GUIDES = {path.stem for path in (ROOT / "docs").glob("*.md")}
PAGES = sorted({"index"} | REPORTS | GUIDES)
# By how many pixels a page is wider than its window.
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# By how many pixels the boxes of tables are wider than can be seen.
HIDDEN = "[...document.querySelectorAll('.scroll')].map(box => box.scrollWidth - box.clientWidth)"
UNFOLD = "document.querySelectorAll('details').forEach(part => { part.open = true })"
# How far the headers of tables that are higher than their box are from its top once it is scrolled.
HEADERS = """() => [...document.querySelectorAll('.scroll')]
    .filter(box => box.scrollHeight > box.clientHeight + 50 && box.querySelector('thead'))
    .map(box => {
        box.scrollTop = 40
        return box.querySelector('thead').getBoundingClientRect().top - box.getBoundingClientRect().top
    })"""
BOTTOM_OF_FIGURE = "document.querySelector('.figure').getBoundingClientRect().bottom"
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
# WCAG 2.2 at levels A and AA, and axe's own rules, on the order of headings for one.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
BROKEN_IMAGES = "[...document.images].filter(i => !i.complete || i.naturalWidth === 0).map(i => i.alt)"


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def watched(chromium):
    """Open a page of a width; what it asked for and what went wrong is written down."""
    contexts, requests, problems = [], [], []

    def open_page(address, width):
        contexts.append(chromium.new_context(viewport={"width": width, "height": 800}))
        page = contexts[-1].new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        return page

    yield open_page, requests, problems
    for context in contexts:
        context.close()


def _figures_of(report):
    """How many pictures the cells of a report show."""
    cells = nbformat.read(ROOT / "reports" / f"{report}.ipynb", 4).cells
    return sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_whole_and_offline_and_shuts_nobody_out(watched, committed_site, name):
    open_page, requests, problems = watched
    page = open_page(f"file://{committed_site}/{name}.html", 1280)
    if name in REPORTS:
        _begins_with_its_answer(page, name)
    for width, order in ((1200, 1), (360, -1)):  # first everything is unfolded, then folded again
        _resize(page, width)
        _is_whole(page, name)
        for summary in page.locator("summary").all()[::order]:
            summary.click()
        _is_whole(page, name)
    page.evaluate(UNFOLD)
    if name != "index":
        _tables_fit(page)
    assert problems == []
    _resize(page, 390)
    assert _violations(page, RULES) == []
    page.emulate_media(color_scheme="dark")
    assert _violations(page, ["color-contrast"]) == []
    assert requests
    assert all(url.startswith(("file://", "data:")) for url in requests), requests


def _resize(page, width):
    page.set_viewport_size({"width": width, "height": 800})


def _is_whole(page, name):
    assert page.evaluate(OVERFLOW) <= 0
    assert page.evaluate(BROKEN_IMAGES) == []
    assert page.evaluate("document.images.length") >= (_figures_of(name) if name in REPORTS else 0)


def _tables_fit(page):
    """Tables of a report or guide fit, and headers of long ones stay in sight."""
    _resize(page, 1280)
    assert not any(page.evaluate(HIDDEN))
    assert all(abs(distance) <= 1 for distance in page.evaluate(HEADERS))
    _resize(page, 400)
    assert page.evaluate(OVERFLOW) <= 0


def _begins_with_its_answer(page, name):
    """A report begins with its answer, and is short while its details are folded."""
    assert page.locator("h2").first.inner_text() == "Answer"
    assert page.locator("details.rest:not([open])").count() == 1
    screens = page.evaluate("document.body.getBoundingClientRect().height") / 900
    assert screens <= (10 if name == "audit" else 6)


def _violations(page, rules):
    """What axe finds, as rule, impact and the first element it is about."""
    found = axe.Axe().run(page, options={"runOnly": rules, "resultTypes": ["violations"]}).response
    assert found["testEngine"]["name"] == "axe-core"
    return [(rule["id"], rule["impact"], rule["nodes"][0]["html"]) for rule in found["violations"]]


def test_a_page_that_is_broken_is_noticed(watched, tmp_path):
    open_page, requests, problems = watched
    bad = '<img src="none.png" alt="none"><div style="width: 500px">x</div><script>throw Error("no")</script>'
    (tmp_path / "bad.html").write_text(bad)
    page = open_page(f"file://{tmp_path}/bad.html", 360)
    assert page.evaluate(OVERFLOW) > 0
    assert page.evaluate(BROKEN_IMAGES) == ["none"]
    assert any("no" in problem for problem in problems)
    assert any(url.endswith("none.png") for url in requests)


def test_the_figure_of_the_index_fits_its_first_screen_and_its_tables_a_phone(watched, committed_site):
    open_page, _, _ = watched
    page = open_page(f"file://{committed_site}/index.html", 1280)
    assert page.evaluate(HIDDEN) == [0, 0]
    assert page.evaluate(BOTTOM_OF_FIGURE) <= 900
    page = open_page(f"file://{committed_site}/index.html", 390)
    assert page.evaluate(HIDDEN) == [0, 0]


def _first_paint(open_page, address):
    """Milliseconds until something is seen; the least of three, as other processes may hold one up."""
    pages = [open_page(address, 1440) for _ in range(3)]
    return min(page.wait_for_function(FIRST_PAINT).json_value() for page in pages)


def test_the_index_is_seen_within_a_second(watched, committed_site, tmp_path):
    open_page, _, _ = watched
    assert _first_paint(open_page, f"file://{committed_site}/index.html") <= 1000
    slow = "<script>const start = Date.now(); while (Date.now() - start < 1200);</script>late"
    (tmp_path / "slow.html").write_text(slow)
    assert _first_paint(open_page, f"file://{tmp_path}/slow.html") > 1000


def test_axe_objects_to_a_page_that_shuts_readers_out(watched, tmp_path):
    open_page, _, _ = watched
    style = "<style>@media (prefers-color-scheme: dark) { * { color: #777; background: #555; } }</style>"
    bad = f'{style}<title>Bad</title><main><h1>One</h1><h3>Three</h3><img src="data:,"></main>'
    (tmp_path / "bad.html").write_text(bad)
    page = open_page(f"file://{tmp_path}/bad.html", 390)
    found = {rule for rule, _, _ in _violations(page, RULES)}
    assert found >= {"html-has-lang", "image-alt", "heading-order"}
    assert "color-contrast" not in found
    page.emulate_media(color_scheme="dark")
    assert [rule for rule, _, _ in _violations(page, ["color-contrast"])] == ["color-contrast"]


def test_the_search_finds_a_section_by_its_words_and_says_when_none_is_found(watched, committed_site):
    open_page, _, problems = watched
    page = open_page(f"file://{committed_site}/index.html", 400)
    page.fill("#query", "own DATASET columns")
    assert "sections" in page.inner_text("#count")
    page.locator('#found a[href="datasets.html#a-dataset-of-your-own"]').click()
    page.wait_for_url(f"file://{committed_site}/datasets.html#a-dataset-of-your-own")
    page.go_back()
    page.fill("#query", "zebra <b>")
    assert page.inner_text("#count") == "0 sections"
    page.fill("#query", "")
    assert page.inner_text("#count") == ""
    assert page.locator("#found li").count() == 0
    assert page.evaluate(OVERFLOW) <= 0
    assert problems == []


def test_links_lead_to_every_report_and_back(watched, committed_site):
    open_page, _, problems = watched
    page = open_page(f"file://{committed_site}/index.html", 360)
    for name in REPORTS:
        page.locator(f'.reports a[href="{name}.html"]').click()
        page.wait_for_url(f"file://{committed_site}/{name}.html")
        page.locator("nav a").click()
        page.wait_for_url(f"file://{committed_site}/index.html")
    assert problems == []


def test_the_keyboard_reaches_the_content_first(watched, committed_site):
    open_page, _, _ = watched
    page = open_page(f"file://{committed_site}/index.html", 360)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["y"] >= 0  # it is seen once it has the focus
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_the_colours_follow_the_reader(chromium, committed_site):
    grounds = []
    for scheme in ("light", "dark"):
        context = chromium.new_context(color_scheme=scheme)
        page = context.new_page()
        page.goto(f"file://{committed_site}/index.html")
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        context.close()
    assert grounds[0] == "rgb(255, 255, 255)"
    assert grounds[0] != grounds[1]


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait_for_server(server, address, seconds=60):
    """Until it answers; a server that ended or stays silent is an error."""
    for _ in range(seconds * 4):
        assert server.poll() is None, "JupyterLab ended by itself"
        try:
            with urllib.request.urlopen(address):
                return
        except urllib.error.URLError:
            time.sleep(0.25)
    raise TimeoutError(f"JupyterLab did not answer within {seconds} s")


@pytest.fixture(scope="module")
def jupyterlab(tmp_path_factory):
    """JupyterLab with settings, data and results of its own: its folder, and how to address a part of it."""
    root = tmp_path_factory.mktemp("lab")
    notices = root / "settings" / "@jupyterlab" / "apputils-extension"
    notices.mkdir(parents=True)
    (notices / "notification.jupyterlab-settings").write_text(
        '{"fetchNews": "false", "checkForUpdates": false}'
    )
    names = [f"HSTA_{part}" for part in ("DATA", "RESULTS")]
    names += [f"JUPYTER_{part}_DIR" for part in ("CONFIG", "DATA", "RUNTIME")]
    folders = {name: str(root / name.lower()) for name in names}
    folders |= {"HOME": str(root), "IPYTHONDIR": str(root / "ipython")}
    port, token = _free_port(), secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    command += [f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
    command += [
        f"--ServerApp.root_dir={root}",
        "--expose-app-in-browser",
        "--LabApp.extension_manager=readonly",
    ]
    command += [
        f"--LabApp.user_settings_dir={root}/settings",
        f"--LabApp.workspaces_dir={root}/workspaces",
    ]
    with open(root / "lab.log", "wb") as log:
        server = subprocess.Popen(
            command,
            env=os.environ | folders | {"HSTA_PRESET": "smoke"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for_server(server, f"http://127.0.0.1:{port}/api/status?token={token}")
            yield root, lambda path: f"http://127.0.0.1:{port}/{path}?token={token}"
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


@pytest.fixture
def lab(jupyterlab):
    """A JupyterLab without results or kernels, on new copies of the notebooks, and how to address one."""
    root, address = jupyterlab
    with urllib.request.urlopen(address("api/sessions")) as reply:
        sessions = json.load(reply)
    for session in sessions:
        end = urllib.request.Request(address(f"api/sessions/{session['id']}"), method="DELETE")
        urllib.request.urlopen(end).close()
    for name in ("notebooks", "hsta_results"):
        shutil.rmtree(root / name, ignore_errors=True)
    shutil.copytree(ROOT / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns(".*"))
    return root, lambda path: f"{address(f'lab/tree/{path}')}&reset"


IDLE = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
RUN_ALL = "async () => await window.jupyterapp.commands.execute('notebook:run-all-cells')"
INTERRUPT = "async () => await window.jupyterapp.commands.execute('notebook:interrupt-kernel')"
# Of the model, not of the page: errors and plain stderr look alike there.
CELLS = """() => window.jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => cell.model.type === 'code')
    .map(cell => ({
        source: cell.model.sharedModel.getSource(),
        count: cell.model.executionCount,
        outputs: [...Array(cell.model.outputs.length).keys()].map(i => cell.model.outputs.get(i).toJSON()),
    }))"""


@contextmanager
def _opened_in_lab(chromium, address):
    """A notebook in a browser whose kernel is ready, and what was asked for."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    requests = []
    try:
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        page.wait_for_selector(".jp-NotebookPanel .jp-Notebook .jp-CodeCell", timeout=60_000)
        page.wait_for_function(IDLE, timeout=60_000)
        yield page, requests
    finally:
        context.close()


def _run_in_lab(page):
    """Run a notebook's cells; their sources, counts and outputs."""
    page.evaluate(RUN_ALL)
    page.wait_for_function(IDLE, timeout=300_000)
    return page.evaluate(CELLS)


def _errors(cells):
    return [
        f"{output['ename']}: {output['evalue']}"
        for cell in cells
        for output in cell["outputs"]
        if output["output_type"] == "error"
    ]


def _shown_errors(page):
    """The lines of each error, or of what else a kernel complains of, as JupyterLab shows it."""
    shown = page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']")
    return [text.strip().splitlines() for text in shown.all_text_contents()]


def test_a_notebook_runs_whole_in_jupyterlab(chromium, lab):
    root, address = lab
    with _opened_in_lab(chromium, address("notebooks/table4.ipynb")) as (page, requests):
        cells = _run_in_lab(page)
    assert _errors(cells) == []
    assert len(cells) > 5
    assert all(cell["count"] for cell in cells if cell["source"].strip())
    assert any("preset `smoke`" in str(cell["outputs"]) for cell in cells)
    assert list((root / "hsta_results").glob("*.json")), "the trials were stored where HSTA_RESULTS says"
    assert all(url.startswith(("http://127.0.0.1:", "data:", "blob:")) for url in requests), requests


def test_a_refused_parameter_is_its_message_alone_in_jupyterlab(chromium, lab):
    root, address = lab
    notebook = nbformat.read(root / "notebooks" / "table4.ipynb", 4)
    cell = notebook.cells[1]
    assert "\ngrid = {} " in cell.source
    cell.source = cell.source.replace("\ngrid = {} ", '\ngrid = {"d": [7], "heads": [3]} ')
    nbformat.write(notebook, root / "refused.ipynb")
    with _opened_in_lab(chromium, address("refused.ipynb")) as (page, _):
        cells = _run_in_lab(page)
        (lines,) = _shown_errors(page)
    (error,) = _errors(cells)
    assert [cell["count"] for cell in cells] == [1, 2] + [None] * (len(cells) - 2), "it stops at once"
    assert lines[0] == lines[-1] == error
    assert "7" in error


def test_an_interrupt_in_jupyterlab_is_one_line(chromium, lab):
    root, address = lab
    with _opened_in_lab(chromium, address("notebooks/table4.ipynb")) as (page, _):
        page.evaluate(f"() => {{ ({RUN_ALL})() }}")
        deadline = time.monotonic() + 300
        while not list((root / "hsta_results").glob("*.json")):
            assert time.monotonic() < deadline, "nothing was trained"
            page.wait_for_timeout(50)
        page.evaluate(INTERRUPT)
        page.wait_for_function(IDLE, timeout=300_000)
        page.wait_for_timeout(500)  # what the kernel says at last is shown
        (lines,) = _shown_errors(page)
    assert len(lines) == 1
    assert re.fullmatch(r"stopped: \d+ of \d+ trials are stored; the same command continues", lines[0])
