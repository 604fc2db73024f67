"""The queries against the log lines that they read: names, and the patterns themselves."""

import re

import pytest

from bicep import FILES, INFRA, ROOT

QUERIES = {path.stem: path.read_text() for path in sorted((INFRA / "queries").glob("*.kql"))}
PAGE = (ROOT / "docs" / "queries.md").read_text()
EVENT = re.compile(r"tracing::(info|warn|error)!\(([^;]*?)\"([^\"]*)\"\s*\)", re.S)
SAMPLES = {
    "function": "sign", "invocation_id": "0f6c", "message_id": "7f3c1d1e-9d55", "dequeue_count": "2", "id": '"a b/é"', "ms": "234",
    "results": '"a b.jws.json, a b.sig (stood already)"', "reason": "invalid-json", "stage": "parse", "record": "2026/11/21/7f3c.json",
    "age_s": "3", "sign_ms": "21", "publish_ms": "9", "code": "deadline", "why": '"out of time; last: \\"x=1\\""', "kid": "https://v/keys/k/0f6c", "alg": "ES256", "key": "P-256",
}
OUTCOMES = {
    "Done": ("INFO", "done"),
    "Ignored": ("INFO", "ignored"),
    "Rejected": ("WARN", "rejected"),
    "HandedBack": ("WARN", "handed back"),
}


def lines():
    """{(file, message): line} of the events that handler/src logs with fields, with sample values, as handler/src/log.rs writes them."""
    found = {}
    for path in (ROOT / "handler" / "src").rglob("*.rs"):
        target = "::".join(("handler", *path.relative_to(ROOT / "handler" / "src").with_suffix("").parts))
        for level, fields, message in EVENT.findall(path.read_text()):
            names = [re.split(r"\s*=", field)[0].strip().lstrip("%?") for field in fields.split(",") if field.strip()]
            pairs = " ".join(f"{name}={SAMPLES.get(name, 'x')}" for name in names)
            found[path.name, message] = f"{level.upper():<5} {target} {message} {pairs}".rstrip()
    return found | fates()


def fates():
    """The lines of handler/src/delivery.rs with which deliveries end: some fields of all, some of each fate, and the stages' times."""
    source = (ROOT / "handler" / "src" / "delivery.rs").read_text()
    body = re.search(r"\nfn line\(.*?\n}\n", source, re.S)[0]
    first, _, rest = body.partition("match fate {")
    arms, _, last = rest.partition("};")
    names = re.compile(r'\.(?:field|maybe)\("(\w+)"')
    found = {}
    for arm in re.split(r"(?=Fate::)", arms)[1:]:
        level, outcome = OUTCOMES[re.match(r"Fate::(\w+)", arm)[1]]
        fields = names.findall(first) + names.findall(arm) + ["sign_ms", "publish_ms"] + names.findall(last)
        # The test's own build has one more.
        pairs = " ".join(f"{name}={SAMPLES.get(name, 'x')}" for name in fields if name != "allocations")
        found["delivery.rs", outcome] = f"{level:<5} handler::delivery {outcome} {pairs}"
    return found


LINES = lines()
ITEM_LINES = [line for (file, _), line in LINES.items() if file == "delivery.rs" and " message_id=" in line]


def patterns(query):
    """(field, pattern) of each `field = extract(…)` that reads a field of a log line."""
    for name, raw in re.findall(r"(\w+) = [^\n]*?extract\((@\"[^\"]*\"|@'[^']*')", query):
        pattern = raw[2:-1]
        if re.match(r" \w+=", pattern):
            yield name, pattern


def test_the_handler_logs_the_fates_that_the_queries_look_for():
    assert {message for _, message in LINES} >= {"done", "rejected", "handed back", "ready", "now signing with"}
    assert len(ITEM_LINES) >= 4
    for line in ITEM_LINES:
        assert " handler::delivery " in line
        assert re.search(r"^\S+\s+handler::delivery (.*?) function=", line), line


@pytest.mark.parametrize("name", QUERIES)
def test_every_field_that_a_query_reads_is_logged(name):
    for field, pattern in patterns(QUERIES[name]):
        key = re.match(r" (\w+)=", pattern)[1]
        matched = [re.search(pattern, line) for line in LINES.values() if f" {key}=" in line]
        assert matched and all(matched), (field, key)
        assert {match[1] for match in matched} == {SAMPLES[key]}, key


@pytest.mark.parametrize("name", QUERIES)
def test_every_beginning_that_a_query_looks_for_is_logged(name):
    for start in re.findall(r'startswith "((?:WARN|ERROR|INFO)[^"]*)"', QUERIES[name]):
        assert any(line.startswith(start) for line in LINES.values()), start


def test_a_record_and_an_item_are_told_apart():
    rejected = LINES["delivery.rs", "rejected"]
    assert rejected.startswith("WARN  handler::delivery rejected ")
    assert not LINES["delivery.rs", "done"].startswith("WARN")


def test_the_age_is_read_from_the_hosts_own_line():
    line = "Trigger Details: MessageId: b00a86dc-298d, DequeueCount: 3, InsertionTime: 2026-11-21T10:00:00.000+00:00"
    found = [re.search(raw[2:-1], line)[1] for raw in re.findall(r'extract\((@"[^"]*")', QUERIES["age"])]
    assert found == ["b00a86dc-298d", "3", "2026-11-21T10:00:00.000+00:00"]


def test_the_limits_that_the_template_replaces_are_in_the_queries():
    replaced = 0
    for file in FILES.values():
        for query, old in re.findall(r"replace\(loadTextContent\('../queries/(\w+)\.kql'\), '([^']*)'", file.text):
            assert QUERIES[query].count(old) == 1, (query, old)
            replaced += 1
    assert replaced == 2


def test_the_page_has_every_query_as_it_is():
    shown = dict(re.findall(r"`infra/queries/(\w+)\.kql`.*?\n```kusto\n(.*?)```", PAGE, re.S))
    assert shown == QUERIES
