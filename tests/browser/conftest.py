"""A browser and a server for the tests of a module: while Playwright is on, no other test could run an event loop."""

import base64
import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from chromium import NoChromium, launched
from watched import HTML, ROOT

from kdlib.explorers import StudentExplorer


@pytest.fixture(scope="module")
def browser():
    try:
        with launched() as browser:
            yield browser
    except NoChromium as missing:
        pytest.fail(str(missing)) if os.environ.get("CI") else pytest.skip(str(missing))


@pytest.fixture(scope="module")
def on_disk():
    if not (HTML / "index.html").exists():
        pytest.fail(f"no pages in {HTML.relative_to(ROOT)}: run make book first")
    return HTML.as_uri() + "/"


@pytest.fixture(scope="module")
def served(on_disk):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=HTML)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(params=["served", "on_disk"])
def site(request):
    """Both: a file has no server, no origin and, in some browsers, no right to write its address."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def evaluate(browser):
    """Calls a JavaScript function (module, argument) in a page, with the module of an explorer's class."""
    with browser.new_context() as context:
        page = context.new_page()

        def call(explorer, function, argument):
            source = base64.b64encode(explorer._esm.encode()).decode()
            arguments = [f"data:text/javascript;base64,{source}", argument]
            return page.evaluate(f"async ([url, argument]) => ({function})(await import(url), argument)", arguments)

        yield call


@pytest.fixture(scope="module")
def task():
    return StudentExplorer().task
