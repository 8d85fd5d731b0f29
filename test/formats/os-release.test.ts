import { describe, expect, test } from "vitest";
import { bootLabel, osLabel, parseOsRelease } from "../../src/formats/os-release.ts";

const DEBIAN = `PRETTY_NAME="Debian GNU/Linux 13 (trixie)"
NAME="Debian GNU/Linux"
VERSION_ID="13"
VERSION="13 (trixie)"
VERSION_CODENAME=trixie
ID=debian
HOME_URL="https://www.debian.org/"
`;

test("an image's label", () => {
  const label = osLabel(parseOsRelease(DEBIAN));
  expect(label).toEqual({
    title: "Debian GNU/Linux 13 (trixie)",
    version: "13",
    osId: "debian",
  });
  expect(bootLabel(label)).toBe("Debian GNU/Linux 13 (trixie) 13");
});

describe("what stands in for what is missing", () => {
  test.each([
    ["NAME=N\nID=i\nVERSION=v", { title: "N", version: "v", osId: "i" }],
    ["ID=i\nPRETTY_NAME=\n", { title: "i", version: undefined, osId: "i" }],
    ["", { title: undefined, version: undefined, osId: "bootc" }],
  ])("%j", (text, label) => {
    expect(osLabel(parseOsRelease(text))).toEqual(label);
  });

  test("a label without version, or without name", () => {
    expect(bootLabel(osLabel(parseOsRelease("ID=i")))).toBe("i");
    expect(bootLabel(osLabel(parseOsRelease("VERSION_ID=1")))).toBeUndefined();
  });
});

test.each([
  ["a=b", "b"],
  ["a=", ""],
  ['a=""', ""],
  ["a='b c'", "b c"],
  [" a = 'b' ", "b"],
  ['a="b \\"c\\" \\$d \\\\ \\`"', 'b "c" $d \\ `'],
  ["a='\\n'", "\\n"],
  ["a=b\\c", "b\\c"],
  ["a=b'c d'\"e\"", "bc de"],
  ["a='b=c#d'\r", "b=c#d"],
  ["a=1\na=2", "2"],
  ['a="', undefined],
  ['a="b\\', undefined],
  ["#a=b", undefined],
  ["a b=c", undefined],
  ["=c", undefined],
  ["export a=b", undefined],
])("%j", (text, value) => {
  expect(parseOsRelease(text).get("a")).toBe(value);
});
