import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CONF_KEYS, DEFAULT_CONF, parseCfsbootConf } from "../../src/formats/cfsboot-conf.ts";
import { ETC_CONFLICTS } from "../../src/formats/etc-conflicts.ts";
import { newOrigin, parseOrigin, setOriginEtcConflicts } from "../../src/formats/origin.ts";
import { ETC_STRATEGIES } from "../../src/model/etc/merge.ts";

const parse = (text: string) => parseCfsbootConf(text, "cfsboot.toml");

test("what is not said is as without the file", () => {
  expect(parse("")).toEqual(DEFAULT_CONF);
  expect(parse('keep = 5\ncount-boots = false\netc-conflicts = "merge"\n')).toEqual({
    keep: 5,
    countBoots: false,
    etcConflicts: "merge",
  });
});

test.each([
  ["kepe = 3", "cfsboot.toml: kepe: expected one of keep, count-boots, etc-conflicts"],
  ["keep = 1", "cfsboot.toml: keep: expected a number from 2 to 1000"],
  ["keep = 2.5", "cfsboot.toml: keep: expected a whole number"],
  ['keep = "3"', "cfsboot.toml: keep: expected a whole number"],
  ["count-boots = 1", "cfsboot.toml: count-boots: expected true or false"],
  ['etc-conflicts = "ours"', "cfsboot.toml: etc-conflicts: expected one of fail, keep-local"],
  ["keep =", "cfsboot.toml, line 1"],
])("%s is an error that says where and what was expected", (text, message) => {
  expect(() => parse(text)).toThrow(message);
});

test("the words for conflicts are those of the merge", () => {
  expect([...ETC_CONFLICTS]).toEqual([...ETC_STRATEGIES]);
});

test("the manual page has every key", () => {
  const page = join(import.meta.dirname, "../../docs/man/cfsboot.toml.5.md");
  for (const key of CONF_KEYS) expect(readFileSync(page, "utf8")).toContain(`| \`${key}\` |`);
});

test("an origin notes how /etc is to be merged, and forgets it", () => {
  const origin = newOrigin({
    image: { transport: "oci", name: "/x", signature: undefined },
    bootType: "bls",
    bootDigest: "00".repeat(32),
    manifestDigest: `sha256:${"00".repeat(32)}`,
  });
  const chosen = setOriginEtcConflicts(origin, "take-image");
  expect(chosen.etcConflicts).toBe("take-image");
  expect(setOriginEtcConflicts(chosen, undefined).file).toEqual(origin.file);
  expect(parseOrigin("[cfsboot]\netc-conflicts = both\n")).toMatchObject({
    etcConflicts: undefined,
    problems: [expect.stringContaining("expected fail, keep-local, take-image, merge")],
  });
});
