"""Draws docs/images/disks.png: the values of the feed, from the daemon through the real carbon-cache to graphite-web.

    /usr/bin/python3 tests/suites/carbon/render.py PROGRAM OUT.png SECONDS

Needs Debian's graphite-carbon and graphite-web. The disks and their load are made up; everything after them is real.
"""

import json
import math
import os
import pathlib
import sys
import tempfile
import time

import feed

DASHBOARD = pathlib.Path(__file__).parents[3] / "docs/examples/grafana-dashboard.json"

SETTINGS = """SECRET_KEY = "for drawing one picture"
STORAGE_DIR = "{root}/storage"
LOG_DIR = "{root}"
WHISPER_DIR = "{root}/storage/whisper"
CARBONLINK_HOSTS = ["127.0.0.1:{query}:a"]
ALLOWED_HOSTS = ["*"]
"""


class Load(feed.Machine):
    """Two disks whose %util changes slowly."""

    def run(self):
        busy = [0.0, 0.0]
        last = started = time.monotonic()
        while not self.ended.wait(0.1):
            now = time.monotonic()
            elapsed, since = now - last, now - started
            last = now
            shares = (0.5 + 0.35 * math.sin(since / 17) + 0.1 * math.sin(since / 3), 0.15 + 0.1 * math.sin(since / 29))
            busy = [ms + 1000 * elapsed * share for ms, share in zip(busy, shares)]
            lines = [
                f"{major} 0 {name} 10 0 80 5 {int(ms / 4)} 0 {int(ms * 2)} {int(ms)} 0 {int(ms)} {int(ms * 1.2)}"
                for major, name, ms in ((8, "sda", busy[0]), (104, "cciss/c0d0", busy[1]))
            ]
            new = self.path.with_suffix(".new")
            new.write_text("\n".join(lines) + "\n")
            new.rename(self.path)


def render(root, carbon, seconds):
    """Asks graphite-web, in this process, for the picture."""
    (root / "settings").mkdir()
    (root / "settings/drawing_settings.py").write_text(SETTINGS.format(root=root, query=carbon.query))
    sys.path.insert(0, str(root / "settings"))
    os.environ |= {"GRAPHITE_SETTINGS_MODULE": "drawing_settings", "DJANGO_SETTINGS_MODULE": "graphite.settings"}
    import django
    from django.test import Client

    django.setup()
    query = {
        "target": "aliasByNode(shinken.gatherer.disks.*.util_percent, -2)",
        "from": f"-{seconds}s",
        "format": "png",
        "width": 820,
        "height": 300,
        "title": "shinken.gatherer.disks.*.util_percent",
        "yMin": 0,
        "yMax": 100,
        "lineWidth": 2,
        "noCache": 1,
    }
    answer = Client().get("/render/", query)
    assert answer.status_code == 200 and answer["Content-Type"] == "image/png", answer
    # All metrics of the Grafana dashboard exist, except those of VMware.
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            query = {"target": target["target"].replace("$prefix", "shinken.gatherer"), "from": "-1h", "format": "json"}
            series = json.loads(Client().get("/render/", query | {"noCache": 1}).content)
            assert series or ".vmware." in query["target"], query
            print(query["target"], [one["target"] for one in series])
    return answer.content


def main():
    out, seconds = pathlib.Path(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        carbon = feed.Carbon(root)
        load = Load(root)
        load.start()
        carbon.start()
        gatherer = feed.Gatherer(root, f"[carbon]\nenabled = true\naddress = \"127.0.0.1:{carbon.line}\"\n")
        try:
            gatherer.more(2)
            time.sleep(seconds)  # nothing to wait for: the picture is of this time
            out.write_bytes(render(root, carbon, seconds))
        finally:
            gatherer.stop()
            carbon.stop()
            load.ended.set()
            load.join()


main()
