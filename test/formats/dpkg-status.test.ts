import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseDpkgStatus } from "../../src/formats/dpkg-status.ts";

const STATUS = `Package: bash
Essential: yes
Status: install ok installed
Architecture: amd64
Version: 5.2.37-2
Description: shell
 Version: of nothing
 .
 Package: none

Package: removed
Status: deinstall ok config-files
Architecture: all
Version: 1

package: odd
Version: 2:1~rc1

Package: unversioned
Status: install ok installed
`;

test("what is installed, with versions", () => {
  expect(parseDpkgStatus(STATUS)).toEqual([
    { name: "bash", version: "5.2.37-2", architecture: "amd64" },
    { name: "odd", version: "2:1~rc1", architecture: "" },
  ]);
});

test("any text is read", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => Array.isArray(parseDpkgStatus(text))),
  );
});

test("the same as dpkg-query says of this machine", (ctx) => {
  const file = "/var/lib/dpkg/status";
  if (!existsSync(file)) return ctx.skip("this machine has no dpkg");
  const fields = ["db:Status-Abbrev", "Package", "Version", "Architecture"];
  const format = `${fields.map((field) => `${"$"}{${field}}`).join("\t")}\n`;
  const { stdout } = spawnSync("dpkg-query", ["-W", "-f", format], { encoding: "utf8" });
  const wanted = stdout
    .split("\n")
    .filter((line) => line[1] === "i")
    .map((line) => line.split("\t").slice(1).join(" "));
  const found = parseDpkgStatus(readFileSync(file, "utf8"));
  expect(found.map((one) => Object.values(one).join(" ")).sort()).toEqual(wanted.sort());
});
