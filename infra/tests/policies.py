"""Judges a report of checkov: standard input is its JSON, arguments are the files that it must have read.

Its exit code alone does not do: it is 0, too, where a file could not be parsed."""

import json
import sys

report = json.load(sys.stdin)
reports = report if isinstance(report, list) else [report]
failed = [check for part in reports for check in part["results"]["failed_checks"]]
unread = [path for part in reports for path in part["results"]["parsing_errors"]]
seen = {check["file_path"].lstrip("/") for part in reports for kind in ("passed_checks", "skipped_checks") for check in part["results"][kind]}
skipped = [check for part in reports for check in part["results"]["skipped_checks"]]

for check in failed:
    print(f"{check['file_path']}:{check['file_line_range'][0]}: {check['check_id']} {check['check_name']} ({check['resource']})")
for path in unread:
    print(f"{path}: it could not be parsed")
unjustified = [check for check in skipped if len(check["check_result"].get("suppress_comment") or "") < 20]
for check in unjustified:
    print(f"{check['file_path']}: {check['check_id']} is skipped without a reason")
unseen = set(sys.argv[1:]) - seen
for path in sorted(unseen):
    print(f"{path}: nothing of it was checked")
print(f"checkov: {sum(part['summary']['passed'] for part in reports)} passed, {len(failed)} failed, {len(skipped)} skipped")
sys.exit(1 if failed or unread or unjustified or unseen else 0)
