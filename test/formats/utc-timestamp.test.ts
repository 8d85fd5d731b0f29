import { expect, test } from "vitest";
import { utcTimestamp } from "../../src/formats/utc-timestamp.ts";

test.each([
  ["2025-03-04T05:06:07Z", "2025-03-04T05:06:07Z"],
  ["2025-03-04T00:30:00+01:00", "2025-03-03T23:30:00Z"],
  ["2025-03-04T00:30:00.5-00:45", "2025-03-04T01:15:00.500Z"],
  ["2025-03-04T05:06:07.123456789Z", "2025-03-04T05:06:07.123456789Z"],
  ["2025-03-04T05:06:07.120000000Z", "2025-03-04T05:06:07.120Z"],
  ["2025-03-04T05:06:07.000Z", "2025-03-04T05:06:07Z"],
  ["2025-13-04T05:06:07Z", undefined],
  ["yesterday", undefined],
])("%s in UTC, as bootc writes it, is %s", (text, utc) => {
  expect(utcTimestamp(text)).toBe(utc);
});
