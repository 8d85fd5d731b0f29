import { expect, test } from "vitest";
import { formatStagedRecord, parseStagedRecord } from "../../src/formats/staged-record.ts";

const bytes = (text: string) => Uint8Array.from(Buffer.from(text));
const SHA256 = "0123456789abcdef".repeat(4);
const SHA512 = SHA256.repeat(2);

test.each([
  [`{"depl_id":"${SHA512}","finalization_locked":true}`, SHA512, true],
  [`{ "finalization_locked": false,\n "depl_id": "${SHA256}", "more": 1 }\n`, SHA256, false],
  // early releases
  [SHA512, SHA512, false],
  [`${SHA256}\n`, SHA256, false],
])("record %#", (text, id, locked) => {
  expect(parseStagedRecord(bytes(text), "file")).toEqual({ id, locked });
});

test("is written as bootc writes it", () => {
  const text = `{"depl_id":"${SHA512}","finalization_locked":false}`;
  expect(formatStagedRecord({ id: SHA512, locked: false })).toBe(text);
});

test.each([
  ["", "file: expected JSON"],
  ["abc", "file: expected a deployment's id, 64 or 128 hex digits"],
  [SHA256.toUpperCase(), "file: expected a deployment's id"],
  [`{"depl_id":"../x","finalization_locked":false}`, "file: depl_id: expected a deployment's id"],
  [`{"depl_id":"","finalization_locked":false}`, "file: depl_id: expected a deployment's id"],
  [`{"finalization_locked":false}`, "file: depl_id: expected a string, it is missing"],
  [`{"depl_id":"${SHA256}"}`, "file: finalization_locked: expected true or false"],
  [`{"depl_id":"${SHA256}","finalization_locked":1}`, "file: finalization_locked: expected true"],
])("%s is refused", (text, why) => {
  expect(() => parseStagedRecord(bytes(text), "file")).toThrow(why);
});
