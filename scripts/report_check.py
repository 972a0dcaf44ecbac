#!/usr/bin/env python3
"""Opens pages of `edgebench report` in a headless Chromium and checks what a reader sees.

    report_check.py [--edgebench FILE] [--shots FOLDER]

Pages are made from committed results and from broken ones, and looked at in light and dark, 1280 and 360 pixels wide: no error on the
console, nothing fetched, every chart drawn to scale, values equal to the JSON, headers that sort by mouse and by keyboard, methods that
open, nothing wider than the page. --shots keeps pictures of them. Needs Chromium: as root it is installed with apt where it is missing.
"""

import argparse
import base64
import fcntl
import json
import os
import pathlib
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_S = 60
HOSTILE = "<img src=x onerror=\"window.pwned=1\"></script><script>window.pwned=2</script>'\"&amp;"
# Where the value of a column stands in a row of the JSON.
PATHS = {
    "params_total": "params.total", "params_active": "params.active", "load_ms": "load_ms.mean", "ttft_ms_mean": "ttft_ms.mean",
    "prefill_tok_s_mean": "prefill_tok_s.mean", "decode_tok_s_mean": "decode_tok_s.mean", "itl_ms_p50": "itl_ms.quantiles.p50",
    "itl_ms_p90": "itl_ms.quantiles.p90", "itl_ms_p99": "itl_ms.quantiles.p99", "itl_ms_min": "itl_ms.quantiles.min",
    "itl_ms_max": "itl_ms.quantiles.max", "itl_ms_n": "itl_ms.n", "energy_j_per_token": "energy.per_token_j", "mean_watts": "energy.mean_watts",
    "cost_per_million_tokens": "cost.per_million_tokens", "decode_limit_share": "limits.decode.share",
    "prefill_limit_share": "limits.prefill.share", "decode_floor_ms": "limits.decode.floor_ms", "batch": "batch",
    "fp32_difference_error": "fp32_difference.error",
} | {name: "offload." + name for name in (
    "resident_bytes", "mapped_bytes", "link_bytes_per_step", "step_link_share", "prompt_link_share", "predicted_decode_tok_s")
} | {name: "memory." + name for name in (
    "peak_bytes", "loaded_peak_bytes", "weights_bytes", "kv_bytes", "activations_bytes", "runtime_bytes", "unaccounted_bytes",
    "steady_bytes", "predicted_peak_bytes", "budget_bytes")}


def die(sentence):
    sys.exit(f"report_check: {sentence}")


def browser():
    """Path of a Chromium, installed first where that can be done."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run(["apt-get", "update"], **quiet)
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "chromium"], **quiet)
        found = shutil.which("chromium")
    return found or die("there is no Chromium to open the page in; install it (Debian: apt-get install chromium)")


class Chromium:
    """A headless browser, spoken to through a pair of pipes in the DevTools protocol."""

    def __init__(self, program, folder):
        to_read, self.to = os.pipe()
        self.of, to_write = os.pipe()
        # The browser reads from descriptor 3 and writes to 4: ours stay clear of these numbers.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_read, to_write)]

        def wire():
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage",
                 "--disable-background-networking", "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"]
        self.log = open(pathlib.Path(folder) / "stderr", "wb")
        self.process = subprocess.Popen([program, *flags], pass_fds=(3, 4), preexec_fn=wire, stdout=self.log, stderr=self.log)
        for end in (to_read, to_write, *ends):
            os.close(end)
        self.last, self.buffer, self.events = 0, b"", []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = None
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def message(self, until):
        """The next message; raises when there is none in time."""
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.of], [], [], max(0, until - time.monotonic()))
            data = os.read(self.of, 1 << 20) if ready else b""
            if not data:
                die("the browser does not answer; see whether it starts by hand: chromium --headless=new --no-sandbox --dump-dom about:blank")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(line)

    def call(self, method, **params):
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if getattr(self, "session", None):
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE_S
        while True:
            answer = self.message(until)
            if answer.get("id") == self.last:
                if "error" in answer:
                    die(f"{method}: {answer['error'].get('message')}")
                return answer["result"]
            self.events.append(answer)

    def wait(self, method):
        until = time.monotonic() + PATIENCE_S
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.message(until))

    def look(self, page, width, scheme, media=""):
        """Opens a page at a width; the events of loading it are kept."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events = []
        self.call("Page.navigate", url=page.as_uri())
        self.wait("Page.loadEventFired")

    def run(self, script):
        found = self.call("Runtime.evaluate", expression=f"(() => {{ {script} }})()", returnByValue=True)
        if "exceptionDetails" in found:
            die(f"a check failed to run: {found['exceptionDetails']}")
        return found["result"].get("value")

    def click(self, selector):
        """A click of the mouse in the middle of the first such element, and what it lies on, which must be the element itself."""
        x, y, hit = self.run(
            f"const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center', inline: 'center', behavior: 'instant'}});"
            "const r = e.getBoundingClientRect(); const x = r.x + r.width / 2, y = r.y + r.height / 2;"
            "const top = document.elementFromPoint(x, y); return [x, y, e === top || e.contains(top)];")
        expect(hit, f"{selector} is covered by something else")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, name, code, text=""):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, text=text if kind == "keyDown" else "")

    def shot(self, path):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 12000), "scale": 1}
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(picture["data"]))

    def complaints(self):
        """Errors on the console and everything that was fetched besides the page."""
        found = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown" or method == "Page.javascriptDialogOpening":
                found.append(f"{method}: {json.dumps(params)[:300]}")
            if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(f"console: {json.dumps(params['args'])[:300]}")
            if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(f"console: {params['entry']['text'][:300]}")
            if method == "Network.requestWillBeSent" and params.get("type") != "Document":
                found.append(f"fetches {params['request']['url'][:200]}")
        return found

    def close(self):
        self.session = None
        self.call("Browser.close")
        self.process.wait(timeout=PATIENCE_S)
        self.log.close()


