"""Draws docs/images/disks.png: the values of the feed, from the daemon through the real carbon-cache to graphite-web.

    CARGO_TARGET_DIR=target /usr/bin/python3 tests/suites/carbon/render.py OUT.png SECONDS

Needs Debian's graphite-carbon and graphite-web. The disks and their load are made up; everything after them is real.
"""

import json
import math
import os
import pathlib
import sys
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


class SlowLoad(feed.Load):
    """Two disks whose %util changes slowly."""

    busy, last = (0.0, 0.0), time.monotonic()

    def step(self):
        now = time.monotonic()
        elapsed, self.last = now - self.last, now
        shares = (0.5 + 0.35 * math.sin(now / 17) + 0.1 * math.sin(now / 3), 0.15 + 0.1 * math.sin(now / 29))
        self.busy = [ms + 1000 * elapsed * share for ms, share in zip(self.busy, shares)]
        self.write(self.busy)


def render(root, carbon, seconds):
    """Asks graphite-web, in this process, for the picture."""
    (root / "settings").mkdir()
    (root / "settings/drawing_settings.py").write_text(SETTINGS.format(root=root, query=carbon.query))
    sys.path.insert(0, str(root / "settings"))
    os.environ |= {"GRAPHITE_SETTINGS_MODULE": "drawing_settings", "DJANGO_SETTINGS_MODULE": "graphite.settings"}
    import django
    from django.test import Client

    django.setup()
    query = {"target": "aliasByNode(shinken.gatherer.disks.*.util_percent, -2)", "from": f"-{seconds}s", "format": "png"}
    query |= {"width": 820, "height": 300, "title": "shinken.gatherer.disks.*.util_percent"}
    answer = Client().get("/render/", query | {"yMin": 0, "yMax": 100, "lineWidth": 2, "noCache": 1})
    assert answer.status_code == 200 and answer["Content-Type"] == "image/png", answer
    # All metrics of the Grafana dashboard exist, except those of VMware.
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            query = {"target": target["target"].replace("$prefix", "shinken.gatherer"), "from": "-1h", "format": "json"}
            series = json.loads(Client().get("/render/", query | {"noCache": 1}).content)
            assert series or ".vmware." in query["target"], query
            print(query["target"], [one["target"] for one in series])
    return answer.content


out, seconds = pathlib.Path(sys.argv[1]), int(sys.argv[2])
with feed.fed_carbon(SlowLoad) as (carbon, made, documents):
    documents.more(2)
    time.sleep(seconds)  # nothing to wait for: the picture is of this time
    out.write_bytes(render(made.root, carbon, seconds))
