#!/usr/bin/env python3
"""A plugin of Leveret in Python: which of some numbers are far from the others.

Input: {"values": [number, ...], "limit": number}. A value is an outlier when it is more than `limit` standard deviations
from the mean. Needs nothing beyond the standard library.
"""

import json
import statistics
import sys


def answer(response):
    json.dump(response, sys.stdout)
    sys.stdout.write("\n")


def failed(code, message, **details):
    return {"status": "failed", "error": {"code": code, "message": message, "details": details}}


def outliers(values, limit):
    mean = statistics.fmean(values)
    deviation = statistics.pstdev(values, mean)
    found = []
    for index, value in enumerate(values):
        if deviation > 0 and abs(value - mean) > limit * deviation:
            found.append({"index": index, "value": value})
        # Leveret takes these lines for progress, and any other on stderr for words to show when this fails.
        print(f"::progress {100 * (index + 1) / len(values)}::", file=sys.stderr, flush=True)
    return {"mean": mean, "deviation": deviation, "outliers": found}


def main():
    request = json.load(sys.stdin)
    given = request["input"] or {}
    values, limit = given.get("values"), given.get("limit", 2)
    if not isinstance(values, list) or not values:
        return failed("values_missing", "`values` must be a list of at least one number")
    odd = [index for index, value in enumerate(values) if isinstance(value, bool) or not isinstance(value, (int, float))]
    if odd:
        return failed("values_invalid", "some of `values` are no numbers", indexes=odd)
    return {"status": "succeeded", "result": outliers(values, limit)}


# An exception ends this with another exit code than 0, which Leveret reports with the last line of its traceback.
answer(main())