failures, passed = [], 0


def expect(true, sentence):
    global passed
    if true:
        passed += 1
    else:
        failures.append(sentence)
        print(f"FAILED: {sentence}", flush=True)


def at(row, path):
    for name in path.split("."):
        row = row.get(name) if row is not None else None
    return row


# Tables and charts whose lines are not the rows of a result: checked by a function of their own.
OTHERS = ("ceilings", "curve", "ladder", "context", "batch", "pairs", "published", "routers", "runs", "positions", "prices")
# Every table of a result as {table: {row: {key: value or reason}}}; every drawn value as {chart: [[row, key, value, pixels]]}.
READ = """
const tables = {}, charts = {};
for (const article of document.querySelectorAll('article[data-result]')) {
  const label = article.dataset.result;
  for (const table of article.querySelectorAll('table[data-table]')) {
    const keys = Array.from(table.tHead.rows[0].cells, (cell) => cell.dataset.key);
    const rows = (tables[label + ':' + table.dataset.table] = {});
    for (const row of table.tBodies[0].rows) {
      const cells = (rows[row.dataset.row] = {});
      Array.from(row.cells).forEach((cell, place) => {
        cells[keys[place]] = cell.classList.contains('nm') ? null : cell.dataset.value ?? cell.textContent;
        if (cell.classList.contains('nm') && !/not measured: ./.test(cell.textContent)) cells[keys[place]] = 'no reason';
      });
    }
  }
  for (const chart of article.querySelectorAll('figure.bars')) {
    const drawn = (charts[label + ':' + chart.dataset.chart] ??= []);
    for (const mark of chart.querySelectorAll('[data-value]')) {
      const box = mark.getBoundingClientRect(), frame = mark.ownerSVGElement.getBoundingClientRect();
      drawn.push([mark.closest('[data-row]').dataset.row, mark.dataset.key, mark.dataset.value, box.width, box.x - frame.x, frame.width, mark.tagName]);
    }
  }
}
const points = Array.from(document.querySelectorAll('.scatter svg.wide circle.point'), (point) => [point.dataset.row, point.dataset.peak_bytes, point.dataset.decode_tok_s_mean]);
return { tables, charts, points, svgs: document.querySelectorAll('svg').length };
"""

# Texts of drawings that reach over the page's edge or over each other, as a reader sees them.
TEXTS = """
const shown = (e) => e.getClientRects().length > 0 && e.getBoundingClientRect().width > 0;
const bad = [];
for (const svg of document.querySelectorAll('svg')) {
  if (!shown(svg)) continue;
  const boxes = [];
  for (const text of svg.querySelectorAll('text')) {
    const box = text.getBoundingClientRect();
    if (!shown(text)) continue;
    if (box.left < -1 || box.right > innerWidth + 1) bad.push('outside the page: ' + text.textContent);
    for (const [other, name] of boxes)
      if (box.left < other.right - 1 && other.left < box.right - 1 && box.top < other.bottom - 2 && other.top < box.bottom - 2)
        bad.push(text.textContent + ' over ' + name);
    boxes.push([box, text.textContent]);
  }
}
return bad;
"""


def same(shown, known):
    """Whether a shown value is that of the JSON, to the last digit."""
    return shown is not None and known is not None and float(shown) == float(known)


def check_values(found, label, report):
    """Every number of the tables and charts of a result against its JSON."""
    rows = {row["id"]: row for row in report["trials"]}
    compared = 0
    for name, table in found["tables"].items():
        owner, kind = name.split(":")
        if owner != label or kind in OTHERS:
            continue
        for ident, cells in table.items():
            for key, shown in cells.items():
                if key not in PATHS:
                    continue
                known = at(rows[ident], PATHS[key])
                compared += 1
                expect(shown is None if known is None else same(shown, known), f"{name} {ident} {key}: {shown} is not {known}")
    expect(set(found["tables"].get(label + ":trials", {})) == set(rows), f"{label}: the table of trials has not all rows")
    statuses = {ident: cells.get("status") for ident, cells in found["tables"].get(label + ":trials", {}).items()}
    expect(all(rows[ident]["status"].replace("_", " ") == shown for ident, shown in statuses.items()), f"{label}: a status differs")
    for name, drawn in found["charts"].items():
        owner, kind = name.split(":")
        if owner != label or kind in OTHERS or kind.startswith(("pairs_", "runs_")):
            continue
        for ident, key, shown, *_ in drawn:
            compared += 1
            expect(same(shown, at(rows[ident], PATHS[key])), f"{name} {ident} {key}: {shown} is not {at(rows[ident], PATHS[key])}")
    shown = list(found["tables"].get(label + ":ceilings", {}).values())
    expect(len(shown) == len(report.get("ceilings", [])), f"{label}: not all ceilings are shown")
    for cells, ceiling in zip(shown, report.get("ceilings", [])):
        for key in ("fits", "fails", "budget_bytes"):
            compared += 1
            known = ceiling.get(key)
            expect(cells.get(key) is None if known is None else same(cells.get(key), known), f"ceiling {key}: {cells.get(key)} is not {known}")
    return compared


# What the page draws as [chart, row, key, place, value], and the cells of a table by row as {key: value or null}.
DRAWN = """return Array.from(document.querySelectorAll('figure[data-chart] svg:not(.narrow) [data-key]'), (e) =>
  [e.closest('figure').dataset.chart, e.dataset.row ?? e.closest('[data-row]').dataset.row, e.dataset.key, e.dataset.at ?? null, Number(e.dataset.value)]);"""
CELLS = """return Object.fromEntries(Array.from(document.querySelectorAll('table[data-table=%s] tbody tr'), (row) => {
  const keys = Array.from(row.closest('table').tHead.rows[0].cells, (cell) => cell.dataset.key);
  return [row.dataset.row, Object.fromEntries(Array.from(row.cells, (cell, place) =>
    [keys[place], cell.dataset.value !== undefined ? Number(cell.dataset.value) : cell.classList.contains('nm') ? null : cell.textContent]))]; }));"""
HELD = ("decode_tok_s", "ttft_ms", "peak_bytes")


def equal(what, shown, known):
    """Two lists of values, whatever their order."""
    order = lambda values: sorted(values, key=repr)
    expect(order(shown) == order(known), f"{what}: the page has {len(shown)} values, the JSON {len(known)}, or they differ")
    return len(known)


def check_study(chromium, report):
    """Every pair, published figure, router, price and run of a study against its JSON. Returns how many values were compared."""
    drawn, study, compared = chromium.run(DRAWN), report["study"], 0
    ratios = [(pair, ratio) for pair in study["pairs"] for ratio in pair["ratios"]]
    name = lambda pair, ratio: f"{pair['dense']['row']}:{pair['moe']['row']}:{ratio['metric']}"
    known = [[f"pairs_{ratio['metric']}", name(pair, ratio), ratio["ratio"]] for pair, ratio in ratios
             if ratio["ratio"] is not None and ratio["metric"] in (*HELD, "energy_per_token_j")]
    compared += equal("ratios", [[chart, row, value] for chart, row, key, _, value in drawn if key == "ratio"], known)
    cells = chromium.run(CELLS % "pairs")
    for pair, ratio in ratios:
        if ratio["dense"] is None and ratio["moe"] is None:
            continue
        shown = cells.get(name(pair, ratio), {})
        values = {"baseline": ratio["dense"], "other": ratio["moe"], "ratio": ratio["ratio"],
                  "interval": ratio["ci95"] and ratio["ci95"][0], "verdict": ratio["verdict"].replace("_", " ")}
        for key, value in values.items():
            compared += 1
            expect(shown.get(key) == value, f"{name(pair, ratio)} {key}: {shown.get(key)} is not {value}")
    words = chromium.run("return Array.from(document.querySelectorAll('.verdicts li'), (item) => item.textContent);")
    expect(words == [pair["verdict"] for pair in study["pairs"]], "the verdicts of the pairs are not those of the result")
    for model in study.get("as_published", []):
        # Each model has a table of its own.
        cells = chromium.run(CELLS % "published")
        for place, figure in enumerate(model["figures"]):
            for key in ("published", "reproduced", "measured"):
                compared += 1
                shown = cells.get(f"{model['model']}:{place}", {}).get(key)
                expect(shown == figure[key], f"{model['model']} {figure['metric']} {key}: {shown} is not {figure[key]}")
    routers = [["routers", f"{facts['row']}:{layer['layer']}", str(place), count] for facts in study.get("routers", [])
               for layer in facts["layers"] for place, count in enumerate(layer["chosen"])]
    compared += equal("routers", [[chart, row, place, value] for chart, row, key, place, value in drawn if key == "chosen"], routers)
    cells = chromium.run(CELLS % "prices")
    for priced in study.get("prices", []):
        expect(cells.get(priced["row"], {}).get("decode_tok_s_mean") == priced["decode_tok_s"], f"{priced['row']}: the speed of its price differs")
        for price in priced["prices"]:
            compared += 1
            shown = cells.get(priced["row"], {}).get(price["formula"])
            expect(shown == price["per_million_tokens"], f"{priced['row']} by {price['formula']}: {shown} is not {price['per_million_tokens']}")
    trials = (report.get("repeatability") or {}).get("trials", [])
    runs = [[f"runs_{spread['metric']}", trial["row"], str(run["run"]), run[spread["metric"]]] for trial in trials
            for spread in trial["spread"] for run in trial["runs"] if run["status"] == "ok" and run[spread["metric"]] is not None]
    compared += equal("runs", [[chart, row, place, value] for chart, row, key, place, value in drawn if key == "run"], runs)
    cells = chromium.run(CELLS % "runs")
    for trial in trials:
        for spread in trial["spread"]:
            for key, field in (("worst_deviation",) * 2, ("variation",) * 2, ("run_median", "median"), ("runs",) * 2):
                compared += 1
                shown = cells.get(f"{trial['row']}:{spread['metric']}", {}).get(key)
                expect(shown == spread[field], f"{trial['row']} {spread['metric']} {key}: {shown} is not {spread[field]}")
    return compared


def check_budgets(chromium, reports):
    """The line over the budget: every row that ran in one of several budgets has a point at its budget and speed."""
    works = {}
    for nth, report in enumerate(reports):
        for row in report["trials"]:
            if row["status"] == "ok" and row["decode_tok_s"]:
                work = [nth, *(row.get(key) for key in ("model", "form", "precision", "kv_cache_type", "device", "batch", "prompt_tokens", "gen_tokens"))]
                works.setdefault(repr(work), []).append([row["id"], float(row["memory"]["budget_bytes"]), row["decode_tok_s"]["mean"]])
    known = [one for rows in works.values() if len(rows) > 1 for one in rows]
    points = [[row, float(place), value] for chart, row, _, place, value in chromium.run(DRAWN) if chart == "budgets"]
    return equal("points over the budget", points, known)


def check_positions(chromium, report):
    """The latency over the position of each row that has it; the others say why."""
    middle = lambda one: (one["first_context"] + one["last_context"]) / 2
    known = [[row["id"], middle(one), one["median_ms"]] for row in report["trials"] for one in row.get("itl_by_position", [])]
    points = [[row, float(place), value] for chart, row, _, place, value in chromium.run(DRAWN) if chart == "positions"]
    said = chromium.run("const e = document.querySelector('#positions .empty'); return e ? e.textContent : null;")
    expect((said is None) == bool(known) and (said is None or "not measured: " in said), f"latency over the position: {said}")
    return equal("latencies over the position", points, known)


def with_positions(folder):
    """A result with latencies over the position, made from a committed one of before there were such."""
    report = json.loads((RESULTS / "h100-quick-4g.json").read_text())
    for nth, row in enumerate(report["trials"]):
        if row["itl_ms"] and nth % 3 < 2:
            row["itl_by_position"] = [
                {"first_context": 257 + 4 * place, "last_context": 260 + 4 * place, "tokens": 20, "p25_ms": 0.5 + 0.01 * place,
                 "median_ms": 0.6 + 0.01 * place, "p75_ms": 0.8 + 0.01 * place} for place in range(32)]
    file = folder / "positions.json"
    file.write_text(json.dumps(report))
    return file, report


def check_sections(chromium, edgebench, folder, shots):
    """The study, the runs, main memory and the position: drawn where a result has them, equal to it, and readable."""
    pages = {"study": ["h100-study.json"], "published": ["h100-study-published.json"],
             "budgets": ["h100-offload-dense.json", "h100-offload-moe.json", "h100-offload-int4.json"],
             "experts": ["h100-offload-experts.json"], "layers": ["h100-offload-layers.json"]}
    for name, files in pages.items():
        files = [RESULTS / file for file in files]
        reports = [json.loads(file.read_text()) for file in files]
        page = make(edgebench, files, folder / f"{name}.html")
        check_look(chromium, name, page, shots)
        chromium.look(page, 1280, "light")
        found = chromium.run(READ)
        for label, report in zip("ABC", reports):
            check_values(found, label, report)
            offloaded = [row for row in report["trials"] if row.get("offload")]
            drawn = [one for one in found["charts"].get(f"{label}:places", []) if one[1] == "mapped_bytes"]
            expect(len(drawn) == len(offloaded), f"{name} {label}: {len(drawn)} of {len(offloaded)} rows say where their weights lie")
            rows = found["tables"].get(f"{label}:offload", {})
            expect(len(rows) == len(offloaded), f"{name} {label}: the table of main memory has {len(rows)} rows")
        points = check_budgets(chromium, reports)
        expect((points > 10) == (name == "budgets"), f"{name}: {points} points over the budget")
        if name in ("study", "published"):
            compared = check_study(chromium, reports[0])
            expect(compared > 100, f"{name}: only {compared} values were compared")
        if len(reports) == 1:
            check_positions(chromium, reports[0])
    file, report = with_positions(folder)
    page = make(edgebench, [file], folder / "positions.html")
    check_look(chromium, "positions", page, shots)
    chromium.look(page, 1280, "light")
    expect(check_positions(chromium, report) >= 64, "the latency over the position is not drawn")


def check_scale(found, label):
    """Bars begin at nought and are as long as their values are large."""
    for kind in ("memory", "limits", "context", "batch"):
        bars = [one for one in found["charts"].get(f"{label}:{kind}", []) if one[6] == "rect"]
        for key in {one[1] for one in bars}:
            sizes = [(float(value), width, frame) for _, name, value, width, _, frame, _ in bars if name == key and float(value) > 0]
            if not sizes:
                continue
            largest, widest, frame = max(sizes)
            expect(0 < widest <= frame + 1, f"{label}:{kind} {key}: the longest bar is {widest} of {frame} px")
            for value, width, _ in sizes:
                expect(abs(width - widest * value / largest) < 1.5, f"{label}:{kind} {key}: {value} is {width} px, {largest} is {widest} px")
    for ident, key, value, width, left, frame, _ in found["charts"].get(f"{label}:memory", []):
        if key == "weights_bytes":
            expect(left < 1.5, f"{ident}: the weights do not begin at nought")


def check_look(chromium, name, page, shots):
    """Each width and scheme: no complaint, nothing wider than the page, no text over another."""
    for width in (1280, 360):
        for scheme in ("light", "dark"):
            where = f"{name} at {width} px in {scheme}"
            chromium.look(page, width, scheme)
            for complaint in chromium.complaints():
                expect(False, f"{where}: {complaint}")
            wide = chromium.run("return [document.documentElement.scrollWidth, innerWidth];")
            expect(wide[0] <= wide[1], f"{where}: the page is {wide[0]} px wide")
            for text in chromium.run(TEXTS):
                expect(False, f"{where}: text {text}")
            ground = chromium.run("return getComputedStyle(document.body).backgroundColor;")
            dark = sum(map(int, re.findall(r"\d+", ground)[:3])) < 3 * 128
            expect(dark == (scheme == "dark"), f"{where}: the ground is {ground}")
            if shots:
                chromium.shot(shots / f"{name}-{width}-{scheme}.png")


def check_sorting(chromium, page):
    """A header sorts by mouse and by keyboard, numbers as numbers, and what was not measured stays last."""
    chromium.look(page, 1280, "light")
    header = "table[data-table=trials] th[data-key=decode_tok_s_mean]"
    column = (f"const h = document.querySelector('{header}'); const rows = Array.from(h.closest('table').tBodies[0].rows);"
              "return [h.getAttribute('aria-sort'), rows.map((row) => row.cells[h.cellIndex].dataset.value ?? null)];")
    before = chromium.run(column)[1]
    numbers = sorted(float(value) for value in before if value is not None)
    last = [None] * before.count(None)
    as_numbers = lambda values: [None if value is None else float(value) for value in values]
    expect(as_numbers(before) != numbers + last, "the table is sorted before anything sorts it, so the check says nothing")
    chromium.click(header + " button.sort")
    direction, values = chromium.run(column)
    expect((direction, as_numbers(values)) == ("ascending", numbers + last), f"a click does not sort: {direction} {values[:4]}")
    chromium.run(f"document.querySelector('{header} button.sort').focus();")
    chromium.key("Enter", 13, "\r")
    direction, values = chromium.run(column)
    expect((direction, as_numbers(values)) == ("descending", numbers[::-1] + last), f"Enter does not sort: {direction} {values[:4]}")
    name = "table[data-table=trials] th[data-key=model]"
    chromium.click(name + " button.sort")
    names = chromium.run("return Array.from(document.querySelectorAll('table[data-table=trials] tbody tr'), (row) => row.cells[0].textContent);")
    expect(names == sorted(names), f"words are not sorted: {names[:4]}")


def check_methods(chromium):
    """A question mark opens the method, and Escape closes it."""
    chromium.click("table[data-table=trials] button.how[popovertarget=how-decode]")
    box = "const p = document.getElementById('how-decode'); const r = p.getBoundingClientRect();"
    opened = chromium.run(box + "return [p.matches(':popover-open'), r.left >= 0 && r.right <= innerWidth && r.height > 40, p.textContent];")
    expect(opened[0] and opened[1] and "sum of the inter-token latencies" in opened[2], "the method of the decode speed does not open")
    chromium.key("Escape", 27)
    expect(not chromium.run("return document.getElementById('how-decode').matches(':popover-open');"), "Escape does not close the method")
    lost = chromium.run("return Array.from(document.querySelectorAll('[popovertarget]')).filter((b) => !document.getElementById(b.getAttribute('popovertarget'))).length;")
    expect(lost == 0, f"{lost} buttons open no method")


def check_print(chromium, name, page, shots):
    """On paper nothing scrolls, and what is folded opens."""
    chromium.look(page, 1280, "light", media="print")
    hidden = chromium.run("return [getComputedStyle(document.querySelector('nav')).display, getComputedStyle(document.querySelector('.scroll')).overflowX];")
    expect(hidden == ["none", "visible"], f"{name} in print: {hidden}")
    chromium.run("dispatchEvent(new Event('beforeprint'));")
    expect(chromium.run("return document.querySelectorAll('details:not([open])').length;") == 0, f"{name}: print leaves parts folded")
    if shots:
        chromium.call("Emulation.setEmulatedMedia", media="")
        paper = chromium.call("Page.printToPDF", printBackground=True)
        (shots / f"{name}.pdf").write_bytes(base64.b64decode(paper["data"]))


def check_compare(chromium, edgebench, files, page):
    """The ratios on the page are those of `edgebench compare`."""
    chromium.look(page, 1280, "light")
    text = subprocess.run([edgebench, "compare", *files, "--format", "json"], capture_output=True, text=True, check=True).stdout
    known = {}
    for against in json.loads(text)["against"]:
        for pair in against["pairs"]:
            for found in pair["metrics"]:
                known[against["file"], f"{pair['row']}:{found['metric']}"] = found
    rows = chromium.run("""return Array.from(document.querySelectorAll('[data-against] table[data-table=compare] tbody tr'), (row) => {
        const keys = Array.from(row.closest('table').tHead.rows[0].cells, (cell) => cell.dataset.key);
        const cells = Object.fromEntries(Array.from(row.cells, (cell, place) => [keys[place], cell.dataset.value ?? (cell.classList.contains('nm') ? null : cell.textContent)]));
        return [row.closest('[data-against]').dataset.against, row.dataset.row, cells]; });""")
    expect(len(rows) > 0, "the comparison has no row")
    for file, ident, cells in rows:
        found = known[file, ident]
        expect(cells["verdict"] == found["verdict"].replace("_", " "), f"{ident}: {cells['verdict']} is not {found['verdict']}")
        for key in ("baseline", "other", "ratio"):
            value = found[key]
            expect(cells.get(key) is None if value is None else same(cells[key], value), f"{ident} {key}: {cells.get(key)} is not {value}")
    forests = chromium.run("return document.querySelectorAll('[data-against] figure[data-chart] circle[data-key=ratio]').length;")
    drawn = sum(1 for (file, name), found in known.items() if found["ratio"] and name.rsplit(":", 1)[1] in ("decode_tok_s", "ttft_ms", "peak_bytes"))
    expect(forests == drawn, f"{forests} of {drawn} ratios are drawn")


def broken_results(folder):
    """Results as they should never be, by name: a hostile one, a stopped one, an empty one, one of a thousand trials, one of huge values."""
    whole = json.loads((RESULTS / "h100-memory-matrix.json").read_text())
    hostile = json.loads(json.dumps(whole))
    hostile["command_line"] = hostile["environment"]["host"] = hostile["environment"]["gpu_info"] = hostile["verdict"] = HOSTILE
    hostile["command_line"] = [HOSTILE]
    for row in hostile["trials"][:3]:
        row["model"], row["id"], row["warnings"], row["reason"] = HOSTILE, row["id"] + HOSTILE, [HOSTILE], HOSTILE
    hostile["trials"][1]["status"] = HOSTILE
    studied = json.loads((RESULTS / "h100-study-published.json").read_text())["study"]
    studied["pairs"][0]["verdict"] = studied["pairs"][0]["moe"]["model"] = studied["routers"][0]["model"] = HOSTILE
    studied["routers"][0]["layers"][0]["layer"] = studied["as_published"][0]["model"] = studied["prices"][0]["model"] = HOSTILE
    hostile["study"] = studied
    hostile["ceilings"][0]["model"] = hostile["ceilings"][0]["reason"] = HOSTILE
    stopped = json.loads(json.dumps(whole))
    stopped["finished"] = False
    for row in stopped["trials"][12:]:
        row.update(status="pending", decode_tok_s=None, ttft_ms=None, prefill_tok_s=None, itl_ms=None, limits=None, cost=None, energy=None)
        row["memory"].update({name: None for name in row["memory"] if name.endswith("_bytes") and name != "budget_bytes"})
    empty = dict(whole, trials=[], ceilings=[], verdict=None, study=None)
    many = json.loads(json.dumps(whole))
    many["ceilings"], many["trials"] = [], [dict(row, id=f"{row['id']}/{turn}", gen_tokens=row["gen_tokens"] + turn)
                                             for turn in range(42) for row in whole["trials"]][:1000]
    huge = json.loads(json.dumps(whole))
    huge["trials"] = huge["trials"][:8]
    huge["trials"][0]["decode_tok_s"]["mean"] = 1.7e308
    huge["trials"][1]["itl_ms"]["quantiles"]["max"] = 1.7e308
    huge["trials"][2]["memory"]["unaccounted_bytes"] = -(1 << 62)
    huge["trials"][3]["memory"]["weights_bytes"] = huge["trials"][3]["memory"]["loaded_peak_bytes"] = (1 << 64) - 1
    for name, result in (("hostile", hostile), ("stopped", stopped), ("empty", empty), ("many", many), ("huge", huge)):
        file = folder / f"{name}.json"
        file.write_text(json.dumps(result))
        yield name, file, result


def make(edgebench, files, page):
    ran = subprocess.run([edgebench, "report", *map(str, files), "-o", str(page)], capture_output=True, text=True)
    expect(ran.returncode == 0, f"edgebench report {files}: {ran.stderr.strip()}")
    return page


def check_broken(chromium, edgebench, folder, shots):
    for name, file, result in broken_results(folder):
        page = make(edgebench, [file], folder / f"{name}.html")
        size = page.stat().st_size
        expect(size < 6 << 20, f"{name}: the page takes {size} bytes")
        began = time.monotonic()
        check_look(chromium, name, page, shots)
        expect(time.monotonic() - began < 30, f"{name}: the page takes long to open")
        found = chromium.run(READ)
        check_values(found, "A", result)
        expect(len(chromium.run("return Array.from(document.querySelectorAll('img, iframe, object, embed, link, base, form, video')).map((e) => e.tagName);")) == 0,
               f"{name}: an element that fetches came in")
        expect(chromium.run("return window.pwned === undefined && document.scripts.length === 1;"), f"{name}: a script of the result ran or stands there")
        if name == "hostile":
            expect(HOSTILE in chromium.run("return document.querySelector('.sub').parentElement.textContent;"), "the hostile name is not shown as it is")
        if name == "stopped":
            expect("12 of 24 trials have not run" in chromium.run("return document.querySelector('.alert').textContent;"), "nothing says that the run was stopped")
        if name == "empty":
            expect(chromium.run("return document.querySelectorAll('.empty').length;") >= 6, "an empty result does not say that nothing was measured")
            expect(chromium.run("return document.querySelectorAll('[data-value]').length;") == 0, "an empty result shows values")
        if name == "many":
            rows = chromium.run("return Array.from(document.querySelectorAll('figure.bars'), (f) => f.querySelectorAll('[data-row]').length);")
            expect(rows and max(rows) <= 40, f"{max(rows or [0])} rows are drawn in one chart")
            expect(chromium.run("return document.querySelectorAll('table[data-table=trials] tbody tr').length;") == 1000, "the table has not all of a thousand trials")


def main():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edgebench", type=pathlib.Path, default=target / "debug" / "edgebench")
    parser.add_argument("--shots", type=pathlib.Path, help="folder for pictures")
    options = parser.parse_args()
    if not options.edgebench.exists():
        die(f"{options.edgebench} is not there; build it with cargo build, or name another with --edgebench")
    if options.shots:
        options.shots.mkdir(parents=True, exist_ok=True)
    program = browser()
    # What outlives the browser by a moment may still write there.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        chromium = Chromium(program, tempfile.mkdtemp(dir=folder))
        try:
            matrix = RESULTS / "h100-memory-matrix.json"
            one = make(options.edgebench, [matrix], folder / "one.html")
            check_look(chromium, "one", one, options.shots)
            chromium.look(one, 1280, "light")
            found = chromium.run(READ)
            report = json.loads(matrix.read_text())
            compared = check_values(found, "A", report)
            expect(compared > 500, f"only {compared} values were compared")
            check_scale(found, "A")
            for chart in ("memory", "itl", "limits", "context", "batch"):
                expect(len(found["charts"].get(f"A:{chart}", [])) >= 8, f"the chart {chart} is not drawn")
            known = {row["id"]: row for row in report["trials"]}
            expect(len(found["points"]) == 8, f"{len(found['points'])} points are drawn")
            for ident, peak, speed in found["points"]:
                expect(same(peak, at(known[ident], "memory.peak_bytes")) and same(speed, at(known[ident], "decode_tok_s.mean")), f"the point of {ident} is wrong")
            check_sorting(chromium, one)
            check_methods(chromium)
            check_print(chromium, "one", one, options.shots)
            pairs = {"two": ["h100-quick-4g.json", "h100-quick-4g-no-graph.json"], "machines": ["h100-quick-4g.json", "cpu-quick-4g.json"]}
            for pair, names in pairs.items():
                files = [RESULTS / file for file in names]
                page = make(options.edgebench, files, folder / f"{pair}.html")
                check_look(chromium, pair, page, options.shots)
                found = chromium.run(READ)
                for label, file in zip("AB", files):
                    expect(check_values(found, label, json.loads(file.read_text())) > 50, f"{pair}: too few values of {label}")
                check_compare(chromium, options.edgebench, files, page)
            check_sections(chromium, options.edgebench, folder, options.shots)
            check_broken(chromium, options.edgebench, folder, options.shots)
        finally:
            chromium.close()
    print(f"report check: {passed} passed, {len(failures)} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
